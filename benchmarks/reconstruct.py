"""What reconstruction costs and how far it is from the truth.

    python benchmarks/reconstruct.py data/simulated            # error against truth.exr, and seconds of one core
    python benchmarks/reconstruct.py data/simulated --sessions 200

A session's time is that of the whole path (read, register, solve, integrate, write), in CPU seconds of one thread, and
of its parts; the integration runs beside SciPy's sparse factorisation of the same equations. Errors are means over
sessions, spread evenly over those that ingest keeps by default, of the mean angle between normals on skin that every
flash reaches: n.l > .1 for all true lights, each frame at least 60 % as bright as the true albedo, normal, light and
gain make it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

from pipeline.errors import Rejected
from pipeline.images import linear, read_frame
from pipeline.maps import Maps, read_maps, write_maps
from pipeline.params import Ingest, Reconstruct
from stages.ingest.checks import check_filters
from stages.ingest.photoface import read_session
from stages.reconstruct.integration import edges_of, integrate
from stages.reconstruct.reading import read_photographs
from stages.reconstruct.registration import register
from stages.reconstruct.session import Photographs, reconstruct
from stages.reconstruct.solvers import solve

SKIN = 1  # of the simulator's regions.png


def unshadowed(truth: Maps, regions: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(H, W) skin that every flash reaches, and the true lights (k, 3) and gains (k,)."""
    attributes = truth.attributes
    lights, gains = np.array(json.loads(attributes["lights"])), np.array(json.loads(attributes["gains"]))
    drift = np.array(json.loads(attributes["drift"]), np.float32)
    cosine = np.tensordot(lights, truth.normal, axes=(1, 2))
    expected = float(attributes["exposure"]) * gains[:, None, None] * truth.albedo * np.maximum(cosine, 0)
    at_rest = [
        cv2.warpAffine(f, np.float32([[1, 0, dx], [0, 1, dy]]), f.shape[::-1], flags=1 | cv2.WARP_INVERSE_MAP)
        for f, (dx, dy) in zip(frames, drift, strict=True)
    ]
    lit = (cosine > 0.1).all(axis=0) & (np.stack(at_rest) > 0.6 * expected).all(axis=0)
    skin = (regions == SKIN) & truth.mask & lit
    return cv2.erode(skin.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, lights, gains


def angle(maps: Maps, truth: Maps, where: np.ndarray) -> float:
    """Mean degrees between normals."""
    cosine = (maps.normal * truth.normal).sum(axis=-1)[where & maps.mask]
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).mean())


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Least CPU seconds of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def factorised(normal: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The integration's equations by SciPy's sparse LU, the peer to beat."""
    edges = edges_of(normal, mask, floor=0.05)
    rows, n = np.arange(len(edges.rise)), int(mask.sum())
    ends = np.concatenate([edges.end, edges.start])
    signs = np.repeat([1.0, -1.0], len(rows))
    difference = sp.csr_matrix((signs, (np.tile(rows, 2), ends)), shape=(len(rows), n))
    laplacian = (difference.T @ difference + 1e-9 * sp.identity(n)).tocsc()
    factor = scipy.sparse.linalg.splu(
        laplacian, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    return factor.solve(difference.T @ edges.rise)


def kept(folders: list[Path]) -> list[Path]:
    """Sessions that ingest keeps by default: sharp, well exposed, not occluded, not in profile."""
    settings, good = Ingest(source="photoface", root=""), []
    for folder in folders:
        try:
            check_filters(read_session(folder), settings)
        except Rejected:
            continue
        good.append(folder)
    return good


def accuracy(folders: list[Path]) -> None:
    """Print errors as recorded, without registration, and with the true lights and gains."""
    names = ("as recorded", "without registration", "true lights and gains")
    errors: dict[str, list[float]] = {name: [] for name in names}
    for folder in folders:
        session, truth = read_session(folder), read_maps(folder / "truth.exr")
        given = read_photographs(session.frames, session.lights, session.strengths, ambient=session.ambient)
        regions = read_frame(folder / "regions.png") * 255
        where, lights, gains = unshadowed(truth, np.rint(regions), linear(given.frames))
        exact = replace(given, lights=lights, strengths=gains)
        for name, photographs, registration in zip(names, (given, given, exact), (True, False, True), strict=True):
            maps, _ = reconstruct(photographs, Reconstruct(registration=registration))
            errors[name].append(angle(maps, truth, where))
    for name, values in errors.items():
        print(
            f"{name:24s} {len(values)} sessions: mean {np.mean(values):5.2f}  median {np.median(values):5.2f} degrees"
        )


def speed(folder: Path) -> None:
    """Print CPU seconds of a session and of its parts."""
    session = read_session(folder)

    def read() -> Photographs:
        return read_photographs(session.frames, session.lights, session.strengths, ambient=session.ambient)

    given, settings = read(), Reconstruct()
    maps, _ = reconstruct(given, settings)
    frames = linear(given.frames)
    samples = frames[:, maps.mask]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "s.exr"
        parts = {
            "whole session": lambda: write_maps(path, reconstruct(read(), settings)[0]),
            "read": read,
            "register": lambda: register(frames, session.lights, largest=12),
            "solve": lambda: solve(samples, session.lights, session.strengths, saturated=samples >= 0.99),
            "integrate": lambda: integrate(maps.normal, maps.mask),
            "  by sparse LU": lambda: factorised(maps.normal, maps.mask),
            "write": lambda: write_maps(path, maps),
        }
        height, width = maps.shape
        print(f"{len(given.frames)} frames of {width}x{height}, {maps.mask.sum()} pixels of face; CPU seconds")
        for name, function in parts.items():
            print(f"{name:24s} {seconds(function):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, nargs="?", default=Path("data/simulated"), help="a folder that `psface simulate` wrote"
    )
    parser.add_argument("--sessions", type=int, default=60)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    folders = kept(sorted(path.parent for path in options.data.glob("*/*/truth.exr")))
    if not folders:
        parser.error(f"{options.data} has no usable session with a truth.exr; run `psface simulate` first")
    speed(folders[0])
    spread = np.linspace(0, len(folders) - 1, min(options.sessions, len(folders))).round().astype(int)
    accuracy([folders[i] for i in spread])


if __name__ == "__main__":
    main()
