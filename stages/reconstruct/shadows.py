r"""Cast shadows: which pixels of a depth map a flash reaches.

A pixel is in shadow where the surface, on the way towards the flash, stands above the ray. With t = l_z / |(l_x, l_y)|
the ray rises by t a pixel, so that along a line towards the flash (s px from its beginning, counted away from the
flash) the pixel at s is in shadow where some s' < s has ``z(s') + s' t > z(s) + s t``: a running maximum. The depth is
turned so that the flash is on the left, all lines are done at once, and the result is turned back: the cost grows with
the number of pixels, whatever the length of the shadows.

      flash . .
               ' . .        ray
          __        ' . .
      ___/  \___________ ' * _____     * is just lit
"""

from __future__ import annotations

import cv2
import numpy as np

NEAR = 0.0165  # of the face's `extent`: what is nearer casts no shadow; its slope is the attached shadow's business
SOFT = 0.0165  # of the same, above the ray, from which an occluder's shadow is whole
RELIEF = 1.2  # times the depth of a face: light between its parts flattens the normals of its hollows
FAR = 1e3


def extent(mask: np.ndarray) -> float:
    """px, what lengths on the face are given in parts of, whatever is around it: the geometric mean of the sides of the
    box of its mask (H, W)."""
    return float(np.sqrt(mask.any(axis=0).sum() * mask.any(axis=1).sum()))


def nearest(size: float) -> int:
    """px on the way to a flash from which on a face of an extent casts shadows."""
    return max(1, round(NEAR * size))


def clearance(depth: np.ndarray, light: np.ndarray, *, near: int) -> np.ndarray:
    """How far the surface stands above each pixel's ray to the flash.

    Parameters
    ----------
    depth : (H, W) px towards the camera; what is not surface far below.
    light : (3,) towards the flash, camera frame, z > 0.
    near : px, of the surface on the way that does not count.

    Returns
    -------
    (H, W) float32 px, within +-`FAR`; negative where the ray is free.
    """
    height, width = depth.shape
    x, y, z = (float(value) for value in light)
    flat = float(np.hypot(x, y))
    if flat < 1e-3 * z:
        return np.full(depth.shape, -FAR, np.float32)
    across, down = -x / flat, y / flat  # in the picture, away from the flash
    side = int(np.ceil(np.hypot(height, width))) + 2
    middle = (side - 1) / 2
    turn = np.array([[across, -down, (width - 1) / 2], [down, across, (height - 1) / 2]])
    turn[:, 2] -= turn[:, :2] @ [middle, middle]
    turned = cv2.warpAffine(
        depth.astype(np.float32), turn, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    along = turned + np.arange(side, dtype=np.float32) * np.float32(z / flat)
    above = np.full(along.shape, -FAR, np.float32)
    above[:, near:] = np.maximum.accumulate(along, axis=1)[:, :-near] - along[:, near:]
    above = np.clip(above, -50, FAR)
    back = cv2.warpAffine(above, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.float32)


def visible(depth: np.ndarray, light: np.ndarray, size: float) -> np.ndarray:
    """(H, W) float32 in [0, 1]: 1 where the flash reaches the surface, 0 in cast shadow, soft at its edge; of a face of
    an `extent`."""
    into = np.clip(clearance(depth, light, near=nearest(size)) / np.float32(SOFT * size), 0, 1)
    return (1 - into * into * (3 - 2 * into)).astype(np.float32)


def raised(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A face's depth (H, W) as shadows see it: `RELIEF` times as high, and everything outside the mask far below."""
    high = np.float32(RELIEF) * depth
    return np.where(mask, high, min(high.min(), 0) - np.float32(FAR)).astype(np.float32)
