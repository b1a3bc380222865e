"""How many of Extended Yale B's tight crops are found, and how much a subject's landmarks scatter between sessions.

    python benchmarks/crop_looks.py CroppedYale [--seeds 7 101 202]

Each seed deals the flashes of the 30 subjects into disjoint sessions of four, as `psface ingest` does. The images of a
subject are registered to one another, so all its sessions should have the same landmarks: their root mean square
deviation from the subject's mean, as a share of the eye distance, is noise of the detector. One view an image is
compared with the views of `stages/crop/looks.py`, on the same images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pipeline.params import Deal, Ingest
from stages.crop import looks
from stages.crop.align import read_frames
from stages.crop.looks import Look, Sighting, eye_distance, find_faces
from stages.ingest.command import ingest

CONFIDENCE, MIN_FACE, BORDER = 0.9, 0.2, 0.3


def with_looks(
    first: Sequence[Look], further: Sequence[Look], border: float, least: int
) -> Callable[..., list[Sighting]]:
    """`find_faces` with other looks."""

    def find(images: Sequence[np.ndarray]) -> list[Sighting]:
        kept = looks.LOOKS, looks.FURTHER, looks.LEAST_VIEWS, looks.views
        looks.LOOKS, looks.FURTHER, looks.LEAST_VIEWS = tuple(first), tuple(further), least
        if least == 1:  # one view, not its mirror
            looks.views = lambda image, b, chosen: kept[3](image, b, chosen)[:1]
        try:
            return find_faces(images, border=border, min_face=MIN_FACE, confidence=CONFIDENCE)
        finally:
            looks.LOOKS, looks.FURTHER, looks.LEAST_VIEWS, looks.views = kept

    return find


def scatter(found: Sequence[Sighting], subjects: Sequence[str]) -> float:
    """Root mean square deviation of landmarks from their subject's mean, over the eye distance."""
    squares = []
    for subject in sorted(set(subjects)):
        own = np.array(
            [s.landmarks for s, who in zip(found, subjects, strict=True) if who == subject and s.landmarks is not None]
        )
        if len(own) > 1:
            squares += list(((own - own.mean(axis=0)) ** 2).sum(axis=2).ravel() / eye_distance(own.mean(axis=0)) ** 2)
    return float(np.sqrt(np.mean(squares)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="the folder CroppedYale")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 101, 202])
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain, curve = Look(1.0, 0, 1.0), Look(1.0, 0, 1 / 2.2)
    ways = {
        "one view, as it is": with_looks([plain], [], 0.0, 1),
        "one view, black border": with_looks([plain], [], BORDER, 1),
        "one view, black border, gamma": with_looks([curve], [], BORDER, 1),
        "6 views, border 0.3": with_looks(looks.LOOKS, [], BORDER, 3),
        "6 views, then 6 more; border 0.3": with_looks(looks.LOOKS, looks.FURTHER, BORDER, 3),
        **{
            f"6 views, then 6 more; border {b:g}": with_looks(looks.LOOKS, looks.FURTHER, b, 3)
            for b in (0.0, 0.1, 0.2, 0.4)
        },
    }
    means, subjects = [], []
    for seed in options.seeds:
        params = Ingest(source="yaleb", root=options.root, deal=Deal(seed=seed))
        sessions, _, _ = ingest(params, jobs=1)
        means += [read_frames(s).mean(axis=0) for s in sessions]
        subjects += [s.subject for s in sessions]
    print(f"{len(means)} sessions of {len(set(subjects))} subjects, {len(options.seeds)} deals")
    for name, find in ways.items():
        found = find(means)
        rate = np.mean([s.landmarks is not None for s in found])
        print(
            f"{name:42s} found {100 * rate:5.1f} %, scatter {100 * scatter(found, subjects):5.2f} % of the eye distance"
        )


if __name__ == "__main__":
    main()
