"""Whatever moves pixels moves vectors: the one place that knows how maps change when their pixels are moved.

      y up  (vectors)         A similarity is a (2, 3) matrix [[a, -b, tx], [b, a, ty]] that takes points (x, y) of an
      |                       image, pixel centres at integers, x to the right and y DOWN the rows, to those of another.
      |____ x right
     /                        It moves a map's pixels; it turns (n_x, n_y) in the plane, in which y is UP; and it
    z to the camera           multiplies depth, which is counted in pixels, by its scale.

References
----------
S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991
(doi:10.1109/34.88573), here in its closed form for the plane. The template of five points is ArcFace's (Deng et al.
2019), as published with insightface.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")  # left is the image's left
MIRRORED = (1, 0, 2, 4, 3)  # where each landmark is found after a mirror
Kind = Literal["normal", "albedo", "depth", "frame", "mask"]
KINDS = ("normal", "albedo", "depth", "frame", "mask")

_TEMPLATE_SIZE = 112
_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
_LEAST_WEIGHT = 1e-3  # share of a pixel that must lie inside the mask for it to have a value


def arcface_template(size: int = _TEMPLATE_SIZE) -> np.ndarray:
    """Where the five landmarks lie in an aligned face of ``size`` px, (5, 2) float64.

    A face of another size is the face of 112 px resized, pixel centres at integers: (p + .5) size / 112 - .5.
    """
    return (np.array(_TEMPLATE) + 0.5) * (size / _TEMPLATE_SIZE) - 0.5


def similarity(scale: float = 1.0, degrees: float = 0.0, shift: ArrayLike = (0.0, 0.0)) -> np.ndarray:
    """A similarity that scales, turns clockwise as seen (y is down), then shifts by (x, y) px; (2, 3) float64."""
    a, b = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    tx, ty = np.asarray(shift, dtype=float)
    return np.array([[a, -b, tx], [b, a, ty]])


def resizing(factor: float) -> np.ndarray:
    """The similarity of a resize by ``factor``, which keeps the image's corners, not its pixel centres, in place."""
    return similarity(factor, shift=(0.5 * factor - 0.5,) * 2)


def estimate_similarity(src: ArrayLike, dst: ArrayLike) -> np.ndarray:
    """The similarity that takes points ``src`` nearest to ``dst`` in least squares; never a reflection.

    Parameters
    ----------
    src, dst : (n, 2)
        n >= 2 points (x, y) in pixels.

    Returns
    -------
    (2, 3) float64

    Raises
    ------
    ValueError
        Shapes differ, or all points of ``src`` are one.
    """
    src, dst = np.asarray(src, dtype=float), np.asarray(dst, dtype=float)
    if src.shape != dst.shape or src.ndim != 2 or src.shape[1] != 2:
        raise ValueError(f"src and dst must both be (n, 2), got {src.shape} and {dst.shape}")
    from_mean, to_mean = src.mean(axis=0), dst.mean(axis=0)
    p, q = (src - from_mean) @ (1, 1j), (dst - to_mean) @ (1, 1j)  # as complex numbers q = (a + ib) p
    spread = float(np.vdot(p, p).real)
    if not spread > 0:
        raise ValueError("the points of src are all one: no similarity is determined")
    turn = np.vdot(p, q) / spread
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, to_mean - linear @ from_mean])


