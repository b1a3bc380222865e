"""The detector's image pyramid: an image made smaller step by step, each pixel the exact mean of the area under it.

A level is the image times two sparse matrices, one along each axis, which cost a fraction of OpenCV's `INTER_AREA` and
give what that gives. Images are held as planes (W, C, H), so that the first product leaves fewer columns to turn round
for the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from torch import Tensor

from stages.crop.boxes import STRIDE, WINDOW

STEP = 0.709
SMALLEST = WINDOW * 0.6 / STEP**1.5  # shorter side, before it is cut to whole pixels: the package's


def scales(shape: tuple[int, ...], min_face: int) -> Iterator[float]:
    """Of the levels against an image of a shape, falling."""
    scale = WINDOW / min_face
    while min(shape[:2]) * scale >= SMALLEST:
        yield scale
        scale *= STEP


def planes(image: np.ndarray) -> np.ndarray:
    """An image (H, W) or (H, W, C) as (W, C, H) float32, what the networks were trained on: (value - 127.5) / 128."""
    flat = np.ascontiguousarray(image, dtype=None if image.dtype == np.uint8 else np.float32)
    turned = cv2.transpose(flat.reshape(len(image), -1)).astype(np.float32, copy=False)
    turned -= 127.5
    turned *= 1 / 128
    return turned.reshape(image.shape[1], -1, image.shape[0])


def level(images: Sequence[np.ndarray], scale: float) -> np.ndarray:
    """Images (W, C, H) of one shape made smaller, (B, h, w, C); sides are cut to whole pixels."""
    width, channels, height = images[0].shape
    h, w = int(height * scale), int(width * scale)
    across, down = means(width, w), means(height, h)
    small = np.empty((len(images), h, w, channels), dtype=np.float32)
    for image, out in zip(images, small, strict=True):
        narrow = across @ image.reshape(width, channels * height)
        out[...] = (down @ cv2.transpose(narrow.reshape(w * channels, height))).reshape(h, w, channels)
    return small


@lru_cache(maxsize=64)
def means(length: int, count: int) -> csr_matrix:
    """(count, length): of ``length`` pixels in a row the means of ``count`` equal parts."""
    edges = np.arange(count + 1) * length / count
    first = edges[:-1].astype(int)
    share = np.ceil(edges[1:]).astype(int) - first  # pixels that each part touches
    ends = share.cumsum()
    pixel = np.arange(ends[-1]) - np.repeat(ends - share - first, share)
    inside = np.minimum(np.repeat(edges[1:], share), pixel + 1) - np.maximum(np.repeat(edges[:-1], share), pixel)
    weights = (inside * count / length).astype(np.float32)
    return csr_matrix((weights, pixel, np.append(0, ends)), shape=(count, length))


def strips(small: Tensor, pixels: int) -> Iterator[tuple[int, int, Tensor]]:
    """A level (B, C, h, w) in parts of about so many pixels, each with its first image and its first row of windows.

    What the proposal network finds in them is what it finds in the whole: a strip of n rows of windows has the
    n * 2 + 10 rows of pixels that those see, the last all that are left.
    """
    batch, _, height, width = small.shape
    together = max(1, pixels // (height * width))
    count = (height - WINDOW + 1) // STRIDE + 1
    rows = max(1, pixels // (min(batch, together) * width * STRIDE))
    for image in range(0, batch, together):
        for first in range(0, count, rows):
            end = None if first + rows >= count else (first + rows) * STRIDE + WINDOW - STRIDE
            yield image, first, small[image : image + together, :, first * STRIDE : end]
