"""Rank-3 factorisation of samples of which some are missing or wrong.

Alternating weighted least squares: scaled normals from the lights, lights from the scaled normals, weights from what
is left (Geman and McClure's), until the span stands. With weights of 1 the span is that of the singular value
decomposition (Hayakawa 1994, doi:10.1364/JOSAA.11.003079, the factorisation); the weights are those of Wiberg's
problem, low rank with missing data.
"""

from __future__ import annotations

import numpy as np

SCALE = 0.05  # of a pixel's length: a residual from which a sample counts less
HOLD = 1e-4  # of a pixel's weight: keeps pixels with fewer than three samples bounded
START = 30  # pixels without a missing sample that the first span is taken from, at least


def factorise(
    samples: np.ndarray, usable: np.ndarray, *, start: np.ndarray | None = None, rounds: int = 20, scale: float = SCALE
) -> np.ndarray:
    """The span of the lights.

    Parameters
    ----------
    samples : (k, P) of k >= 3 frames.
    usable : (k, P) in [0, 1]: 0 for shadow and glare.
    start : (k, 3) orthonormal to begin with; the leading singular vectors of the pixels usable in all frames if none.
    scale : residual, as a share of the pixel's length over the frames, that halves the weight and more.

    Returns
    -------
    (k, 3) float64 with orthonormal columns: the lights, strengths included, are this times an unknown 3x3 matrix.
    """
    unit = samples / (np.linalg.norm(samples * usable, axis=0) + 1e-9)
    span = _leading(unit, usable) if start is None else start
    weights = np.asarray(usable, float)
    for _ in range(rounds):
        normals = scaled_normals(unit, weights, span)
        left = unit - span @ normals
        weights = usable / (1 + (left / scale) ** 2) ** 2
        products = (normals[:, None] * normals).reshape(9, -1)
        matrix = (weights @ products.T).reshape(-1, 3, 3) + 1e-9 * np.eye(3)
        lights = np.linalg.solve(matrix, ((weights * unit) @ normals.T)[..., None])[..., 0]
        span = np.linalg.qr(lights)[0]
    return span


def scaled_normals(samples: np.ndarray, weights: np.ndarray, span: np.ndarray) -> np.ndarray:
    """(3, P) weighted least squares of samples (k, P) on lights (k, 3), without the closed form's float32."""
    products = (span[:, :, None] * span[:, None]).reshape(len(span), 9)
    matrix = (weights.T @ products).reshape(-1, 3, 3)
    matrix += (HOLD * weights.sum(axis=0) + 1e-12)[:, None, None] * np.eye(3)
    return np.linalg.solve(matrix, ((weights * samples).T @ span)[..., None])[..., 0].T


def _leading(unit: np.ndarray, usable: np.ndarray) -> np.ndarray:
    whole = (usable > 0).all(axis=0)
    chosen = unit[:, whole] if whole.sum() >= START else unit
    return np.linalg.svd(chosen @ chosen.T)[0][:, :3]
