"""Light of near flashes: its direction and strength at each point of the face, with fall-off by the inverse square."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pipeline.rig import Camera

MIDDLE = 0.02  # of the frame's width: how much of the face around the camera's axis says how far the face is


class Surface:
    """Where the pixels of a face are, in mm from the rig's origin: on a plane until their depth is known.

    The origin is where the camera's axis meets the face, in the middle of the picture or at (cx, cy) of the intrinsics:
    it does not move with the outline of the mask, as flashes do not. A camera with intrinsics and a distance sees
    through a pinhole, one with a pitch in parallel.
    """

    def __init__(self, mask: np.ndarray, camera: Camera) -> None:
        assert camera.scale is not None
        height, width = mask.shape
        self.camera, self.scale, self.width = camera, camera.scale, width
        self.axis = ((width - 1) / 2, (height - 1) / 2) if camera.intrinsics is None else camera.intrinsics[2:]
        across, down = (np.arange(n, dtype=np.float32) - at for n, at in zip((width, height), self.axis, strict=True))
        away = np.where(mask, np.hypot(across, down[:, None]), np.inf)
        self._middle = away <= away.min() + MIDDLE * width
        self.depth = np.zeros(mask.shape, np.float32)  # px towards the camera, 0 at the origin

    def lay(self, depth: np.ndarray) -> None:
        """Take the depth (H, W), px towards the camera from anywhere, as the face's."""
        self.depth = depth - np.median(depth[self._middle])

    def points(self, rows: slice, at: np.ndarray) -> np.ndarray:
        """(n, 3) of the pixels with indices (n,) in some rows; x right, y up, z to the camera."""
        row, column = np.divmod(at, self.width)
        row = row + (rows.start or 0)
        z = self.scale * self.depth[rows].ravel()[at].astype(float)
        if self.camera.intrinsics is None or self.camera.distance is None:
            across = down = self.scale
        else:
            across, down = ((self.camera.distance - z) / focal for focal in self.camera.intrinsics[:2])
        return np.stack([across * (column - self.axis[0]), down * (self.axis[1] - row), z], axis=1)


def near_lights(positions_mm: ArrayLike, strengths: ArrayLike, points_mm: ArrayLike) -> np.ndarray:
    """Light vectors at points: direction times strength times ``(|p| / |p - x|)^2``.

    Parameters
    ----------
    positions_mm : (k, 3) of the flashes, from the rig's origin; x right, y up, z to the camera.
    strengths : (k,) of the light that arrives at the origin, so that ``near_lights(p, s, 0)`` has length s.
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