def scale_of(matrix: ArrayLike) -> float:
    """By how much a similarity enlarges.

    Raises
    ------
    ValueError
        The matrix is no similarity: it shears, mirrors, or is not (2, 3).
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (2, 3):
        raise ValueError(f"a similarity is a (2, 3) matrix, got {matrix.shape}")
    (a, minus_b), (b, d) = matrix[:, :2]
    scale = math.hypot(a, b)
    if not scale > 0 or abs(a - d) + abs(b + minus_b) > 1e-6 * scale:
        raise ValueError(f"no similarity [[a, -b, tx], [b, a, ty]]: {matrix.tolist()}")
    return scale


def invert(matrix: ArrayLike) -> np.ndarray:
    """The similarity that undoes another."""
    matrix = np.asarray(matrix, dtype=float)
    scale_of(matrix)
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def compose(second: ArrayLike, first: ArrayLike) -> np.ndarray:
    """The similarity that does ``first``, then ``second``."""
    second, first = np.asarray(second, dtype=float), np.asarray(first, dtype=float)
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def move_points(points: ArrayLike, matrix: ArrayLike) -> np.ndarray:
    """Points (..., 2) where a similarity takes them."""
    matrix = np.asarray(matrix, dtype=float)
    return np.asarray(points, dtype=float) @ matrix[:, :2].T + matrix[:, 2]


def turn_normals(normal: np.ndarray, matrix: ArrayLike) -> np.ndarray:
    """Normals (..., 3) turned as a similarity turns the image they belong to; n_z and lengths stay."""
    cosine, sine = np.asarray(matrix, dtype=float)[:, 0] / scale_of(matrix)
    x, y = normal[..., 0], normal[..., 1]
    turned = np.stack([cosine * x + sine * y, cosine * y - sine * x, normal[..., 2]], axis=-1)
    return turned.astype(np.result_type(normal.dtype, np.float32))


def warp_map(
    kind: Kind, array: np.ndarray, matrix: ArrayLike, size: int, *, mask: np.ndarray | None = None
) -> np.ndarray:
    """A map of an image, as a map of the image that a similarity makes of it.

    Parameters
    ----------
    kind : {"normal", "albedo", "depth", "frame", "mask"}
        What the values are: normals turn with the image and are made unit again, depth (in pixels) is multiplied by the
        scale, a mask stays one (a pixel is inside where half of it is).
    array : (H, W) or (H, W, C)
        Normals are (H, W, 3).
    matrix : (2, 3)
        The similarity, from pixels (x, y) of the array to those of the result.
    size : int
        Side of the square result.
    mask : (H, W), optional
        Where the values of normals, albedo and depth mean something. Nothing outside it, nor a value that is not
        finite, bleeds into the result, which is 0 where less than a thousandth of a pixel is known.

    Returns
    -------
    (size, size) or (size, size, C) : float32, bool for a mask

    Notes
    -----
    Bilinear; where the image shrinks, each pixel is the mean of the samples under it (a box of ceil(1 / scale) a side),
    since plain bilinear sampling would fold fine detail into noise.

    Examples
    --------
    >>> warp_map("depth", np.ones((8, 8), np.float32), resizing(2.0), 16)[8, 8].item()
    2.0
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of map `{kind}`; valid: {', '.join(KINDS)}")
    if kind == "normal" and (array.ndim != 3 or array.shape[2] != 3):
        raise ValueError(f"normals are (H, W, 3), got {array.shape}")
    if kind == "mask":
        return _resample(np.asarray(array > 0, dtype=np.float32), matrix, size) >= 0.5
    values = np.asarray(array, dtype=np.float32)
    if kind == "frame":
        return _resample(values, matrix, size)
    moved = _spread(kind, values, _known(values, mask), matrix, size)
    return moved * np.float32(scale_of(matrix)) if kind == "depth" else moved


def _known(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """(H, W) bool: finite, and inside the mask."""
    known = np.asarray(np.isfinite(values) if values.ndim == 2 else np.isfinite(values).all(axis=-1), dtype=bool)
    if mask is None:
        return known
    if mask.shape != known.shape:
        raise ValueError(f"the mask is {mask.shape}, the map {values.shape}")
    return known & (mask > 0)


def _spread(kind: Kind, values: np.ndarray, known: np.ndarray, matrix: ArrayLike, size: int) -> np.ndarray:
    """Values resampled from where they are known; normals turned and made unit, 0 where next to nothing is known."""
    inside = known if values.ndim == 2 else known[..., None]
    moved = _resample(np.where(inside, values, 0).astype(np.float32), matrix, size)
    weight = _resample(known.astype(np.float32), matrix, size)
    weight = weight if values.ndim == 2 else weight[..., None]
    if kind == "normal":
        moved = turn_normals(moved, matrix)
        weight = np.where(weight > _LEAST_WEIGHT, np.linalg.norm(moved, axis=-1, keepdims=True), 0)
    return np.divide(moved, weight, out=np.zeros_like(moved), where=weight > _LEAST_WEIGHT)


def _resample(values: np.ndarray, matrix: ArrayLike, size: int) -> np.ndarray:
    """(H, W[, C]) float32 sampled on the (size, size) grid of a similarity's image; 0 outside the array."""
    fold = max(1, math.ceil(1 / scale_of(matrix) - 1e-6))
    finer = compose(resizing(fold), matrix)
    planes = values[..., None] if values.ndim == 2 else values
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inverse, side = invert(finer), (size * fold, size * fold)
    warped = [
        cv2.warpAffine(np.ascontiguousarray(planes[..., c]), inverse, side, flags=flags) for c in range(planes.shape[2])
    ]
    if fold > 1:
        warped = [w.reshape(size, fold, size, fold).mean(axis=(1, 3), dtype=np.float32) for w in warped]
    return warped[0] if values.ndim == 2 else np.stack(warped, axis=-1)


def mirror_map(kind: Kind, array: np.ndarray) -> np.ndarray:
    """A map (H, W[, C]) of the mirrored image: left and right change places and n_x its sign."""
    if kind not in KINDS:
        raise ValueError(f"no kind of map `{kind}`; valid: {', '.join(KINDS)}")
    flipped = array[:, ::-1]
    return flipped * np.array([-1, 1, 1], dtype=array.dtype) if kind == "normal" else flipped.copy()


def mirror_landmarks(landmarks: ArrayLike, width: int) -> np.ndarray:
    """Landmarks (5, 2) in the mirrored image of ``width`` px; left and right change names."""
    points = np.asarray(landmarks, dtype=float)[list(MIRRORED)]
    return np.column_stack([width - 1 - points[:, 0], points[:, 1]])
