"""The tone curve of a camera, undone: levels become proportional to light; and drawn again.

`srgb` is the curve of IEC 61966-2-1; a number g is a power law, whose levels are the g-th root of light ("gamma 2.2").
Curves that camera makers draw themselves for their JPEG are neither.
"""

from __future__ import annotations

import numpy as np

from pipeline.params.base import Transfer


def undone(levels: np.ndarray, transfer: Transfer | None) -> np.ndarray:
    """Light of encoded levels of any shape, float, white 1; below black as far as above it. None is linear.

    >>> undone(np.array([0.0, 0.5, 1.0]), "srgb").round(4).tolist(), undone(np.array([0.5]), 2.0).tolist()
    ([0.0, 0.214, 1.0], [0.25])
    """
    if transfer is None or transfer == "linear":
        return levels
    size = np.abs(levels)
    if transfer == "srgb":
        light = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    else:
        light = size**transfer
    return np.copysign(light, levels).astype(levels.dtype)


def redrawn(light: np.ndarray, transfer: Transfer | None) -> np.ndarray:
    """Encoded levels of light (not negative) of any shape, float, white 1: the inverse of `undone`.

    >>> redrawn(np.array([0.0, 0.214, 1.0]), "srgb").round(3).tolist(), redrawn(np.array([0.25]), 2.0).tolist()
    ([0.0, 0.5, 1.0], [0.5])
    """
    if transfer is None or transfer == "linear":
        return light
    if transfer == "srgb":
        levels = np.where(light <= 0.04045 / 12.92, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    else:
        levels = light ** (1 / transfer)
    return levels.astype(light.dtype)
