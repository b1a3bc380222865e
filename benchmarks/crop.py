"""What `psface crop` costs: milliseconds of one core a session, by part, at 256 px and four frames.

    python benchmarks/crop.py [--sessions 32] [--size 256] [--repeat 5]

Sessions are the portrait that scikit-image brings, under four exposures, written to a temporary folder and read back as
the stage does. Batches are timed in turn with the same views one image at a time, and with a single view an image, in
the same run. Where the `mtcnn` package can be imported (it needs TensorFlow), its own code is timed on the same views.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
from skimage import data

from pipeline.images import read_frame, write_picture
from pipeline.maps import Maps, read_maps, write_maps
from stages.crop.align import cut_face
from stages.crop.detector import Detector
from stages.crop.looks import find_faces, views

SETTINGS = {"border": 0.3, "min_face": 0.2, "confidence": 0.9}
FRAMES, FACE = 4, 112


def photographed(folder: Path, size: int) -> tuple[list[Path], Path]:
    """Frames and maps of one session on disk."""
    grey = cv2.cvtColor(data.astronaut()[0:260, 95:355], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    image = cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA if size < 260 else cv2.INTER_LINEAR)
    frames = [folder / f"im{i}.bmp" for i in range(FRAMES)]
    for i, path in enumerate(frames):
        write_picture(path, image * (0.6 + 0.1 * i))
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    depth = 0.3 * size * np.sqrt(np.clip(1 - 2 * (x**2 + y**2), 0, None)).astype(np.float32)
    rows, columns = np.gradient(depth)
    normal = np.stack([-columns, rows, np.ones_like(depth)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    mask = np.hypot(x, y) < 0.45
    write_maps(folder / "maps.exr", Maps(normal, image, depth - depth[mask].mean(), mask))
    return frames, folder / "maps.exr"


def timed(parts: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median processor seconds of each part, all taken in turn; the clock's would count the machine's other work."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeat + 1):  # the first round warms up
        for name, call in parts.items():
            start = time.process_time()
            call()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def package_detector() -> Callable[[list[np.ndarray]], object] | None:
    """The `mtcnn` package's own detector, one image at a time, if it can be imported."""
    if importlib.util.find_spec("tensorflow") is None:
        return None
    from mtcnn import MTCNN

    detector = MTCNN()
    return lambda images: [detector.detect_faces(np.dstack([i] * 3)) for i in images]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        frames, maps = photographed(Path(folder), options.size)
        mean = np.mean([read_frame(p) for p in frames], axis=0)
        landmarks = find_faces([mean], **SETTINGS)[0].landmarks
        assert landmarks is not None
        photographs, read = np.stack([read_frame(p) for p in frames]), read_maps(maps)
        batch, side = [mean] * 16, round(SETTINGS["min_face"] * options.size)
        levels, full = [v for v, _ in views(mean, SETTINGS["border"])], np.rint(mean * 255).astype(np.uint8)
        detector, thorough = Detector(min_face=side), Detector()
        parts: dict[str, Callable[[], object]] = {
            "detect, 6 views, in batches": lambda: [
                find_faces(batch, **SETTINGS) for _ in range(options.sessions // 16)
            ],
            "detect, 6 views, one at a time": lambda: [
                detector.detect([v]) for _ in range(options.sessions) for v in levels
            ],
            "detect, 1 view, smallest face 20 px": lambda: [
                thorough.detect([full] * 16) for _ in range(options.sessions // 16)
            ],
            "read frames": lambda: [[read_frame(p) for p in frames] for _ in range(options.sessions)],
            "read maps": lambda: [read_maps(maps) for _ in range(options.sessions)],
            "align, warp, pack": lambda: [
                cut_face(read, photographs, landmarks, size=FACE, order=range(FRAMES), drawn=0)
                for _ in range(options.sessions)
            ],
        }
        package = package_detector()
        if package is not None:
            parts["mtcnn package, 1 view"] = lambda: package([full] * options.sessions)
        seconds = timed(parts, options.repeat)
    print(
        f"{options.sessions} sessions of {FRAMES} frames at {options.size} px, one thread, median of {options.repeat}"
    )
    for name, value in seconds.items():
        print(f"{name:38s} {1e3 * value / options.sessions:7.1f} ms a session")
    names = list(seconds)
    total = seconds[names[0]] + 2 * seconds["read frames"] + seconds["read maps"] + seconds["align, warp, pack"]
    total *= 1e3 / options.sessions
    print(f"{'crop in all (frames are read twice)':38s} {total:7.1f} ms a session")
    print(f"one at a time / batched: {seconds[names[1]] / seconds[names[0]]:.2f}")
    if package is None:
        print("the mtcnn package's own code was not timed: TensorFlow is not installed")


if __name__ == "__main__":
    main()
