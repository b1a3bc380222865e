"""A session of twenty frames of four megapixels, end to end, beside reading and decoding its frames.

    python benchmarks/session.py [--lights 20] [--side 2000] [--rounds 3]

The frames are a face-like surface in closed form, rendered at a quarter of the size, enlarged, with noise of one grey
level, as PNG of 8 bits. Reading and decoding is OpenCV's alone. CPU seconds of a process as sessions are worked on in
(one thread, freed memory kept), each part in turn, the least of several rounds; the parts are timed on their own, and
their sum is not the whole.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pipeline.lights import from_angles
from pipeline.maps import write_maps
from pipeline.parallel import map_sessions
from pipeline.params import Reconstruct
from stages.reconstruct.fitting import Task, fitted
from stages.reconstruct.integration import integrate
from stages.reconstruct.masking import foreground
from stages.reconstruct.reading import read_photographs
from stages.reconstruct.registration import register
from stages.reconstruct.session import reconstruct
from stages.reconstruct.solvers import choose
from stages.reconstruct.stack import Stack
from tests.stages.reconstruct.face_scene import photograph


def rendered(folder: Path, count: int, side: int) -> tuple[list[Path], np.ndarray]:
    """Frames under lights (count, 3) spread over a cap."""
    i = np.arange(count)
    lights = from_angles(15 + 40 * ((7 * i) % count) / count, i * 180 * (3 - np.sqrt(5)) % 360 - 180)
    rng, paths = np.random.default_rng(0), [folder / f"im{j:03d}.png" for j in i]
    for path, frame in zip(paths, photograph(side // 4, lights).frames, strict=True):
        large = cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC)
        noisy = large + rng.normal(0, 1 / 255, large.shape)
        cv2.imwrite(str(path), np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8))
    return paths, lights


def least_seconds(options: argparse.Namespace) -> tuple[dict[str, float], float]:
    """The least CPU seconds of each part, and the share of the picture that is face."""
    with tempfile.TemporaryDirectory() as scratch:
        paths, lights = rendered(Path(scratch), options.lights, options.side)
        strengths, out, settings = np.ones(options.lights), Path(scratch) / "session.exr", Reconstruct()
        given = read_photographs(paths, lights, strengths)
        maps, _ = reconstruct(given, settings)
        stack, method = Stack(given.frames, None), choose(options.lights, masked=True)[0]
        task = Task(stack, lights, strengths, maps.mask, settings)
        parts: dict[str, Callable[[], object]] = {
            "reading and decoding": lambda: [cv2.imdecode(np.fromfile(p, np.uint8), -1) for p in paths],
            "whole session": lambda: write_maps(
                out, reconstruct(read_photographs(paths, lights, strengths), settings)[0]
            ),
            "  read": lambda: read_photographs(paths, lights, strengths),
            "  register": lambda: register((stack.flash(i) for i in range(len(stack))), lights, largest=100),
            "  mask": lambda: foreground(stack.brightest()[None], level=settings.mask_level),
            f"  solve ({method})": lambda: fitted(task, method),
            "  integrate": lambda: integrate(maps.normal, maps.mask, floor=settings.slope_floor),
            "  write": lambda: write_maps(out, maps),
        }
        taken: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(options.rounds):
            for name, part in parts.items():
                start = time.process_time()
                part()
                taken[name].append(time.process_time() - start)
    return {name: min(seconds) for name, seconds in taken.items()}, float(maps.mask.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lights", type=int, default=20)
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    [(least, share)] = map_sessions(least_seconds, [options], jobs=1, label="session")
    size = f"{options.lights} frames of {options.side} x {options.side}"
    print(f"{size}, {share:.0%} of them face; CPU seconds")
    for name, seconds in least.items():
        print(f"{name:24s} {seconds:6.2f}  {seconds / least['reading and decoding']:5.2f}")


if __name__ == "__main__":
    main()
