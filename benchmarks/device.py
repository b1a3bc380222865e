"""Pixels solved and integrated on a torch device beside numpy: seconds, and how far the results are apart.

    python benchmarks/device.py [--device cuda] [--side 1000] [--rounds 3]

Frames of 8 bits of a face-like surface in closed form, one for each solver. Seconds of the clock, one thread of the
processor, in turn, the least of several rounds; frames to the device and maps back are included, reading, registration
and writing are not. Differences are of unit normals, albedo, and depth over its range: all pixels but one in a thousand
are nearer than the first number, all are nearer than the second.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pipeline.devices import usable_device
from pipeline.params import Reconstruct
from stages.reconstruct import device as on
from stages.reconstruct.fitting import Fit, Task, fitted
from stages.reconstruct.integration import integrate
from stages.reconstruct.stack import Stack
from tests.stages.reconstruct.face_scene import photograph, ring, sensor

SESSIONS = {"weighted": 4, "marching": 5, "thresholding": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    threadpool_limits(1)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device = usable_device(options.device)
    print(f"{options.side} x {options.side}; seconds by numpy and on {device}, differences")
    for method, count in SESSIONS.items():
        scene = photograph(options.side, ring(35, count))
        frames = np.rint(sensor(scene.frames, np.random.default_rng(0)) * 255).astype(np.uint8)
        task = Task(Stack(frames, None), scene.lights, np.ones(count), scene.mask, Reconstruct())
        solve = partial(fitted, task, method), partial(on.fitted, task, method, device=device)
        normal = solve[0]().normal
        whole = {"normal": normal, "mask": scene.mask, "floor": task.settings.slope_floor, "intrinsics": None}
        depth = partial(integrate, **whole), partial(on.integrated, **whole, device=device)
        for name, parts in {f"{method}, {count}": solve, "  integrate": depth}.items():
            seconds, results = timed(parts, options.rounds)
            print(f"{name:18s} {seconds[0]:6.2f} {seconds[1]:6.2f}  {told(results, scene.mask)}", flush=True)


def timed(parts: tuple, rounds: int) -> tuple[list[float], list]:
    """Seconds of the parts in turn, and what they gave."""
    taken: list[list[float]] = [[] for _ in parts]
    for _ in range(rounds):
        results = []
        for part, seconds in zip(parts, taken, strict=True):
            start = time.perf_counter()
            results.append(part())
            seconds.append(time.perf_counter() - start)
    return [min(seconds) for seconds in taken], results


def told(results: list, mask: np.ndarray) -> str:
    one, other = results
    if not isinstance(one, Fit):
        return "depth " + spread(np.abs(one - other)[mask] / np.ptp(one[mask]))
    normal = np.abs(one.normal - other.normal)[mask].max(axis=1)
    return f"normals {spread(normal)}, albedo {spread(np.abs(one.albedo - other.albedo)[mask])}"


def spread(apart: np.ndarray) -> str:
    return f"{np.quantile(apart, 0.999):.0e} {apart.max():.0e}"


if __name__ == "__main__":
    main()
