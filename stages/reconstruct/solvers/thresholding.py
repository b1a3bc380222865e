"""Many flashes: at each pixel leave out the darkest and the brightest samples, then least squares of what is left.

Shadow makes samples darker than Lambert's law, a highlight makes them brighter. Among many flashes both fall into the
ends of a pixel's sorted samples (strength divided out), so that what is between obeys the law. No iteration, no
threshold in grey levels: positions in the order alone. Dark samples are the more numerous ones on a face, so more of
them go. The kept ones are weighed alike; the others keep a trace of weight, since the kept ones of some pixel may lie
on a line.

References: position thresholds as in B. Shi et al., "A benchmark dataset and evaluation for non-Lambertian and
uncalibrated photometric stereo", TPAMI 41(2), 2019, doi:10.1109/TPAMI.2018.2799222; K. E. Batcher, Sorting networks
and their applications, AFIPS 1968, doi:10.1145/1468075.1468121 (the positions, of all pixels at once).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from stages.reconstruct.solvers.linear import (
    Solution,
    confidence_of,
    in_shadow,
    rows_of,
    shading,
    weighted_least_squares,
)

KEPT = 0.3  # of the samples, at many flashes
LEAST = 8  # samples that stay
DARK = 4 / 7  # of those left out are dark
TRACE = 1e-3  # weight of what is left out
CHUNK = 1 << 14  # pixels at a time


def kept_positions(count: int) -> tuple[int, int]:
    """First and last position (0 is the darkest) that stays of ``count`` sorted samples.

    >>> kept_positions(50)
    (20, 34)
    """
    kept = min(count, max(LEAST, round(KEPT * count)))
    first = round(DARK * (count - kept))
    return first, first + kept - 1


@cache
def network(count: int, first: int, last: int) -> tuple[tuple[int, int], ...]:
    """Pairs to put in order, one after the other, so that positions ``first`` and ``last`` of ``count`` are in place.

    Batcher's odd-even merge sort of the next power of two, without the pairs that no longer matter to the two.
    """
    size = 1 << (count - 1).bit_length()
    pairs = []
    for run in (1 << i for i in range(size.bit_length() - 1)):
        for apart in (run >> i for i in range(run.bit_length())):
            for start in range(apart % run, size - apart, 2 * apart):
                for one in range(start, min(start + apart, size - apart)):
                    if one // (2 * run) == (one + apart) // (2 * run):
                        pairs.append((one, one + apart))
    needed, kept = {first, last}, []
    for pair in reversed(pairs):
        if pair[1] < count and needed & set(pair):
            kept.append(pair)
            needed |= set(pair)
    return tuple(reversed(kept))


def ranked(values: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) each column's values (k, n) at the positions ``first`` and ``last`` of their order."""
    rows = list(values.copy())
    spare = np.empty_like(rows[0])
    for one, other in network(len(rows), first, last):
        np.minimum(rows[one], rows[other], out=spare)
        np.maximum(rows[one], rows[other], out=rows[other])
        rows[one], spare = spare, rows[one]
    return rows[first], rows[last]


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
        low, high = ranked(part, first, last)
        kept = part >= low
        kept &= part <= high
        np.maximum(kept.view(np.uint8), np.float32(TRACE), out=weights[:, at : at + CHUNK], dtype=np.float32)
    if saturated.any():
        np.multiply(weights, np.float32(TRACE), out=weights, where=saturated)
    scaled = weighted_least_squares(samples, rows, weights)
    residual = samples - shading(rows, scaled)
    shadowed = in_shadow(relative, saturated, shadow)
    lit = (~shadowed).astype(np.float32)
    confidence = confidence_of(samples, residual, weights, lit, saturated)
    return Solution(scaled, residual, weights, shadowed, saturated, lit, confidence, "thresholding")
