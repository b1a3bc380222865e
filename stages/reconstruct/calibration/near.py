"""Light of near flashes: its direction and strength at each point of the face, with fall-off by the inverse square."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def near_lights(positions_mm: ArrayLike, strengths: ArrayLike, points_mm: ArrayLike) -> np.ndarray:
    """Light vectors at points: direction times strength times ``(|p| / |p - x|)^2``.

    Parameters
    ----------
    positions_mm : (k, 3) of the flashes, from the middle of the face; x right, y up, z to the camera.
    strengths : (k,) of the light that arrives at the middle of the face, so that ``near_lights(p, s, 0)`` has length s.
    points_mm : (P, 3) on the face, from the same origin.

    Returns
    -------
    (k, 3, P) float32.

    Raises
    ------
    ValueError : shapes that do not fit, or a flash at a point of the face.

    >>> near_lights([[0, 0, 100.0]], [1.0], [[0, 0, 0], [0, 0, 50.0]])[0, 2].tolist()
    [1.0, 4.0]
    """
    positions, points = np.asarray(positions_mm, float), np.asarray(points_mm, float)
    strength = np.asarray(strengths, float)
    if positions.shape != (len(strength), 3) or points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(
            f"expected positions (k, 3), strengths (k,), points (P, 3); got {positions.shape}, {strength.shape}, "
            f"{points.shape}"
        )
    away = positions[:, :, None] - points.T
    squared = np.einsum("kip,kip->kp", away, away)
    if not (squared > 0).all():
        raise ValueError("a flash is at a point of the face")
    level = strength * (positions**2).sum(axis=1)
    return (away * (level[:, None] / (squared * np.sqrt(squared)))[:, None]).astype(np.float32)
