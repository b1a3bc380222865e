"""Many flashes: at each pixel leave out what cannot be Lambert's law, then least squares of the rest, refined.

Shadow makes samples darker than Lambert's law, a highlight makes them brighter. Among many flashes the pixel's mean is
a fair scale of its brightness: samples (strength divided out) below `LOW` or above `HIGH` of it are left out of a first
least squares. Its prediction then says which samples lie on the law: in a few rounds each counts by

    w = lit / (residual^2 + scale^2)

with residual in units of the pixel's mean and a scale that falls to `SCALES[-1]` (Cauchy's weights). The residual is
taken `FURTHER` of the last step ahead, since reweighting approaches its limit slowly and from one side. Samples below
`DARK` of the mean are in shadow and stay out; a trace of weight is left to whatever is out, since the rest may lie on a
line.

References: thresholds as in B. Shi et al., "A benchmark dataset and evaluation for non-Lambertian and uncalibrated
photometric stereo", TPAMI 41(2), 2019, doi:10.1109/TPAMI.2018.2799222, there on positions in the sorted samples. P. W.
Holland and R. E. Welsch, "Robust regression using iteratively reweighted least-squares", Communications in Statistics
A6(9), 1977, doi:10.1080/03610927708827533.
"""

from __future__ import annotations

import numpy as np

from stages.reconstruct.solvers.linear import Solution, confidence_of, rows_of, shading, weighted_least_squares

LOW, HIGH = 0.5, 1.7  # of a pixel's mean: what the first solve takes
DARK = 0.1  # of a pixel's mean: below is shadow
SCALES = (0.1, 0.05, 0.02, 0.02)  # of a pixel's mean, one a round
FURTHER = 0.5  # of each round's step, on top
TRACE = 1e-3  # weight of what is left out
CHUNK = 1 << 17  # samples at a time: what a cache holds


def solve_thresholding(
    samples: np.ndarray, lights: np.ndarray, strengths: np.ndarray, *, saturated: np.ndarray, shadow: float
) -> Solution:
    """Scaled normals of pixels; the parameters are those of :func:`stages.reconstruct.solvers.solve`."""
    rows = rows_of(lights, strengths)
    inverse = (1 / np.asarray(strengths, np.float32))[:, None]
    count = samples.shape[1]
    scaled, confidence = np.empty((3, count), np.float32), np.empty(count, np.float32)
    weights, residual, lit = np.empty((3, *samples.shape), np.float32)  # one block: the kernel gives it large pages
    step = max(1, CHUNK // len(samples))
    for at in range(0, count, step):
        part = slice(at, at + step)
        here, full = rows if rows.ndim == 2 else rows[..., part], saturated[:, part]
        given, relative = np.ascontiguousarray(samples[:, part], np.float32), samples[:, part] * inverse
        brightest = (np.where(full, 0, relative) if full.any() else relative).max(axis=0)
        reached = (relative >= shadow * brightest).astype(np.float32)
        solved, weight = _refined(given, here, relative, full)
        left = given - shading(here, solved)
        confidence[part] = confidence_of(given, left, weight, reached, full)
        scaled[:, part], weights[:, part], residual[:, part], lit[:, part] = solved, weight, left, reached
    return Solution(scaled, residual, weights, lit == 0, saturated, lit, confidence)


def _refined(
    samples: np.ndarray, rows: np.ndarray, relative: np.ndarray, saturated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scaled normals (3, P) of samples (k, P), and the weights (k, P) of the last solve, at most 1."""
    mean = np.maximum(relative.mean(axis=0), np.float32(1e-6))
    samples, relative = samples / mean, relative / mean
    lit = _share((relative > DARK) & ~saturated)
    weights = _share((relative >= LOW) & (relative <= HIGH) & ~saturated)
    before = solved = weighted_least_squares(samples, rows, weights)
    for scale in SCALES:
        residual = shading(rows, solved + np.float32(FURTHER) * (solved - before))
        np.subtract(samples, residual, out=residual)
        np.multiply(residual, residual, out=residual)
        residual += np.float32(scale**2)
        np.divide(lit, residual, out=weights)
        before, solved = solved, weighted_least_squares(samples, rows, weights)
    weights *= np.float32(SCALES[-1] ** 2)
    return solved * mean, weights


def _share(kept: np.ndarray) -> np.ndarray:
    """1 for what is kept, a trace for the rest (a comparison and a product are faster than a choice)."""
    share = kept.astype(np.float32)
    return np.maximum(share, np.float32(TRACE), out=share)
