"""Every flash counts, the more the brighter its sample: intensity-weighted linear least squares.

A Lambertian pixel of albedo rho and normal n shows ``I_i = s_i l_i . b`` in frame i, with b = rho n (Woodham 1980).
Each equation's squared error is weighted by its own intensity, so that samples near or in shadow, where the equation
fails, count least; samples at the top of the range and deep shadows get (almost) no weight wherever the other flashes
can do without them. All pixels are solved at once by the closed form of a 3x3 system.

References: R. J. Woodham, Photometric method for determining surface orientation from multiple images, Optical
Engineering 19(1), 1980, doi:10.1117/12.7972479.
"""

from __future__ import annotations

import numpy as np

from pipeline.lights import condition
from stages.reconstruct.solvers.linear import (
    FLOOR,
    Solution,
    confidence_of,
    in_shadow,
    rows_of,
    shading,
    weighted_least_squares,
)

IMPLAUSIBLE = 2.0  # times a pixel's brightest sample: an albedo that would need every flash beyond 60 degrees
SUBSET_CONDITION = 6.0  # flashes that stay must be at most this ill-conditioned before another sample is set aside


def solve_weighted(
    samples: np.ndarray,
    lights: np.ndarray,
    strengths: np.ndarray,
    *,
    saturated: np.ndarray,
    shadow: float,
    shadow_weight: float,
) -> Solution:
    """Scaled normals of pixels; the parameters are those of :func:`stages.reconstruct.solvers.solve`."""
    k = len(lights)
    rows = rows_of(lights, strengths)
    directions = lights if lights.ndim == 2 else lights.mean(axis=2)
    relative = samples / np.asarray(strengths, np.float32)[:, None]
    shadowed = in_shadow(relative, saturated, shadow)
    weights = np.maximum(samples, 0) + np.float32(FLOOR)
    if k > 3:
        spared = _spared(shadowed | saturated, directions) & shadowed
        weights *= np.where(spared, np.float32(shadow_weight), np.float32(1))
    scaled = weighted_least_squares(samples, rows, weights)
    if k > 3 and saturated.any():
        scaled = _beyond_the_top(samples, rows, weights, scaled, _spared(saturated, directions))
    _bound(scaled, samples, rows, weights, relative.max(axis=0))
    residual = samples - shading(rows, scaled)
    lit = (~shadowed).astype(np.float32)
    confidence = confidence_of(samples, residual, weights, lit, saturated)
    return Solution(scaled, residual, weights, shadowed, saturated, lit, confidence)


def _beyond_the_top(
    samples: np.ndarray, rows: np.ndarray, weights: np.ndarray, scaled: np.ndarray, aside: np.ndarray
) -> np.ndarray:
    """Solutions (3, P) and weights (in place) with saturated samples set aside, where the others agree that they are.

    A saturated sample is a lower bound: it counts as it stands where the others predict less, since the truth is nearer
    to it than to their prediction.
    """
    at = np.flatnonzero(aside.any(axis=0))
    without = np.where(aside[:, at], np.float32(0), weights[:, at])
    rows_at = rows if rows.ndim == 2 else rows[..., at]
    free = weighted_least_squares(samples[:, at], rows_at, without)
    lower = (shading(rows_at, free) < samples[:, at]) & aside[:, at]
    weights[:, at] = np.where(lower, weights[:, at], without)
    scaled[:, at] = weighted_least_squares(samples[:, at], rows_at, weights[:, at])
    return scaled


def _bound(
    scaled: np.ndarray, samples: np.ndarray, rows: np.ndarray, weights: np.ndarray, brightest: np.ndarray
) -> None:
    """Solve again, in place, pixels whose albedo no flash supports: one light left in a cast shadow sends it anywhere.

    They are held to a surface that faces the camera, the more the larger the albedo, by up to a tenth of their
    brightest sample's weight.
    """
    length = np.sqrt(np.einsum("ip,ip->p", scaled, scaled))
    at = np.flatnonzero(length > IMPLAUSIBLE * brightest)
    if not len(at):
        return
    excess = np.clip(length[at] / np.maximum(IMPLAUSIBLE * brightest[at], 1e-6) - 1, 0, 1)
    rows_at = rows if rows.ndim == 2 else rows[..., at]
    facing = samples[:, at].sum(axis=0) / rows_at[:, 2].sum(axis=0)
    hold = np.broadcast_to(0.1 * excess * weights[:, at].max(axis=0), (3, len(at)))
    upright = (
        np.eye(3, dtype=np.float32) if rows.ndim == 2 else np.repeat(np.eye(3, dtype=np.float32)[..., None], len(at), 2)
    )
    scaled[:, at] = weighted_least_squares(
        np.concatenate([samples[:, at], np.stack([0 * facing, 0 * facing, facing])]),
        np.concatenate([rows_at, upright]),
        np.concatenate([weights[:, at], hold]).astype(np.float32),
    )


def _spared(flags: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """Which flagged samples (k, P) can be set aside: where at least three well-conditioned others remain.

    Few of the 2^k patterns occur, so the condition is computed once for each pattern that does.
    """
    powers = 1 << np.arange(len(flags), dtype=np.int64) % 62
    codes = powers @ flags if len(flags) <= 62 else np.unique(flags, axis=1, return_inverse=True)[1]
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    usable = np.array([condition(lights[~flags[:, at]]) <= SUBSET_CONDITION if (~flags[:, at]).sum() >= 3 else False
                       for at in first], dtype=bool)  # fmt: skip
    return flags & usable[inverse]
