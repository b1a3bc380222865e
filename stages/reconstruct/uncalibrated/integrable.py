"""What the frames alone tell of the lights: the normals belong to a surface.

With scaled normals s = M b of pseudo-normals b, the slopes -s_x/s_z and -s_y/s_z have no curl:

    s_z d(s_x)/dy - s_x d(s_z)/dy = s_z d(s_y)/dx - s_y d(s_z)/dx

That holds for a three-parameter family of M, the generalised bas-relief transformations (Belhumeur, Kriegman, Yuille
1999, doi:10.1023/A:1008154927611), and for no other (Yuille, Snow 1997, doi:10.1109/CVPR.1997.609461). So M is moved
by the five parameters that leave that family, and a scale: a shear and a turn in the image plane, a projective tilt.
Moving all nine would flatten the surface, whose curl is then small.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

CURL = 0.03  # of unit normals, a pixel of the model's grid: what noise and shadow leave
ALIKE = 1.0  # neighbouring equations that say the same


def integrable(pseudo: np.ndarray, whole: np.ndarray, mixing: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """The mixing near the given one whose normals best belong to a surface.

    Parameters
    ----------
    pseudo : (H, W, 3), pseudo-normals b. whole : (H, W) bool, where they can be trusted.
    mixing : (3, 3), X; scaled normals in the camera frame are ``X^-1 b``.
    precision : (9, 9) of what else is known of ``mixing``, row by row.
    """
    value, slopes = differences(pseudo, whole)
    if len(value) < 30:
        return mixing
    inverse = np.linalg.inv(mixing)
    strength, axes = np.linalg.eigh(precision)
    root = (axes * np.sqrt(np.maximum(strength, 0))).T

    def moved(five: np.ndarray) -> np.ndarray:
        return np.linalg.inv(leaving(five) @ inverse)

    def left(five: np.ndarray) -> np.ndarray:
        now = moved(five)
        error = curl(value, slopes, now) / CURL
        robust = error / np.sqrt((1 + error**2) * ALIKE)
        return np.concatenate([robust, root @ (now - mixing).ravel()])

    return moved(least_squares(left, np.zeros(5)).x)


def leaving(five: np.ndarray) -> np.ndarray:
    """(3, 3) of the five parameters that leave the bas-relief family."""
    stretch, shear, turn, across, up = five
    return np.array([[1 + stretch, shear + turn, 0], [shear - turn, 1 - stretch, 0], [across, up, 1]])


def differences(pseudo: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Pseudo-normals (Q, 3) where all four neighbours are whole, and their central differences along x and y (up)."""
    inner = whole[1:-1, 1:-1] & whole[1:-1, 2:] & whole[1:-1, :-2] & whole[2:, 1:-1] & whole[:-2, 1:-1]
    along_x = (pseudo[1:-1, 2:] - pseudo[1:-1, :-2])[inner] / 2
    along_y = (pseudo[:-2, 1:-1] - pseudo[2:, 1:-1])[inner] / 2
    return pseudo[1:-1, 1:-1][inner], (along_x, along_y)


def curl(value: np.ndarray, slopes: tuple[np.ndarray, np.ndarray], mixing: np.ndarray) -> np.ndarray:
    """(Q,) the curl of the slopes of ``X^-1 b`` times n_z^2, of :func:`differences`."""
    inverse = np.linalg.inv(mixing).T
    s, dx, dy = value @ inverse, slopes[0] @ inverse, slopes[1] @ inverse
    turning = dy[:, 0] * s[:, 2] - s[:, 0] * dy[:, 2] - dx[:, 1] * s[:, 2] + s[:, 1] * dx[:, 2]
    return np.asarray(turning / ((s**2).sum(axis=1) + 1e-12))
