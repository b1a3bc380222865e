"""Solvers of normals beside plain least squares, on sessions that `psface simulate` wrote.

    python benchmarks/solvers.py data/simulated

Mean angle to the true normals in degrees, mean over the sessions that ingest keeps by default, on skin and on the whole
head with hair, clothes and spectacles. Least squares sees the frames as they were taken; the solvers see them after
registration.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pipeline.errors import Rejected
from pipeline.images import linear, read_frame
from pipeline.maps import read_maps
from pipeline.params import Ingest, Reconstruct
from stages.ingest.checks import check_filters
from stages.ingest.photoface import read_session
from stages.reconstruct.reading import read_photographs
from stages.reconstruct.session import reconstruct
from stages.reconstruct.solvers import split

METHODS = ("weighted", "marching")
SKIN = 1  # of the simulator's regions.png


def angle(normal: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Mean degrees between unit normals (H, W, 3) over a mask."""
    cosine = np.einsum("pi,pi->p", normal[where], truth[where])
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("data/simulated"))
    parser.add_argument("--sessions", type=int, default=24)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    kept = Ingest(source="photoface", root=options.data.as_posix())
    errors: dict[str, list[tuple[float, float]]] = {}
    for folder in sorted(path.parent for path in options.data.glob("*/*/truth.exr"))[: options.sessions]:
        session, truth = read_session(folder), read_maps(folder / "truth.exr")
        given = read_photographs(session.frames, session.lights, session.strengths, ambient=session.ambient)
        try:
            check_filters(session, kept)
            made = {name: reconstruct(given, Reconstruct(solver=name))[0].normal for name in METHODS}
        except Rejected:
            continue
        where = truth.mask & made["weighted"].any(axis=-1)
        skin = where & (np.rint(read_frame(folder / "regions.png") * 255) == SKIN)
        frames = linear(given.frames[:, where]) - (0 if given.ambient is None else given.ambient[where])
        plain = np.zeros_like(truth.normal)
        plain[where] = split(np.linalg.lstsq(given.lights, frames, rcond=None)[0].astype(np.float32))[0].T
        for name, normal in {"least squares": plain, **made}.items():
            errors.setdefault(name, []).append((angle(normal, truth.normal, skin), angle(normal, truth.normal, where)))
    base = np.mean(errors["least squares"], axis=0)
    for name, values in errors.items():
        skin, head = np.mean(values, axis=0)
        print(
            f"{name:14s} skin {skin:5.2f} degrees ({skin / base[0]:.2f})   head {head:5.2f} ({head / base[1]:.2f})   "
            f"over {len(values)} sessions"
        )


if __name__ == "__main__":
    main()
