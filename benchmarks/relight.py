"""Held-out relighting on Extended Yale B, as it stands and with each held-out photograph free to move.

    python benchmarks/relight.py CroppedYale [-k 4 9] [--gains gains.csv]

Eight subjects, nineteen flashes that the maps never saw; PSNR in dB over the whole crop, mean over all photographs.
Between two flashes a head moved by up to three pixels, and registration undoes that for the maps' own frames but not
for the held-out photographs: maps of registered frames are sharp and one pixel off, maps of unregistered ones are
blurred to either side. So each figure is given twice, the second time after the translation (quarter pixels, up to
3.75 px) that fits each photograph best, which is granted to every method alike. Gains (subject,azimuth,elevation,gain)
come from benchmarks/calibrate.py.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

from pipeline.images import read_frame
from pipeline.params import Reconstruct
from stages.ingest.yaleb import light_of
from stages.reconstruct.registration import shifted
from stages.reconstruct.relight import relit
from stages.reconstruct.session import Photographs, reconstruct

Flash = tuple[int, int]  # azimuth and elevation in degrees, as in the files' names
SUBJECTS = [f"yaleB{n:02}" for n in (1, 2, 3, 5, 8, 15, 22, 28)]
HELD: list[Flash] = [
    (0, 0), (5, 10), (-5, 10), (10, 0), (-10, 0), (10, -20), (-10, -20), (20, 10), (-20, 10), (20, -10), (-20, -10),
    (25, 0), (-25, 0), (35, 15), (-35, 15), (35, -20), (-35, -20), (60, 20), (-60, 20),
]  # fmt: skip
TRAIN: list[Flash] = [
    (-50, 0), (20, -40), (35, 40), (0, 45), (50, 0), (-20, -40), (0, -35), (-35, 40), (15, 20), (-15, 20), (0, 20),
    (0, -20), (50, -40), (-50, -40), (5, -10),
]  # fmt: skip
METHODS = ("least squares", "psface", "psface, registration: false")
EDGE = 5  # px that a translated picture does not show


def name_of(flash: Flash) -> str:
    return f"A{flash[0]:+04d}E{flash[1]:+03d}"


def photographs(root: Path, subject: str) -> dict[Flash, np.ndarray]:
    """(H, W) float32 in [0, 1] of each flash of the protocol that the subject has."""
    paths = {flash: root / subject / f"{subject}_P00{name_of(flash)}.pgm" for flash in (*TRAIN, *HELD)}
    return {flash: read_frame(path) for flash, path in paths.items() if path.exists()}


def decibels(made: np.ndarray, taken: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((made - taken) ** 2)))


def after_translation(made: np.ndarray, taken: np.ndarray) -> float:
    """Decibels after the best translation, found coarse to fine, without the border that it moves out of sight."""
    inner = (slice(EDGE, -EDGE),) * 2
    best = np.zeros(2)
    for step in (1.0, 0.5, 0.25):
        tries = [best + np.array([dx, dy]) * step for dx in (-2, -1, 0, 1, 2) for dy in (-2, -1, 0, 1, 2)]
        scores = [decibels(shifted(made, move)[inner], taken[inner]) for move in tries]
        best = tries[int(np.argmax(scores))]
    return max(scores)


def predictions(
    method: str, frames: np.ndarray, lights: np.ndarray, strengths: np.ndarray, new: list[np.ndarray]
) -> list:
    """(H, W) under each new light, for a flash of strength 1."""
    if method == "least squares":
        scaled = np.linalg.lstsq(lights * strengths[:, None], frames.reshape(len(frames), -1), rcond=None)[0]
        return [(light @ scaled).reshape(frames.shape[1:]) for light in new]
    settings = Reconstruct(registration=method == "psface")
    maps, _ = reconstruct(Photographs(frames, lights, strengths), settings, residuals=True)
    return [relit(maps, light) for light in new]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-k", type=int, nargs="+", default=[4, 9])
    parser.add_argument("--gains", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    gains: dict[tuple[str, Flash], float] = {}
    if options.gains:
        for row in csv.DictReader(options.gains.open()):
            gains[row["subject"], (int(row["azimuth"]), int(row["elevation"]))] = float(row["gain"])
    for k in options.k:
        scores: dict[str, list[tuple[float, float]]] = {method: [] for method in METHODS}
        for subject in SUBJECTS:
            taken = photographs(options.data, subject)
            used = [flash for flash in TRAIN if flash in taken][:k]
            held = [flash for flash in HELD if flash in taken]
            frames = np.stack([taken[flash] for flash in used])
            lights = np.stack([light_of(name_of(flash)) for flash in used])
            strengths = np.array([gains.get((subject, flash), 1.0) for flash in used])
            for method in METHODS:
                for flash, made in zip(
                    held,
                    predictions(method, frames, lights, strengths, [light_of(name_of(f)) for f in held]),
                    strict=True,
                ):
                    picture = np.clip(made * gains.get((subject, flash), 1.0), 0, 1).astype(np.float32)
                    scores[method].append((decibels(picture, taken[flash]), after_translation(picture, taken[flash])))
        base = np.mean(scores["least squares"], axis=0)
        for method, pairs in scores.items():
            strict, moved = np.mean(pairs, axis=0)
            print(
                f"k={k} {method:28s} {strict:6.2f} dB ({strict - base[0]:+.2f})   translated {moved:6.2f} dB "
                f"({moved - base[1]:+.2f})   over {len(pairs)} photographs",
                flush=True,
            )


if __name__ == "__main__":
    main()
