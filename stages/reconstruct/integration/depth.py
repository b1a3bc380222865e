"""Depth of a normal map: checks, the edges and solver of a method, and the unit of what comes out.

The squared (or robust) misfits of all edges inside the mask are summed and minimised; nothing outside is needed, and
holes and several parts are no special case. Smooth is the default: on faces, discontinuity-preserving integration tears
at nostrils and eyes.

Reference: B. K. P. Horn and M. J. Brooks, The variational approach to shape from shading, CVGIP 33(2), 1986,
doi:10.1016/0734-189X(86)90114-3.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from stages.reconstruct.integration.edges import Edges, edges_of, focal, slopes_of, towards_ray
from stages.reconstruct.integration.solving import least_squares, robust

METHODS = {"smooth": least_squares, "bilateral": robust}
FLOOR = 0.05  # of n_z for smooth orthographic depth, whose edges are chords
STEEP = 0.01  # of n_z where edges are mean slopes: an occluding contour may stand for a jump of 50 pixels

SHORTEST, FARTHEST = 1e-3, 1e7  # px: far beyond any camera, and well inside float32
AWAY = 0.4  # of the normals may point away from their rays; no camera sees such a surface


def integrate(
    normal: np.ndarray,
    mask: np.ndarray,
    *,
    method: str = "smooth",
    floor: float | None = None,
    intrinsics: np.ndarray | None = None,
    pitch: float = 1.0,
    distance: float | None = None,
) -> np.ndarray:
    """Depth of a normal map.

    Parameters
    ----------
    normal : (H, W, 3) unit, camera frame (x right, y up, z to the camera); values outside the mask do not matter.
    mask : (H, W) bool.
    method : `smooth`, masked least squares; or `bilateral`, which lets a surface break where one part hides another.
    floor : least n_z (perspective: least cosine towards the pixel's ray): bounds the slope at silhouettes to about
        1 / floor. FLOOR for smooth orthographic depth, else STEEP, where none is given.
    intrinsics : (3, 3) camera matrix in pixels without skew, columns right and rows down; orthographic without it.
    pitch : orthographic only: width of a pixel on the surface, in mm or what depth is wanted in.
    distance : perspective only: mean (geometric) distance of each part along the optical axis, in mm or what depth is
        wanted in; the focal length where none is given, which gives pixels at that distance.

    Returns
    -------
    (H, W) float32 towards the camera, zero outside the mask: in pixels, in units of pitch or in those of distance. Each
    4-connected part of the mask has zero mean, since nothing ties the height of one part to another's; in perspective
    the logarithm of the distance has, and ``distance - depth`` is the distance along the axis.

    Raises
    ------
    ValueError : shapes that do not fit, normals inside the mask that are not finite, an unknown method, a camera matrix
        that is none or cannot see the surface, a mask that is not bool, a scale that is not positive or belongs to the
        other projection.
    """
    _check(normal, mask, method)
    _check_scale(intrinsics, pitch, distance)
    if intrinsics is not None and mask.any() and (towards_ray(normal, intrinsics)[mask] <= 0).mean() > AWAY:
        raise ValueError("normals point away from the camera: the principal point is far from where it can be")
    depth = np.zeros(mask.shape, np.float32)
    if mask.any():
        heights = METHODS[method](mask, partial(_asked, normal, mask, method, floor, intrinsics))
        depth[mask] = _in_units(_centred(heights, mask), intrinsics, pitch, distance)
    return depth


def _centred(heights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Heights (P,) of the mask's pixels, each part's about its mean."""
    part = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1][mask]
    heights -= (np.bincount(part, heights) / np.maximum(np.bincount(part), 1))[part]
    return heights


def _in_units(heights: np.ndarray, intrinsics: np.ndarray | None, pitch: float, distance: float | None) -> np.ndarray:
    """Heights in pixels, or logarithms of distances times the focal length, as depth in what is asked for."""
    if intrinsics is None:
        return heights if pitch == 1 else heights * pitch
    unit = focal(intrinsics)
    return np.asarray(-(unit if distance is None else distance) * np.expm1(-heights / unit))


def _asked(
    normal: np.ndarray, mask: np.ndarray, method: str, floor: float | None, intrinsics: np.ndarray | None
) -> Edges:
    if method == "smooth" and intrinsics is None:
        return edges_of(normal, mask, floor=FLOOR if floor is None else floor)
    return slopes_of(normal, mask, floor=STEEP if floor is None else floor, intrinsics=intrinsics)


def _check(normal: np.ndarray, mask: np.ndarray, method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"no method `{method}`; known: {', '.join(METHODS)}")
    if mask.dtype != bool:
        raise ValueError(f"the mask is of {mask.dtype}; expected bool")
    if normal.shape != (*mask.shape, 3):
        raise ValueError(f"expected normals {(*mask.shape, 3)} for the mask {mask.shape}, got {normal.shape}")
    if not (np.isfinite(normal).all() or np.isfinite(normal[mask]).all()):  # the first alone is fast
        raise ValueError("normals inside the mask are not finite")


def _check_scale(intrinsics: np.ndarray | None, pitch: float, distance: float | None) -> None:
    if intrinsics is None:
        if distance is not None:
            raise ValueError(
                "a distance sets the scale only where intrinsics are given; orthographic depth takes a pitch"
            )
    else:
        if intrinsics.shape != (3, 3) or not np.isfinite(intrinsics).all() or min(np.diag(intrinsics)[:2]) <= 0:
            raise ValueError("intrinsics are not a finite (3, 3) camera matrix with positive focal lengths")
        if intrinsics[0, 1] or not np.array_equal(intrinsics[1:, 0], (0, 0)) or tuple(intrinsics[2]) != (0, 0, 1):
            raise ValueError("intrinsics are not of the form [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
        if min(np.diag(intrinsics)[:2]) < SHORTEST or np.abs(intrinsics).max() > FARTHEST:
            raise ValueError(
                f"intrinsics are in pixels: focal lengths of {SHORTEST:g} to {FARTHEST:g}, as far a center"
            )
        if pitch != 1:
            raise ValueError("a pitch is for orthographic depth; with intrinsics the distance sets the scale")
    if not all(np.isfinite(scale) and scale > 0 for scale in (pitch, 1.0 if distance is None else distance)):
        raise ValueError("a pitch or distance is not a positive number")
