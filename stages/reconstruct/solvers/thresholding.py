"""Many flashes: at each pixel leave out the darkest and the brightest samples, then least squares of what is left.

Shadow makes samples darker than Lambert's law, a highlight makes them brighter. Among many flashes both fall into the
ends of a pixel's sorted samples (strength divided out), so that what is between obeys the law. No iteration, no
threshold in grey levels: positions in the order alone. Dark samples are the more numerous ones on a face, so more of
them go. The kept ones are weighed alike; the others keep a trace of weight, since the kept ones of some pixel may lie
on a line.

References: position thresholds as in B. Shi et al., "A benchmark dataset and evaluation for non-Lambertian and
uncalibrated photometric stereo", TPAMI 41(2), 2019, doi:10.1109/TPAMI.2018.2799222.
"""

from __future__ import annotations

import numpy as np

from stages.reconstruct.solvers.linear import Solution, confidence_of, rows_of, shading, weighted_least_squares

KEPT = 0.3  # of the samples, at many flashes
LEAST = 8  # samples that stay
DARK = 4 / 7  # of those left out are dark
TRACE = 1e-3  # weight of what is left out
CHUNK = 1 << 16  # pixels at a time


def kept_positions(count: int) -> tuple[int, int]:
    """First and last position (0 is the darkest) that stays of ``count`` sorted samples.

    >>> kept_positions(50)
    (20, 34)
    """
    kept = min(count, max(LEAST, round(KEPT * count)))
    first = round(DARK * (count - kept))
    return first, first + kept - 1


def solve_thresholding(
    samples: np.ndarray, lights: np.ndarray, strengths: np.ndarray, *, saturated: np.ndarray, shadow: float
) -> Solution:
    """Scaled normals of pixels; the parameters are those of :func:`stages.reconstruct.solvers.solve`."""
    rows = rows_of(lights, strengths)
    relative = samples / np.asarray(strengths, np.float32)[:, None]
    first, last = kept_positions(len(lights))
    weights = np.empty(samples.shape, np.float32)
    for at in range(0, samples.shape[1], CHUNK):
        part = relative[:, at : at + CHUNK]
        ordered = np.partition(part, (first, last), axis=0)
        weights[:, at : at + CHUNK] = np.where((part >= ordered[first]) & (part <= ordered[last]), 1, TRACE)
    np.multiply(weights, np.float32(TRACE), out=weights, where=saturated)
    scaled = weighted_least_squares(samples, rows, weights)
    residual = samples - shading(rows, scaled)
    shadowed = relative < shadow * np.where(saturated, 0, relative).max(axis=0)
    lit = (~shadowed).astype(np.float32)
    confidence = confidence_of(samples, residual, weights, lit, saturated)
    return Solution(scaled, residual, weights, shadowed, saturated, lit, confidence, "thresholding")
