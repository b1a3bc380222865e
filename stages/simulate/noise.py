"""Tileable noise pictures, made once a process and looked up where they are needed.

A session does not make noise of its own: it looks at its own part of these pictures, mirrored or turned, which costs
nothing and never repeats within a face.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

SIZE = 1024


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


def look_up(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values (N,) of a tileable picture at texels x, y (N,)."""
    count = len(x)
    rows = max(1, -(-count // 4096))
    grid = np.zeros((2, rows * 4096), np.float32)
    grid[0, :count], grid[1, :count] = x, y
    maps = np.mod(grid, picture.shape[0]).reshape(2, rows, 4096)
    values = cv2.remap(picture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return values.ravel()[:count]
