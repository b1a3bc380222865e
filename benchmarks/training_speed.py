"""The thesis's network and ours at as many parameters, timed in turn from loading faces to the optimiser's step.

    python benchmarks/training_speed.py [--sizes 112 256] [--steps 4] [--rounds 7] [--dimension 128] [--threads 2]
    python benchmarks/training_speed.py --embed 10000 [--rounds 3]        the default network, of one core

Both see the same random normals, of as many subjects as the thesis had, in batches of 16. The thesis's side is
`thesis_recipe/`: faces taken and varied one by one by a DataLoader (in this process: with workers the two cores are
shared, see --workers), float32, torch's default layout, layers and Adam, every loss read at once. Ours is the step of
`psface train` as it stands, adversaries and their own steps included, on the same backbone and attention modules; the
embedding has --dimension numbers, and the width is the largest up to the thesis's 64 that keeps all parameters, class
centres and adversaries included, within 5 % of the thesis's. In each round every way does some steps; the
fastest round of each counts, since whatever else the machine does only ever costs time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.thesis_recipe.data import ThesisFaces
from benchmarks.thesis_recipe.network import ORDER
from benchmarks.thesis_recipe.training import BATCH, Fit
from models import create_model
from models.embedding import embed
from pipeline.faces import Faces, mirror
from pipeline.fitting import make_fabric, native_bf16
from pipeline.params import Train
from pipeline.samples import FaceStore, Samples
from pipeline.tables import write_parquet
from stages.train.build import make_objective
from stages.train.fit import Trainer

SUBJECTS = 262  # as the thesis
WITHIN = 0.05
WIDEST = 64
MARKS = {"ours, bf16": 2.5, "ours, float32": 1.25}
Steps = Callable[[int], None]


def pack(folder: Path, size: int) -> tuple[Samples, FaceStore]:
    """Random normals of SUBJECTS subjects, one session each, packed as `psface crop` does; the last has two."""
    count = SUBJECTS + 1
    rng = np.random.default_rng(7)
    np.save(folder / "mask.npy", np.ones((count, size, size), dtype=np.uint8))
    normals = np.lib.format.open_memmap(folder / "normal.npy", "w+", np.float16, (count, size, size, 3))
    for row in normals:
        values = rng.normal(size=row.shape)
        row[:] = values / np.linalg.norm(values, axis=-1, keepdims=True)
    sessions = np.array([f"{row:04}" for row in range(count)])
    write_parquet(folder / "index.parquet", pd.DataFrame({"session": sessions, "row": np.arange(count)}))
    subject = np.minimum(np.arange(count), SUBJECTS - 1).astype(str)
    labels = {name: rng.integers(2, size=count) for name in ORDER}
    samples = Samples(sessions, subject, np.arange(count), labels, np.ones(count, np.float32))
    return samples, FaceStore(Faces(folder), ["normal"], samples.row)


def parameters(*modules: nn.Module) -> int:
    """Trained numbers of all modules."""
    return sum(p.numel() for module in modules for p in module.parameters())


def width_for(wanted: int, size: int, dimension: int, samples: Samples) -> int:
    """The widest network of ours, up to the thesis's width, whose parameters are within 5 % of those wanted."""
    for width in range(WIDEST, 15, -4):
        params = settings(width, dimension, "32")
        model = create_model(
            params.backbone, channels={"normal": 3}, size=size, attributes=dict.fromkeys(ORDER, 2), width=width,
            dimension=dimension,
        )  # fmt: skip
        objective = make_objective(params, samples, SUBJECTS, model)
        if abs(parameters(model, objective) / wanted - 1) <= WITHIN:
            return width
    raise SystemExit(f"no width brings {dimension} numbers at {size} px within 5 % of {wanted:,} parameters")


def settings(width: int, dimension: int, precision: str) -> Train:
    """The defaults of `psface train normal`, in the thesis's batches."""
    return Train(
        modalities=("normal",), batch=BATCH, width=width, dimension=dimension, precision=precision,
    )  # fmt: skip


def thesis_steps(samples: Samples, store: FaceStore, workers: int) -> tuple[Fit, Steps]:
    """The thesis's fit, and what does some of its steps."""
    fit = Fit(ThesisFaces(store, samples, "normal"), 7, workers)
    fit.network.train()

    def run(steps: int) -> None:
        for number, (faces, labels) in enumerate(fit.batches, 1):
            fit.step(faces, labels)
            if number == steps:
                break

    return fit, run


def our_steps(samples: Samples, store: FaceStore, params: Train, folder: Path) -> tuple[Trainer, Steps]:
    """Our fit, and what does some of its steps."""
    everyone = Samples(samples.session, np.char.add("v", samples.subject), samples.row, samples.labels, samples.weight)
    fabric = make_fabric(params.precision)
    fabric.launch()
    trainer = Trainer("normal", params, samples, everyone, (store, store), folder, fabric)
    trainer.model.train()
    rng = torch.Generator().manual_seed(7)

    def run(steps: int) -> None:
        for _ in range(steps):
            chosen = torch.randperm(len(samples), generator=rng)[:BATCH]
            trainer._step(chosen, rng).not_finite()

    return trainer, run


