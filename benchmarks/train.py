"""What a training step costs: faces a second by precision, memory layout and PReLU, timed in turn in one run.

    python benchmarks/train.py [--width 32] [--batch 32] [--size 112] [--repeat 5] [--threads 2]

A step is what `psface train normal` does with a batch: augmentation, forward, losses, backward, AdamW. The faces are
random numbers, which cost the same. The base of the ratios is what one gets without doing anything for speed: float32,
torch's default layout and torch's own PReLU.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from models import activation, create_model
from models.focal import class_constants
from models.magface import MagFace
from models.objective import Objective
from pipeline.augment import augment
from pipeline.fitting import native_bf16
from pipeline.params import Augment, Train

SUBJECTS = 130
ATTRIBUTES = {"spectacles": 2, "facial_hair": 2, "expression": 2, "pose": 2, "gender": 2}
LAYOUTS = {"default": torch.contiguous_format, "channels-last": torch.channels_last}
PRELUS = {"torch's": nn.PReLU, "ours": activation.PReLU}
PRECISIONS = {"float32": False, "bfloat16": True}


def step(options: argparse.Namespace, precision: str, layout: str, prelu: str) -> Callable[[], None]:
    """A training step of its own network."""
    torch.manual_seed(0)
    activation.ACTIVATIONS["prelu"] = PRELUS[prelu]
    model = create_model(
        "iresnet18",
        channels={"normal": 3},
        size=options.size,
        attributes=ATTRIBUTES,
        width=options.width,
        strides=options.strides,
    )
    model = model.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    constants = {name: class_constants([1] * n, 1.0) for name, n in ATTRIBUTES.items()}
    objective = Objective(MagFace(256, SUBJECTS), constants, dict.fromkeys(ATTRIBUTES, 1.0))
    optimiser = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=1e-3, fused=True)
    rng, ones = torch.Generator().manual_seed(0), torch.ones(options.batch)
    faces = {"normal": torch.randn(options.batch, 3, options.size, options.size, generator=rng)}
    subject = torch.randint(SUBJECTS, (options.batch,), generator=rng)
    labels = {name: torch.randint(n, (options.batch,), generator=rng) for name, n in ATTRIBUTES.items()}

    def run() -> None:
        inputs = {k: x.contiguous(memory_format=LAYOUTS[layout]) for k, x in augment(faces, Augment(), rng).items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=PRECISIONS[precision]):
            losses = objective(model(inputs), subject, labels, ones, ones)
        losses.total.backward()
        optimiser.step()
        optimiser.zero_grad()

    return run


def main() -> None:
    """Time all combinations in turn and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = Train()
    parser.add_argument("--width", type=int, default=defaults.width)
    parser.add_argument("--strides", type=int, nargs=4, default=defaults.strides)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    combinations = list(itertools.product(PRECISIONS, LAYOUTS, PRELUS))
    steps = {each: step(options, *each) for each in combinations}
    taken: dict[tuple[str, ...], list[float]] = {each: [] for each in combinations}
    for _ in range(options.repeat + 1):  # the first round warms up
        for each, run in steps.items():
            start = time.perf_counter()
            run()
            taken[each].append(time.perf_counter() - start)
    rate = {each: options.batch / statistics.median(times[1:]) for each, times in taken.items()}
    print(
        f"{options.threads} threads, width {options.width}, strides {tuple(options.strides)}, batch {options.batch}, "
        f"{options.size} px; bfloat16 native: {native_bf16()}"
    )
    print(f"{'precision':10} {'layout':14} {'PReLU':8} {'faces/s':>8} {'ratio':>6}")
    for each in combinations:
        print(f"{each[0]:10} {each[1]:14} {each[2]:8} {rate[each]:8.0f} {rate[each] / rate[combinations[0]]:6.2f}")


if __name__ == "__main__":
    main()
