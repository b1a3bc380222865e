"""Defects of single frames: the comb of interlaced fields taken at two times, and blur.

References
----------
S. Zhuo and T. Sim, "Defocus map estimation from a single image", Pattern Recognition 44(9), 2011,
doi:10.1016/j.patcog.2011.03.009 (two scales of gradients at an edge give its blur).
"""

from __future__ import annotations

import cv2
import numpy as np

SMOOTH = 1.5  # px over which an alternation must keep its sign to count
SCALES = (1.0, 2.0)  # px, standard deviations of the Gaussians whose gradients are compared
EDGES = 0.01  # of all pixels, the steepest: where blur is measured
SHARPEST, SOFTEST = 0.0, 20.0  # px, what a blur can come out as


def comb(frame: np.ndarray) -> float:
    """Energy of what alternates from row to row, over that of what alternates from column to column.

    A head that moves between the two fields of an interlaced frame leaves every edge twice, in odd and in even rows.

    Parameters
    ----------
    frame : (H, W) of any range, at least 8 x 8.

    Returns
    -------
    float : about 1 for noise, 2 to 9 for a face (brows and lips lie across), above 15 where the fields differ.
    """
    frame = np.asarray(frame, np.float32)
    rows, columns = (_alternation(image) for image in (frame, frame.T))
    noise = 1e-12 * max(float(np.square(frame).mean()), 1e-12)
    return float((rows + noise) / (columns + noise))


def _alternation(image: np.ndarray) -> float:
    """Mean energy of the part that changes sign with every row over a few pixels' breadth."""
    detail = image[1:-1] - 0.5 * (image[:-2] + image[2:])
    detail[1::2] *= -1
    return float(np.square(cv2.GaussianBlur(detail, (0, 0), SMOOTH)).mean(dtype=np.float64))


def blur(frame: np.ndarray) -> float:
    """Standard deviation in px of the blur at the steepest edges.

    The gradient of a step blurred by s, seen through a Gaussian of t, has a crest of height 1 / sqrt(s^2 + t^2): its
    ratio at two t gives s.

    Parameters
    ----------
    frame : (H, W) of any range.

    Returns
    -------
    float : px, at least 0; of a frame without any edge, `SOFTEST`.
    """
    frame = np.asarray(frame, np.float32)
    fine, coarse = (_slope(cv2.GaussianBlur(frame, (0, 0), scale)) for scale in SCALES)
    edges = fine >= max(float(np.quantile(fine, 1 - EDGES)), 1e-6)
    if not edges.any():
        return SOFTEST
    ratio = float(np.median(fine[edges] / np.maximum(coarse[edges], 1e-9))) ** 2
    first, second = SCALES[0] ** 2, SCALES[1] ** 2
    if ratio <= 1:
        return SOFTEST
    return float(np.clip(np.sqrt(max((second - ratio * first) / (ratio - 1), 0.0)), SHARPEST, SOFTEST))


def _slope(image: np.ndarray) -> np.ndarray:
    """(H, W) magnitude of the central differences."""
    rows, columns = np.gradient(image)
    return np.hypot(rows, columns)
