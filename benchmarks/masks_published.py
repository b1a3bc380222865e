"""Multi-task ArcFace at its published size: shapes, parameters, and the time of one batch, forward and backward.

    python benchmarks/masks_published.py [--batch 8] [--device cpu] [--precision 32] [--repeat 1]

LResNet50E-IR (units 3, 4, 14, 3), from whose features after the dropout a 512-d embedding and two mask logits are
projected, beside the plain ArcFace twin. Random numbers stand for colour faces of 112 px, half of them with a mask;
ArcFace has the 85,742 people of MS1MV2. The published batch is 512.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.age_published import autocast, count, finite, timed
from models import Recogniser, create_model
from models.margins import ArcFace
from models.objective import Objective

SIZE, PEOPLE = 112, 85_742


def network(attributes: dict[str, int]) -> Recogniser:
    """The published network, with a head beside the embedding or without."""
    torch.manual_seed(0)
    model = create_model(
        "ir50", channels={"frame": 3}, size=SIZE, attributes=attributes, beside=list(attributes), width=64,
        attention="none", dimension=512, dropout=0.4,
    )  # fmt: skip
    assert isinstance(model, Recogniser)
    return model


def step(name: str, attributes: dict[str, int], options: argparse.Namespace) -> None:
    """One step of a network without its optimiser; what it is made of is printed."""
    model = network(attributes).to(options.device)
    none = {each: ([1.0, 1.0], [0.0, 0.0]) for each in attributes}
    objective = Objective(ArcFace(512, PEOPLE), none, dict.fromkeys(attributes, 1.0), damped=True).to(options.device)
    rng = torch.Generator().manual_seed(0)
    faces = {"frame": torch.randn(options.batch, 3, SIZE, SIZE, generator=rng).to(options.device)}
    subject = torch.randint(PEOPLE, (options.batch,), generator=rng).to(options.device)
    labels = {each: torch.arange(options.batch, device=options.device) % 2 for each in attributes}
    ones = torch.ones(options.batch, device=options.device)
    with torch.no_grad():
        seen = model.eval()(faces)
    shapes = {each: tuple(logits.shape[1:]) for each, logits in seen.logits.items()}
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters, of them heads {count(model.heads)}; "
          f"features {model.shape}, embedding {tuple(seen.embedding.shape[1:])}, logits {shapes}; "
          f"ArcFace's classes {count(objective)}")  # fmt: skip

    def run() -> None:
        model.train()
        with autocast(options):
            losses = objective(model(faces), subject, labels, ones, ones)
        losses.total.backward()
        finite(model, objective)

    timed(name, run, options)


def main(arguments: list[str]) -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="32", choices=["32", "bf16"])
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args(arguments)
    step("plain ArcFace", {}, options)
    step("multi-task ArcFace", {"mask": 2}, options)


if __name__ == "__main__":
    main(sys.argv[1:])
