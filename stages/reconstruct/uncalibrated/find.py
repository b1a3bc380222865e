"""Where a face is in frames under unknown lights: a matched subspace filter.

At the right place the frames are, pixel by pixel, linear in the three channels of the mean face's scaled normals; the
coefficients are the lights. A filter commutes with that, so that a band of fine detail is looked at, where faces differ
from cheeks and walls. The score of a place is the share of the frames' energy in that band that the three channels
explain, whatever the lights; all places of one size are a few correlations.

Reference: L. L. Scharf, B. Friedlander, Matched subspace detectors, IEEE Trans. Signal Processing 42(8), 1994,
doi:10.1109/78.301849.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.geometry import compose, resizing, similarity
from stages.reconstruct.face.model import SIDE, FaceModel

SMALL = 32  # px, the grid of the search
BAND = (0.7, 4.0)  # px of it, the Gaussians whose difference is looked at
SPANS = np.geomspace(0.15, 2.2, 27)  # widths of the model looked for, in parts of the frame's smaller side
LEAST_SHARE = 0.12  # of what is lit, that a face covers
OVERLAP = 0.5  # of the model lies inside the frame, at least
QUIET = 1.0  # of the frames' mean energy, added to that of each place: dark places say little
RIDGE = 1e-3
WORKING = 400  # px of the longer side, more is not needed


class Place(NamedTuple):
    """Where a face may be: how well it fits in [0, 1], and the similarity from the frames to the model's grid."""

    score: float
    matrix: np.ndarray


def find(frames: np.ndarray, model: FaceModel) -> list[Place]:
    """The best place of each of a range of sizes, best first.

    Parameters
    ----------
    frames : (k, H, W) float32, linear.
    """
    factor = min(1.0, WORKING / max(frames.shape[1:]))
    images = _principal(_resized(frames, factor) if factor < 1 else frames)
    side, lit = min(images.shape[1:]), _lit(images)
    channels, weight = _channels(model)
    places = []
    for span in SPANS:
        pixel = SMALL / (span * side)
        if weight.sum() < LEAST_SHARE * lit * pixel**2 or min(images.shape[1:]) * pixel < 8:
            continue
        score, at = _best(_resized(images, pixel), channels, weight)
        grid = compose(similarity(shift=at), resizing(pixel * factor))
        places.append(Place(score, compose(resizing(SIDE / SMALL), grid)))
    return sorted(places, key=lambda place: -place.score)


def _resized(frames: np.ndarray, factor: float) -> np.ndarray:
    size = tuple(max(1, round(length * factor)) for length in frames.shape[:0:-1])
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def _principal(frames: np.ndarray) -> np.ndarray:
    """Of many frames, the four mixtures that hold most of their energy."""
    if len(frames) <= 4:
        return frames
    flat = frames.reshape(len(frames), -1)
    mixing = np.linalg.svd((flat @ flat.T).astype(float))[0][:, :4]
    return np.asarray(np.tensordot(mixing.T, frames, axes=1), np.float32)


def _lit(frames: np.ndarray) -> int:
    """Pixels that are clearly brighter than the dark."""
    level = np.sqrt((frames**2).sum(axis=0))
    return int((level > 0.1 * np.quantile(level, 0.95)).sum())


def _band(image: np.ndarray, scale: float = 1.0) -> np.ndarray:
    fine, smooth = (cv2.GaussianBlur(image, (0, 0), sigma * scale) for sigma in BAND)
    return np.asarray(fine - smooth)


def _channels(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Scaled normals (3, SMALL, SMALL) of the mean face in the band, and the weight of each pixel."""
    scaled = (model.normal * model.albedo[..., None]).astype(np.float32)
    channels = np.stack([_band(np.ascontiguousarray(scaled[..., i]), SIDE / SMALL) for i in range(3)])
    weight = np.where(model.where, model.weight, 0).astype(np.float32)
    return _resized(channels, SMALL / SIDE), _resized(weight[None], SMALL / SIDE)[0]


def _best(frames: np.ndarray, channels: np.ndarray, weight: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The best score at one size, and the shift (x, y) from its pixels to the grid of the search."""
    pad = SMALL // 2
    inside = np.pad(np.ones(frames.shape[1:], np.float32), pad)
    detail = np.pad(np.stack([_band(frame) for frame in frames]), ((0, 0), (pad, pad), (pad, pad)))

    def correlated(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT), float)

    cross = np.stack([[correlated(image, channel * weight) for image in detail] for channel in channels])
    energy = correlated((detail**2).sum(axis=0), weight)
    gram = np.zeros((*inside.shape, 3, 3))
    for i, j in combinations_with_replacement(range(3), 2):
        gram[..., i, j] = gram[..., j, i] = correlated(inside, channels[i] * channels[j] * weight)
    trace = np.trace(gram, axis1=-2, axis2=-1)
    gram += (RIDGE * (trace + trace.max()))[..., None, None] * np.eye(3)
    right = np.moveaxis(cross, (0, 1), (2, 3))
    explained = np.einsum("hwik,hwik->hw", right, np.linalg.solve(gram, right))
    floor = QUIET * float((detail**2).sum()) / frames[0].size * float(weight.sum())
    overlap = correlated(inside, weight) > OVERLAP * weight.sum()
    score = np.where(overlap, explained / (energy + floor + 1e-12), 0)
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return float(score[y, x]), (int(SMALL // 2 + pad - x), int(SMALL // 2 + pad - y))
