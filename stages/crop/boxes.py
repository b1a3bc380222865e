"""Boxes of the detector's cascade: (n, 6) float64 rows of image, x1, y1, x2, y2, confidence.

The arithmetic is the `mtcnn` package's, habits included: offsets count a box's sides as x2 - x1 + 1, and suppression
drops a box for any overlapping one of higher confidence, even one that was itself dropped.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np

COLUMNS = 6
BLOCK = 256  # boxes that are held against all others at once
STRIDE, WINDOW = 2, 12  # of the proposal network, in pixels of the resized image


def proposals(
    image: np.ndarray, row: np.ndarray, column: np.ndarray, offsets: np.ndarray, scores: np.ndarray, scale: float
) -> np.ndarray:
    """Boxes of n windows of a pyramid level.

    Parameters
    ----------
    image, row, column : (n,) int
        Which window.
    offsets : (n, 4)
        x1, y1, x2, y2 of the box against its window, in window sides.
    scores : (n,)
        A face's probability.
    scale : float
        Of the level against the image.
    """
    x, y, side = column * STRIDE + 1.0, row * STRIDE + 1.0, WINDOW - 1.0
    windows = np.stack([x, y, x + side, y + side], axis=1)
    return np.column_stack([image, (windows + offsets * side) / scale, scores])


def most_confident(boxes: np.ndarray, limit: int) -> np.ndarray:
    """The boxes sorted by image, then by falling confidence, at most ``limit`` an image."""
    boxes = boxes[np.lexsort((-boxes[:, 5], boxes[:, 0]))]
    rank = np.arange(len(boxes)) - np.searchsorted(boxes[:, 0], boxes[:, 0])
    return boxes[rank < limit]


def overlap(some: np.ndarray, others: np.ndarray, over: Literal["union", "smaller"]) -> tuple[np.ndarray, np.ndarray]:
    """Of boxes (n, 4) and (m, 4) the intersections, and their union or the smaller of the two areas; (n, m) each."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = some.T[:, :, None], others.T
    area, their_area = (x2 - x1) * (y2 - y1), (u2 - u1) * (v2 - v1)
    width, height = np.minimum(x2, u2) - np.maximum(x1, u1), np.minimum(y2, v2) - np.maximum(y1, v1)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    return common, area + their_area - common if over == "union" else np.minimum(area, their_area)


def suppress(boxes: np.ndarray, threshold: float, over: Literal["union", "smaller"] = "union") -> np.ndarray:
    """Drop each box that overlaps one of its image that is more confident; sorted as by `most_confident`.

    Further columns travel with their rows.
    """
    boxes = most_confident(boxes, len(boxes))
    covered = np.zeros(len(boxes), dtype=bool)
    bounds = np.flatnonzero(np.diff(boxes[:, 0], prepend=-1, append=np.inf))  # where each image's boxes begin
    for first, end in pairwise(bounds):
        sides = boxes[first:end, 1:5]
        for start in range(0, len(sides) - 1, BLOCK):  # each block against what is less confident
            common, area = overlap(sides[start : start + BLOCK], sides[start:], over)
            later = np.triu(common > threshold * area, k=1)
            covered[first + start : end] |= later.any(axis=0)
    return boxes[~covered]


def squared(boxes: np.ndarray) -> np.ndarray:
    """Boxes grown to squares about their centres."""
    centre = (boxes[:, 1:3] + boxes[:, 3:5]) / 2
    half = (boxes[:, 3:5] - boxes[:, 1:3]).max(axis=1, keepdims=True) / 2
    return np.hstack([boxes[:, :1], centre - half, centre + half, boxes[:, 5:]])


def refined(boxes: np.ndarray, offsets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Boxes moved by a network's offsets (n, 4), in box sides, and given its confidences (n,)."""
    sides = np.tile(boxes[:, 3:5] - boxes[:, 1:3] + 1, 2)
    return np.column_stack([boxes[:, 0], boxes[:, 1:5] + offsets * sides, scores])


def landmarks_in(boxes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Landmarks (n, 10: x1..x5, y1..y5) in pixels, from shares of the boxes that the output network was given."""
    width, height = (boxes[:, 3:5] - boxes[:, 1:3] + 1).T[:, :, None]
    return np.hstack([shares[:, :5] * width + boxes[:, 1:2] - 1, shares[:, 5:] * height + boxes[:, 2:3] - 1])
