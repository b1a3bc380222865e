"""The detector against the `mtcnn` package's own TensorFlow code: milliseconds an image, taken in turn, in one run.

    python benchmarks/detect.py --peer tf/bin/python [--repeat 7]

The package needs TensorFlow, so its code runs in a process of its own, by the interpreter of an environment that has
both (tests/data/make_mtcnn_reference.py says how to make one); it stays alive, is given the same arrays, and times its
own work. Both sides look for faces from 20 px on. Clock time is what a user waits for; processor time does not count
what else the machine did.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from stages.crop.detector import Detector

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "data"))
from mtcnn_cases import arrays

WORKER = """
import json, sys, time
import numpy as np
from mtcnn import MTCNN
images = list(np.load(sys.argv[1]).values())
detector = MTCNN()
for line in sys.stdin:
    names, together = json.loads(line)
    chosen = [images[i] for i in names]
    wall, own = time.perf_counter(), time.process_time()
    if together:
        detector.detect_faces(chosen)
    else:
        for image in chosen:
            detector.detect_faces(image)
    print(json.dumps([time.perf_counter() - wall, time.process_time() - own]), flush=True)
"""
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
Seconds = tuple[float, float]  # clock, processor


class Peer(AbstractContextManager["Peer"]):
    """The package's own code in a process that stays alive."""

    def __init__(self, python: str, images: Path, threads: dict[str, str]) -> None:
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [python, "-c", WORKER, str(images)],
            env=os.environ | quiet | threads,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self, chosen: Sequence[int], together: bool) -> Seconds:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([list(chosen), together]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the peer ended: does its environment have mtcnn and tensorflow?")
        wall, own = json.loads(answer)
        return wall, own

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def ours(detector: Detector, images: Sequence[np.ndarray], together: bool) -> Seconds:
    """As the peer's worker times its own."""
    wall, own = time.perf_counter(), time.process_time()
    if together:
        detector.detect(images)
    else:
        for image in images:
            detector.detect([image])
    return time.perf_counter() - wall, time.process_time() - own


def in_turn(ways: dict[str, Callable[[], Seconds]], repeat: int) -> dict[str, Seconds]:
    """The medians of each way, all taken in turn; the first round warms up."""
    taken: dict[str, list[Seconds]] = {name: [] for name in ways}
    for _ in range(repeat + 1):
        for name, call in ways.items():
            taken[name].append(call())
    return {name: tuple(map(statistics.median, zip(*seconds[1:], strict=True))) for name, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, help="the python of an environment with mtcnn and tensorflow")
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    pictures = arrays()
    kinds = {
        "simulated, 256 px": [f"sim{i:02}" for i in range(16)],
        "portrait, 512 px": ["portrait", "mirrored", "tilted_15", "tilted_-30", "dark", "bright", "grey", "inverted"],
    }
    used = [name for names in kinds.values() for name in names]
    threads = torch.get_num_threads(), cv2.getNumThreads()
    detector = Detector()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.npz"
        np.savez(file, *(pictures[name] for name in used))
        for label, environment in {"one thread": ONE_THREAD, f"{threads[0]} threads": {}}.items():
            torch.set_num_threads(1 if environment else threads[0])
            cv2.setNumThreads(1 if environment else threads[1])
            with Peer(options.peer, file, environment) as peer:
                for kind, names in kinds.items():
                    images, chosen = [pictures[n] for n in names], [used.index(n) for n in names]
                    for together in (False, True):
                        seconds = in_turn(
                            {
                                "ours": partial(ours, detector, images, together),
                                "package": partial(peer, chosen, together),
                            },
                            options.repeat,
                        )
                        way = f"in batches of {len(names)}" if together else "one at a time"
                        report(f"{label}; {kind}, {way}", seconds, len(names))


def report(label: str, seconds: dict[str, Seconds], images: int) -> None:
    """A line: milliseconds an image by the clock (and of a processor), and how many times as fast ours is."""
    (wall, own), (their_wall, their_own) = ([1e3 * s / images for s in seconds[name]] for name in ("ours", "package"))
    print(
        f"{label:52s} ours {wall:6.1f} ({own:6.1f}) ms, package {their_wall:6.1f} ({their_own:6.1f}) ms: "
        f"{their_wall / wall:4.1f} x ({their_own / own:4.1f} x)",
        flush=True,
    )


if __name__ == "__main__":
    main()
