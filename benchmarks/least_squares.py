"""Plain least squares of all pixels beside one read of its input, numpy's product with the pseudo-inverse and torch's.

    python benchmarks/least_squares.py [--rounds 9]

Twenty lights by four million pixels, and fifty by twenty thousand, float32. One read is the sum of the input. Ours goes
on to unit normals and albedo; the peers stop at the scaled normals. CPU seconds of one thread, each in turn, the least
of several rounds. Memory is the peak of what numpy takes beyond the input (tracemalloc), over the output.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pipeline.lights import from_angles
from stages.reconstruct.solvers import least_squares

SIZES = ((20, 4_000_000), (50, 20_000))


def rendered(lights: np.ndarray, pixels: int) -> np.ndarray:
    """(k, P) float32 samples of surfaces up to 60 degrees off the axis, of any albedo."""
    rng = np.random.default_rng(0)
    normal = from_angles(60 * rng.random(pixels), 360 * rng.random(pixels)).T * rng.random(pixels)
    return np.maximum(lights.astype(np.float32) @ normal.astype(np.float32), 0)


def timed(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least seconds of each, run in turn."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return {name: min(seconds) for name, seconds in taken.items()}


def compare(count: int, pixels: int, rounds: int) -> None:
    """Time all of them on so many lights and pixels, and print it."""
    lights, strengths = from_angles(35.0, 360 * np.arange(count) / count), np.ones(count)
    samples, inverse = rendered(lights, pixels), np.linalg.pinv(lights).astype(np.float32)
    given, matrix = torch.from_numpy(samples), torch.from_numpy(inverse)
    runs: dict[str, Callable[[], object]] = {
        "one read": samples.sum,
        "one read, torch": given.sum,
        "psface": lambda: least_squares(samples, lights, strengths),
        "numpy pinv @ samples": lambda: inverse @ samples,
        "torch pinv @ samples": lambda: matrix @ given,
    }
    seconds = timed(runs, rounds)
    print(f"{count} lights, {pixels} pixels")
    for name, least in seconds.items():
        print(f"  {name:22s} {least * 1e3:9.3f} ms  {least / seconds['one read']:5.2f} of one read")
    tracemalloc.start()
    result = least_squares(samples, lights, strengths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = sum(part.nbytes for part in result)
    print(f"  memory {(samples.nbytes + peak) / (samples.nbytes + size):.3f} of input plus output")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    threadpool_limits(1)
    torch.set_num_threads(1)
    for count, pixels in SIZES:
        compare(count, pixels, options.rounds)


if __name__ == "__main__":
    main()
