"""Tileable noise pictures, made once a process and looked up where they are needed.

A session does not make noise of its own: it looks at its own part of these pictures, mirrored or turned, which costs
nothing and never repeats within a face.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

SIZE = 1024
ROW = 4096  # places in a row: OpenCV's pictures have fewer than 32,768 columns


@lru_cache(maxsize=16)
def band(wavelength: float, width: float = 0.45) -> np.ndarray:
    """(SIZE, SIZE) float32 noise of unit variance around one wavelength in texels, tileable."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None])
    with np.errstate(divide="ignore"):
        gain = np.exp(-0.5 * (np.log(frequency * wavelength) / width) ** 2)
    gain[0, 0] = 0
    return _noise(gain / np.maximum(frequency, 1e-6) ** 0.5, seed=int(wavelength * 100))


@lru_cache(maxsize=4)
def strands(thickness: float = 1.6, length: float = 40.0) -> np.ndarray:
    """(SIZE, SIZE) float32 noise of unit variance, drawn out along the rows' direction (vertically): hair."""
    fy, fx = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]
    gain = np.exp(-((fy * length) ** 2) - (fx * thickness) ** 2) * (np.abs(fx) * 60 / (1 + np.abs(fx) * 60))
    return _noise(gain, seed=17)


def _noise(gain: np.ndarray, seed: int) -> np.ndarray:
    white = np.fft.rfft2(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))
    picture = np.fft.irfft2(white * gain, s=(SIZE, SIZE))
    return (picture / picture.std()).astype(np.float32)


class Texels:
    """Places x, y (N,) in texels, at which any tileable picture of `SIZE` is looked up."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.count = len(x)
        rows = max(1, -(-self.count // ROW))
        grid = np.zeros((2, rows * ROW), np.float32)
        grid[0, : self.count], grid[1, : self.count] = x, y
        grid -= np.floor(grid / SIZE) * SIZE  # as by `numpy.mod`, many times as fast
        self.x, self.y = grid.reshape(2, rows, ROW)

    def of(self, picture: np.ndarray) -> np.ndarray:
        """Bilinear values (N,) of a picture (SIZE, SIZE)."""
        values = cv2.remap(picture, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(values).ravel()[: self.count]
