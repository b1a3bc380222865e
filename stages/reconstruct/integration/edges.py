"""What normals ask of neighbouring pixels: the rise of the surface from one to the next.

    row r    i --- j          depth z: towards the camera (pixels)
             |                z[j] - z[i] = -(nx_i + nx_j) / (nz_i + nz_j)
    row r+1  k                z[k] - z[i] = +(ny_i + ny_k) / (nz_i + nz_k)     since y runs up and rows run down

`edges_of` takes the chord, at right angles to the sum of the two normals: exact on planes and spheres. `slopes_of`
takes the mean of the two slopes instead. Both agree where the surface is smooth; at an occluding contour, where one of
the normals is at right angles to the view, the mean grows to the jump that the contour hides and the chord does not.

Through a pinhole, a pixel (u, v) sees along r = ((u - cx) / fx, -(v - cy) / fy, -1) and a point is D r. A normal n is
at right angles to the surface, so that log D has the slopes of an orthographic map whose n_z is -n.r:

    -d(log D) / du = -n_x / (fx m)     -d(log D) / dv = +n_y / (fy m)     m = -n.r

Reference: Y. Queau, J.-D. Durou and J.-F. Aujol, Normal integration: a survey, J. Math. Imaging Vis. 60, 2018,
doi:10.1007/s10851-017-0773-x (perspective integration through the logarithm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Edges:
    """Neighbouring pixels of a mask: from and to (E,) as indices into the mask's pixels, rise (E,) in pixels."""

    start: np.ndarray
    end: np.ndarray
    rise: np.ndarray


def edges_of(normal: np.ndarray, mask: np.ndarray, *, floor: float) -> Edges:
    """The edges inside a mask (H, W) and the rise along each that normals (H, W, 3) ask for; n_z at least floor."""
    nx, ny, nz = normal[..., 0], normal[..., 1], np.maximum(normal[..., 2], floor)
    across, down = mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1]
    right = -((nx[:, 1:] + nx[:, :-1])[across] / (nz[:, 1:] + nz[:, :-1])[across])
    below = (ny[1:] + ny[:-1])[down] / (nz[1:] + nz[:-1])[down]
    return _edges(mask, right, below)


def slopes_of(normal: np.ndarray, mask: np.ndarray, *, floor: float, intrinsics: np.ndarray | None = None) -> Edges:
    """The same edges with the mean of both slopes as rise; in perspective where intrinsics (3, 3) are given.

    The rise is then that of ``-log D`` times :func:`focal`, which is pixels at the distance of the surface.
    """
    nx, ny, nz = normal[..., 0], normal[..., 1], normal[..., 2]
    if intrinsics is not None:
        nz = towards_ray(normal, intrinsics)
        fx, fy = np.diag(intrinsics)[:2].astype(np.float32)
        mean = np.float32(focal(intrinsics))
        nx, ny = nx * (mean / fx), ny * (mean / fy)
    facing = np.maximum(nz, np.float32(floor))
    across, down = mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1]
    slope = -nx / facing
    right = (0.5 * (slope[:, 1:] + slope[:, :-1]))[across]
    slope = ny / facing
    return _edges(mask, right, (0.5 * (slope[1:] + slope[:-1]))[down])


def towards_ray(normal: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """(H, W) normals times the vector (of z = 1) from the surface back along each pixel's ray: positive where seen."""
    (fx, _, cx), (_, fy, cy) = intrinsics[:2].astype(np.float32)
    down, right = np.ogrid[: normal.shape[0], : normal.shape[1]]
    across, up = ((right - cx) / fx).astype(np.float32), ((down - cy) / fy).astype(np.float32)
    return np.asarray(normal[..., 2] - normal[..., 0] * across + normal[..., 1] * up)


def focal(intrinsics: np.ndarray) -> float:
    """The mean of both focal lengths, in pixels."""
    return float(intrinsics[0, 0] + intrinsics[1, 1]) / 2


def _edges(mask: np.ndarray, right: np.ndarray, below: np.ndarray) -> Edges:
    """Edges to the right, row by row, then those down."""
    index = np.full(mask.shape, -1, np.int32)
    index[mask] = np.arange(np.count_nonzero(mask), dtype=np.int32)
    across, down = mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1]
    return Edges(
        np.concatenate([index[:, :-1][across], index[:-1][down]]),
        np.concatenate([index[:, 1:][across], index[1:][down]]),
        np.concatenate([right, below]).astype(np.float64),
    )
