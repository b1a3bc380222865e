"""Is it a face or a picture of one? A planarity score for photographs and screens held before the rig.

A print or a display is flat, or bent about one axis, whatever it shows: photometric stereo sees the sheet. Three
numbers of a disc tell it from a face:

    unevenness   the first quartile, over the disc, of how far the slopes lie from those of the best quadric (any plane,
                 and to second order any rolled sheet): a highlight, a border or an edge of the print spoils a part of a
                 sheet, and a face leaves its quadric nearly everywhere
    curvature    the larger principal curvature of that quadric, times the unit of length, towards the camera: a head
                 bulges, a flat sheet with a broad highlight does not, a bent one does
    nose         the range of the depth between two scales in the middle of the disc: brow, nose and lips stand out

The unit of length is the radius of the largest disc inside the mask. A sheet may hide a part of what is there, so
discs about several places are looked at, and the flattest counts. A logistic function of the three, fitted on simulated
subjects (``python benchmarks/flat_attack.py --fit``), is the score; `FLAT_ABOVE` is the threshold of other simulated
subjects. Masks in three dimensions have a face's relief: this score says nothing about them.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.maps import Maps

UNIT = 48  # px to which the unit of length is scaled, so that the numbers do not depend on the picture's size
WINDOW = 1.6  # units, half the side of what is looked at
PLACES = ((0.0, 0.0), (-0.35, -0.15), (0.35, -0.15), (0.0, -0.4))  # units right and up of the largest disc's middle
REACH = 0.7  # units, radius of the discs
SMOOTH = 0.05  # units: normals are averaged, weighted by albedo, which removes noise
BAND = (0.08, 0.25)  # units: Gaussians between which nose, brow and lips lie
CENTRE = 0.45  # units: where they lie
STEEPEST = 0.15  # least n_z
SPARSE = 3  # every third pixel is enough for the fit
LEAST = 50  # points of the fit

WEIGHTS = np.array([-1.88, -3.59, -1.86])  # of unevenness (log), curvature, nose (log)
OFFSET = -7.25
FLAT_ABOVE = 0.17


def flatness(maps: Maps) -> float:
    """How likely maps are those of a flat picture: 0 a face, 1 a sheet; above `FLAT_ABOVE` it is called flat.

    Parameters
    ----------
    maps : of a session; the face is taken to be where the largest disc fits the mask.

    Returns
    -------
    float in [0, 1]; NaN where the mask is too small or too dark to tell.
    """
    return score(shapes_of(maps))


def score(shapes: np.ndarray) -> float:
    """The score of the numbers (P, 3) of `shapes_of`: that of the flattest place; NaN without any."""
    if not len(shapes):
        return float("nan")
    return float(1 / (1 + np.exp(-(shapes @ WEIGHTS + OFFSET).max())))


def shapes_of(maps: Maps) -> np.ndarray:
    """(P, 3) logarithm of the unevenness (a slope), curvature, logarithm of the nose (units), at `PLACES`.

    Places with too little to see are left out.
    """
    row, column, unit = largest_disc(maps.mask)
    if unit < 4:
        return np.zeros((0, 3))
    scaled = maps.normal * np.where(maps.mask, maps.albedo, 0)[..., None]
    scaled, depth, inside = (
        _window(layer.astype(np.float32), round(row), round(column), round(WINDOW * unit))
        for layer in (scaled, maps.depth / unit, maps.mask)
    )
    mask = inside > 0.5
    scaled = cv2.GaussianBlur(scaled, (0, 0), SMOOTH * UNIT)
    depth = np.where(mask, depth, np.median(depth[mask]))
    fine, coarse = (cv2.GaussianBlur(depth, (0, 0), scale * UNIT) for scale in BAND)
    at = np.zeros_like(mask)
    at[::SPARSE, ::SPARSE] = (mask & (scaled[..., 2] > 1e-5))[::SPARSE, ::SPARSE]
    across = (np.arange(len(mask)) + 0.5 - len(mask) / 2) / UNIT
    found = []
    for right, up in PLACES:
        x, y = np.meshgrid(across - right, -across - up)
        distance = np.hypot(x, y)
        near, middle = at & (distance < REACH), mask & (distance < CENTRE)
        if near.sum() < LEAST or not middle.any():
            continue
        uneven, curvature = _off_quadric(x[near], y[near], scaled[near])
        low, high = np.quantile((fine - coarse)[middle], [0.1, 0.9])
        found.append((np.log(np.quantile(uneven, 0.25) + 1e-3), curvature, np.log(high - low + 1e-4)))
    return np.array(found).reshape(-1, 3)


def largest_disc(mask: np.ndarray) -> tuple[float, float, float]:
    """Row, column and radius in px of the largest disc inside a mask (H, W); the picture's border is its border too."""
    inside = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    radius = float(inside.max())
    rows, columns = np.nonzero(inside >= 0.97 * radius)
    return float(rows.mean()), float(columns.mean()), radius


def _window(values: np.ndarray, row: int, column: int, reach: int) -> np.ndarray:
    """(S, S, C): the square from ``reach`` before a place to ``reach`` after it, scaled; zero beyond the picture."""
    (top, below), (left, right) = (
        (max(reach - at, 0), max(at + reach + 1 - length, 0))
        for at, length in zip((row, column), values.shape[:2], strict=True)
    )
    inside = values[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
    square = np.asarray(cv2.copyMakeBorder(inside, top, below, left, right, cv2.BORDER_CONSTANT))
    side = 2 * round(WINDOW * UNIT)
    how = cv2.INTER_AREA if len(square) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side, side), interpolation=how))


def _off_quadric(x: np.ndarray, y: np.ndarray, scaled: np.ndarray) -> tuple[np.ndarray, float]:
    """Distances (N,) of the slopes from those of the best quadric, and its larger curvature towards the camera.

    The slopes of z = a x + b y + (c x^2 + 2 d x y + e y^2) / 2 are linear in x and y; the fit is Cauchy's, by
    reweighting, so that a highlight or a border does not bend it.
    """
    slopes = -scaled[:, :2] / np.maximum(scaled[:, 2:], STEEPEST * np.linalg.norm(scaled, axis=1, keepdims=True))
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.stack([np.stack([one, zero, x, y, zero], 1), np.stack([zero, one, zero, x, y], 1)])  # (2, N, 5)
    weights = one
    for _ in range(8):
        root = np.sqrt(weights)
        found = np.linalg.lstsq((rows * root[:, None]).reshape(-1, 5), (slopes.T * root).ravel(), rcond=None)[0]
        distance = np.hypot(*(slopes.T - rows @ found))
        weights = 1 / (1 + (distance / (2 * max(float(np.median(distance)), 1e-4))) ** 2)
    bends = np.linalg.eigvalsh([[found[2], found[3]], [found[3], found[4]]])
    return distance, float(-bends[0])
