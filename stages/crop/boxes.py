"""Boxes of the detector's cascade: (n, 6) float64 rows of image, x1, y1, x2, y2, confidence.

The arithmetic is the `mtcnn` package's, habits included: offsets count a box's sides as x2 - x1 + 1, and suppression
drops a box for any overlapping one of higher confidence, even one that was itself dropped.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

COLUMNS = 6
STRIDE, WINDOW = 2, 12  # of the proposal network, in pixels of the resized image


def proposals(scores: np.ndarray, offsets: np.ndarray, threshold: float, scale: float, limit: int) -> np.ndarray:
    """Boxes of one pyramid level.

    Parameters
    ----------
    scores : (B, h, w)
        A face's probability of each window.
    offsets : (B, 4, h, w)
        x1, y1, x2, y2 of the box against its window, in window sides.
    scale : float
        Of the level against the image.
    limit : int
        The most boxes an image keeps, those of the highest confidence.
    """
    image, row, column = np.nonzero(scores > threshold)
    score = scores[image, row, column].astype(float)
    x, y = column * STRIDE + 1.0, row * STRIDE + 1.0
    side = WINDOW - 1.0
    dx1, dy1, dx2, dy2 = offsets[image, :, row, column].astype(float).T
    far_x, far_y = x + side, y + side
    corners = np.stack([x + dx1 * side, y + dy1 * side, far_x + dx2 * side, far_y + dy2 * side], axis=1) / scale
    return most_confident(np.column_stack([image, corners, score]), limit)


def most_confident(boxes: np.ndarray, limit: int) -> np.ndarray:
    """The boxes sorted by image, then by falling confidence, at most ``limit`` an image."""
    boxes = boxes[np.lexsort((-boxes[:, 5], boxes[:, 0]))]
    _, first, inverse = np.unique(boxes[:, 0], return_index=True, return_inverse=True)
    return boxes[np.arange(len(boxes)) - first[inverse] < limit] if len(boxes) else boxes


def overlap(corners: np.ndarray, over: Literal["union", "smaller"]) -> np.ndarray:
    """Intersections of boxes (n, 4) over their union, or over the smaller of the two areas; (n, n)."""
    x1, y1, x2, y2 = corners.T
    area = (x2 - x1) * (y2 - y1)
    width = np.minimum.outer(x2, x2) - np.maximum.outer(x1, x1)
    height = np.minimum.outer(y2, y2) - np.maximum.outer(y1, y1)
    common = np.clip(width, 0, None) * np.clip(height, 0, None)
    base = np.add.outer(area, area) - common if over == "union" else np.minimum.outer(area, area)
    return np.divide(common, base, out=np.zeros_like(common), where=base > 0)


def suppress(boxes: np.ndarray, threshold: float, over: Literal["union", "smaller"] = "union") -> np.ndarray:
    """Drop each box that overlaps one of its image that is more confident; sorted as by `most_confident`.

    Further columns travel with their rows.
    """
    boxes = most_confident(boxes, len(boxes))
    kept = [boxes[:0]]
    for image in np.unique(boxes[:, 0]):
        own = boxes[boxes[:, 0] == image]
        covered = np.triu(overlap(own[:, 1:5], over) > threshold, k=1).any(axis=0)
        kept.append(own[~covered])
    return np.concatenate(kept)


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
