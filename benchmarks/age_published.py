"""MTLFace at its published size: shapes, parameters, and the time of one batch of each task, forward and backward.

    python benchmarks/age_published.py [--batch 4] [--device cpu] [--precision 32] [--repeat 1]

Random numbers stand for colour faces of 112 px; the published batch is 512. Recognition is IR-50, the decomposition,
the embedding, the age head, CosFace over 500 subjects and the cross-age discriminator. Synthesis is the generator and
the discriminator against that recogniser, frozen. The published counts: 12.899 million parameters of an age head, 6.97
of the discriminator, 54.04 of the generator with the share of filters that the released code has (0.1).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models import Recogniser, create_model
from models.age import AgeLoss, CrossAge
from models.generator import make_generator
from models.margins import CosFace
from models.objective import Objective
from models.patchgan import PatchDiscriminator
from models.synthesis import SynthesisLoss, discriminator_loss, freeze

SIZE, SUBJECTS, CHANNELS = 112, 500, {"frame": 3}
PUBLISHED = {"shared 0.1 (code)": 0.1, "shared 1/8 (paper)": 1 / 8}


def count(module: nn.Module) -> str:
    """Its parameters in millions."""
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.3f} M"


def batch(size: int, device: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Faces, subjects and ages."""
    rng = torch.Generator().manual_seed(0)
    faces = torch.randn(size, 3, SIZE, SIZE, generator=rng).to(device)
    subject = torch.randint(SUBJECTS, (size,), generator=rng).to(device)
    return {"frame": faces}, subject, 100 * torch.rand(size, generator=rng).to(device)


def recogniser(device: str) -> Recogniser:
    """IR-50 with the decomposition for the age, as published."""
    torch.manual_seed(0)
    model = create_model(
        "ir50", channels=CHANNELS, size=SIZE, attributes={"age": 101}, width=64, dimension=512, dropout=0.5
    ).to(device)
    assert isinstance(model, Recogniser)
    return model


def recognition(model: Recogniser, options: argparse.Namespace) -> Callable[[], None]:
    """One step of AIFR without its optimiser; what it makes is printed once."""
    channels, height, width = model.shape
    against = CrossAge(channels, height * width)
    objective = Objective(CosFace(512, SUBJECTS), {}, {"age": 0.001}, age=AgeLoss(), cross_age=against)
    objective.to(options.device)
    (faces, subject, age), ones = batch(options.batch, options.device), torch.ones(options.batch, device=options.device)
    print(f"recogniser {count(model)}, of it backbone {count(model.backbone)}, decomposition "
          f"{count(model.decomposition)}, embedding {count(model.embedding)}, age head {count(model.heads)}; "
          f"cross-age discriminator {count(against)}")  # fmt: skip
    with torch.no_grad():
        seen = model.eval().decompose(faces)
    maps = [tuple(level.shape[1:]) for level in reversed(seen.levels)]
    print(f"maps {maps}, X_id and X_age {tuple(seen.identity.shape[1:])}, {tuple(seen.parts['age'].shape[1:])}")

    def run() -> None:
        model.train()
        with autocast(options):
            losses = objective(model(faces), subject, {"age": age}, ones, ones)
        losses.total.backward()
        finite(model, objective)

    return run


def synthesis(judge: Recogniser, share: str, options: argparse.Namespace) -> Callable[[], None]:
    """One step of both players without their optimisers."""
    generator = make_generator(judge, shared=PUBLISHED[share]).to(options.device)
    discriminator = PatchDiscriminator(CHANNELS, SIZE).to(options.device)
    (faces, _, _), group = batch(options.batch, options.device), torch.arange(options.batch, device=options.device) % 7
    print(f"generator, {share}: {count(generator)}, {generator.conditional.masks.shape[1]} filters; "
          f"discriminator {count(discriminator)}")  # fmt: skip

    def run() -> None:
        with autocast(options):
            with torch.no_grad():
                seen = judge.decompose(faces)
            fake = generator(faces, seen, group)
            kept = {name: x.detach() for name, x in fake.items()}
            verdicts = discriminator(faces, group), discriminator(kept, group)
            made = judge.decompose(fake)
            found = SynthesisLoss()(discriminator(fake, group), seen, made, judge.ages(made)[1], group)
        (discriminator_loss(*verdicts) + found.total).backward()
        finite(generator, discriminator)
        assert fake["frame"].shape == faces["frame"].shape
        assert verdicts[0].shape[1:] == (1, 5, 5)

    return run


def autocast(options: argparse.Namespace) -> torch.autocast:
    """bfloat16 where asked for."""
    return torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16")


def finite(*modules: nn.Module) -> None:
    """Every parameter has a finite gradient."""
    for module in modules:
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name


def timed(what: str, run: Callable[[], None], options: argparse.Namespace) -> None:
    """The best of several runs, on the clock."""
    best = float("inf")
    for _ in range(options.repeat):
        start = time.perf_counter()
        run()
        if options.device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    print(f"{what}: {best:.2f} s for {options.batch} faces forward and backward, {options.precision}")


def main(arguments: list[str]) -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="32", choices=["32", "bf16"])
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args(arguments)
    model = recogniser(options.device)
    timed("recognition", recognition(model, options), options)
    freeze(model)
    for share in PUBLISHED:
        timed("synthesis", synthesis(model, share, options), options)


if __name__ == "__main__":
    main(sys.argv[1:])