def rounds(ways: dict[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, all ways in turn; a first round warms up and is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(count + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                taken[name].append(time.perf_counter() - start)
    return taken


def operations(network: nn.Module, faces: object) -> float:
    """Multiplications of a face's way through a network, in thousands of millions."""
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(faces)
    network.train()
    return counter.get_total_flops() / 2e9


def compare(size: int, options: argparse.Namespace) -> dict[str, float]:
    """Print the table of one size; ratio to the thesis by way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples, store = pack(folder, size)
        fit, run = thesis_steps(samples, store, options.workers)
        wanted = parameters(fit.network, fit.loss)
        width = width_for(wanted, size, options.dimension, samples)
        face = torch.zeros(1, 3, size, size)
        sizes = {"thesis": (wanted, operations(fit.network, face))}
        ways: dict[str, Steps] = {"thesis": run}
        for label, precision in (("ours, float32", "32"), ("ours, bf16", "bf16")):
            if precision == "bf16" and not native_bf16():
                print("this processor does not multiply bfloat16: left out")
                continue
            trainer, run = our_steps(samples, store, settings(width, options.dimension, precision), folder)
            count = parameters(trainer.network, trainer.objective)
            sizes[label] = count, operations(trainer.network, {"normal": face})
            ways[label] = run
        taken = rounds({k: lambda run=run: run(options.steps) for k, run in ways.items()}, options.rounds)
    return table(size, width, sizes, taken, options.steps)


def table(size: int, width: int, sizes: dict, taken: dict[str, list[float]], steps: int) -> dict[str, float]:
    """Print faces a second, by the best round, and the ratio; beside it the median of the rounds' ratios."""
    print(f"\n{size} px, batch {BATCH}, our width {width}, {torch.get_num_threads()} threads")
    print("| way | parameters | of the thesis's | GMAC a face | faces/s | times as fast | median of rounds | mark |")
    print("|---|---|---|---|---|---|---|---|")
    base, ratios = taken["thesis"], {}
    for name, seconds in taken.items():
        ratios[name] = min(base) / min(seconds)
        median = statistics.median(b / s for b, s in zip(base, seconds, strict=True))
        count, work = sizes[name]
        print(
            f"| {name} | {count:,} | {count / sizes['thesis'][0]:.3f} | {work:.3f} | "
            f"{steps * BATCH / min(seconds):.1f} | {ratios[name]:.2f} | {median:.2f} | {MARKS.get(name, '')} |"
        )
    return ratios


def chunks(count: int, size: int) -> Iterator[torch.Tensor]:
    """Random normals, 512 at a time."""
    rng = torch.Generator().manual_seed(7)
    for start in range(0, count, 512):
        faces = torch.randn(min(512, count - start), 3, size, size, generator=rng)
        yield faces / faces.norm(dim=1, keepdim=True)


def time_embedding(count: int, repeat: int, size: int = 112) -> dict[str, float]:
    """Print and return milliseconds a face of the default network on one core, as `psface evaluate` embeds faces.

    Core: the process's own time; clock: as it passes, which is more where others work too. The mirror image makes two
    faces of one.
    """
    torch.set_num_threads(1)
    params = Train()
    model = create_model(
        params.backbone, channels={"normal": 3}, size=size, attributes=dict.fromkeys(ORDER, 2), width=params.width,
        dimension=params.dimension, strides=tuple(params.strides),
    )  # fmt: skip
    found: dict[str, float] = {}
    print(f"\n{count} faces of {size} px by {params.backbone} of width {params.width}, one core; ms a face, mark 6")
    for label, view in (("one view", None), ("with the mirror image", mirror)):
        core, clock = [], []
        for _ in range(repeat):
            spent = passed = 0.0
            for faces in chunks(count, size):
                start = time.process_time(), time.perf_counter()
                embed(model, {"normal": faces}, mirror=view)
                spent, passed = spent + time.process_time() - start[0], passed + time.perf_counter() - start[1]
            core.append(spent), clock.append(passed)
        found[label] = 1000 * min(core) / count
        print(f"{label}: {found[label]:.2f} core, {1000 * min(clock) / count:.2f} clock")
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 256])
    parser.add_argument("--steps", type=int, default=4, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dimension", type=int, default=128, help="of our embedding; MagFace needs more than 100")
    parser.add_argument("--workers", type=int, default=0, help="of the thesis's DataLoader, started anew each round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--embed", type=int, default=0, metavar="FACES", help="time embeddings instead")
    options = parser.parse_args(arguments)
    if options.embed:
        time_embedding(options.embed, options.rounds)
        return
    torch.set_num_threads(options.threads)
    for size in options.sizes:
        compare(size, options)


if __name__ == "__main__":
    main()
