"""Light of near flashes: its direction and strength at each point of the face, with fall-off by the inverse square."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pipeline.rig import Camera


class Surface:
    """Where the pixels of a face are, in mm from its middle: on a plane until its depth is known.

    The middle is that of the mask (H, W), at the mean of the depth. A camera with intrinsics and a distance sees
    through a pinhole, one with a pitch in parallel.
    """

    def __init__(self, mask: np.ndarray, camera: Camera) -> None:
        assert camera.scale is not None
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        counts = mask.sum(axis=1)[rows], mask.sum(axis=0)[columns]
        self.middle = tuple(float(np.average(at, weights=n)) for at, n in zip((rows, columns), counts, strict=True))
        self.camera, self.scale, self.width = camera, camera.scale, mask.shape[1]
        self.depth = np.zeros(mask.shape, np.float32)  # px towards the camera

    def points(self, rows: slice, at: np.ndarray) -> np.ndarray:
        """(n, 3) of the pixels with indices (n,) in some rows; x right, y up, z to the camera."""
        row, column = np.divmod(at, self.width)
        row = row + (rows.start or 0)
        z = self.scale * self.depth[rows].ravel()[at].astype(float)
        if self.camera.intrinsics is None or self.camera.distance is None:
            return np.stack([self.scale * (column - self.middle[1]), self.scale * (self.middle[0] - row), z], axis=1)
        (fx, fy, cx, cy), distance = self.camera.intrinsics, self.camera.distance
        away = distance - z
        x = (column - cx) / fx * away - (self.middle[1] - cx) / fx * distance
        y = (self.middle[0] - cy) / fy * distance - (row - cy) / fy * away
        return np.stack([x, y, z], axis=1)


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
