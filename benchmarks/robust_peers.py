"""Robust solvers that lose on faces, batched over pixels: what `benchmarks/many_lights.py` compares the product with.

Each takes samples (k, P) and lights (k, 3) with their strengths as lengths, and returns albedo times normal (3, P).

References
----------
S. Ikehata, D. Wipf, Y. Matsushita, K. Aizawa, Robust photometric stereo using sparse regression, CVPR 2012 (L1 and
sparse Bayesian learning). L. Wu, A. Ganesh, B. Shi, Y. Matsushita, Y. Wang, Y. Ma, Robust photometric stereo via
low-rank matrix completion and recovery, ACCV 2010. Z. Lin, M. Chen, Y. Ma, The augmented Lagrange multiplier method for
exact recovery of corrupted low-rank matrices, 2010 (arXiv:1009.5055).
"""

from __future__ import annotations

import numpy as np


def least_squares(samples: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """Woodham's 1980."""
    solved: np.ndarray = np.linalg.pinv(lights).astype(samples.dtype) @ samples
    return solved


def l1(samples: np.ndarray, lights: np.ndarray, *, steps: int = 40, least: float = 1e-4) -> np.ndarray:
    """Least absolute residuals, by iteratively reweighted least squares."""
    solved = least_squares(samples, lights)
    for _ in range(steps):
        weights = 1 / np.maximum(np.abs(samples - lights @ solved), least)
        solved = _weighted(samples, lights, weights)
    return solved


def sparse_bayesian(
    samples: np.ndarray, lights: np.ndarray, *, steps: int = 60, noise: float = 1e-6, prior: float = 1e6
) -> np.ndarray:
    """A Gaussian of wide variance for the scaled normal, one of its own variance for each sample's error, by EM.

    ``noise`` is the variance of the dense error, ``prior`` that of the scaled normal. The covariance of the samples is
    a diagonal plus a matrix of rank 3, so that only 3x3 systems are solved.
    """
    variance = np.full_like(samples, 1e-2)
    for _ in range(steps):
        inverse = 1 / (variance + noise)
        inner = np.einsum("ki,kp,kj->pij", lights, inverse, lights) + np.eye(3) / prior
        cross = inverse[:, :, None] * lights[:, None, :]  # (k, P, 3)
        solved = np.linalg.solve(inner, np.einsum("kpi,kp->pi", cross, samples)[..., None])[..., 0].T
        whitened = inverse * (samples - lights @ solved)
        explained = np.einsum("kpi,pij,kpj->kp", cross, np.linalg.inv(inner), cross)
        mean = variance * whitened
        variance = np.maximum(mean**2 + variance - variance**2 * (inverse - explained), 1e-12)
    return _weighted(samples, lights, 1 / (variance + noise))


def low_rank(samples: np.ndarray, lights: np.ndarray, *, steps: int = 200, tolerance: float = 1e-6) -> np.ndarray:
    """The matrix of all samples as one of low rank plus a sparse one; samples in shadow are not known.

    The inexact method of augmented Lagrange multipliers, lambda = 1 / sqrt(P). A sample is in shadow below a tenth of
    its pixel's fourth fifth, which highlights do not move; mu grows by a tenth a step: where it grows by a half, as for
    full matrices, the steps end before the unknown samples are filled in (12 degrees of error instead of 1).
    """
    known = samples > 0.1 * np.quantile(samples, 0.8, axis=0)
    low, sparse = np.zeros_like(samples), np.zeros_like(samples)
    norm = np.linalg.norm(samples, 2)
    weight = 1 / np.sqrt(samples.shape[1])
    multiplier = samples / max(norm, float(np.abs(samples).max()) / weight)
    mu = 1.25 / norm
    for _ in range(steps):
        wanted = samples - low + multiplier / mu
        sparse = np.where(known, np.sign(wanted) * np.maximum(np.abs(wanted) - weight / mu, 0), wanted)
        low = _shrunk(samples - sparse + multiplier / mu, 1 / mu)
        misfit = samples - low - sparse
        multiplier += mu * misfit
        mu = min(1.1 * mu, 1e7 / norm)
        if np.linalg.norm(misfit) < tolerance * np.linalg.norm(samples):
            break
    return least_squares(low, lights)


def _shrunk(matrix: np.ndarray, threshold: float) -> np.ndarray:
    """Singular values (of few rows, by their Gram matrix) less a threshold."""
    squares, left = np.linalg.eigh(matrix @ matrix.T)
    values = np.sqrt(np.maximum(squares, 0))
    factor = np.divide(np.maximum(values - threshold, 0), values, out=np.zeros_like(values), where=values > 0)
    shrunk: np.ndarray = (left * factor) @ (left.T @ matrix)
    return shrunk


def _weighted(samples: np.ndarray, lights: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each pixel's weighted least squares."""
    inner = np.einsum("ki,kp,kj->pij", lights, weights, lights, optimize=True)
    right = np.einsum("ki,kp->pi", lights, weights * samples, optimize=True)
    solved: np.ndarray = np.linalg.solve(inner, right[..., None])[..., 0].T
    return solved
