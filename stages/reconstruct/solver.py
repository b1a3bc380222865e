"""Normals and albedo from frames under known distant flashes: intensity-weighted linear least squares.

A Lambertian pixel of albedo rho and normal n shows ``I_i = s_i l_i . b`` in frame i, with b = rho n (Woodham 1980).
Each equation's squared error is weighted by its own intensity, so that samples near or in shadow, where the equation
fails, count least; samples at the top of the range and deep shadows get (almost) no weight wherever the other flashes
can do without them. All pixels are solved at once by the closed form of a 3x3 system.

References: R. J. Woodham, Photometric method for determining surface orientation from multiple images, Optical
Engineering 19(1), 1980, doi:10.1117/12.7972479.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.lights import condition

FLOOR = 3 / 255  # added to every weight: three grey levels, below which 8-bit intensity says nothing about reliability
IMPLAUSIBLE = 2.0  # times a pixel's brightest sample: an albedo that would need every flash beyond 60 degrees
SUBSET_CONDITION = 6.0  # flashes that stay must be at most this ill-conditioned before another sample is set aside


@dataclass(frozen=True, eq=False)
class Solution:
    """What the frames say about P pixels.

    Attributes
    ----------
    scaled : (3, P) float32, albedo times normal.
    residual : (k, P) float32, sample minus prediction.
    weights : (k, P) float32, as used.
    shadowed, saturated : (k, P) bool, as found, whether set aside or not.
    """

    scaled: np.ndarray
    residual: np.ndarray
    weights: np.ndarray
    shadowed: np.ndarray
    saturated: np.ndarray


def solve(
    samples: np.ndarray,
    lights: np.ndarray,
    strengths: np.ndarray,
    *,
    saturated: np.ndarray | None = None,
    shadow: float = 0.1,
    shadow_weight: float = 0.6,
) -> Solution:
    """Scaled normals of pixels.

    Parameters
    ----------
    samples : (k, P) float32, ambient subtracted, >= 0 up to noise.
    lights : (k, 3) unit, towards the flashes. strengths : (k,) > 0.
    saturated : (k, P) bool, samples at the top of the camera's range.
    shadow : a sample below this share of its pixel's brightest (strength divided out) is called shadowed.
    shadow_weight : factor on the weight of shadowed samples that the pixel can do without.

    Raises
    ------
    ValueError : shapes that do not fit.
    """
    k = len(lights)
    if samples.ndim != 2 or samples.shape[0] != k or len(strengths) != k:
        raise ValueError(f"expected samples (k, P) for k = {k} lights and strengths, got {samples.shape}")
    rows = (np.asarray(lights, float) * np.asarray(strengths, float)[:, None]).astype(np.float32)
    relative = samples / np.asarray(strengths, np.float32)[:, None]
    saturated = np.zeros(samples.shape, bool) if saturated is None else saturated
    shadowed = relative < shadow * np.where(saturated, 0, relative).max(axis=0)
    weights = np.maximum(samples, 0) + np.float32(FLOOR)
    if k > 3:
        weights *= np.where(_spared(shadowed | saturated, lights) & shadowed, np.float32(shadow_weight), np.float32(1))
    scaled = weighted_least_squares(samples, rows, weights)
    if k > 3 and saturated.any():
        scaled = _beyond_the_top(samples, rows, weights, scaled, _spared(saturated, lights))
    _bound(scaled, samples, rows, weights, relative.max(axis=0))
    return Solution(scaled, samples - rows @ scaled, weights, shadowed, saturated)


def _beyond_the_top(
    samples: np.ndarray, rows: np.ndarray, weights: np.ndarray, scaled: np.ndarray, aside: np.ndarray
) -> np.ndarray:
    """Solutions (3, P) and weights (in place) with saturated samples set aside, where the others agree that they are.

    A saturated sample is a lower bound: it counts as it stands where the others predict less, since the truth is nearer
    to it than to their prediction.
    """
    at = np.flatnonzero(aside.any(axis=0))
    without = np.where(aside[:, at], np.float32(0), weights[:, at])
    free = weighted_least_squares(samples[:, at], rows, without)
    lower = (rows @ free < samples[:, at]) & aside[:, at]
    weights[:, at] = np.where(lower, weights[:, at], without)
    scaled[:, at] = weighted_least_squares(samples[:, at], rows, weights[:, at])
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
    facing = samples[:, at].sum(axis=0) / rows[:, 2].sum()
    hold = np.broadcast_to(0.1 * excess * weights[:, at].max(axis=0), (3, len(at)))
    scaled[:, at] = weighted_least_squares(
        np.concatenate([samples[:, at], np.stack([0 * facing, 0 * facing, facing])]),
        np.concatenate([rows, np.eye(3, dtype=np.float32)]),
        np.concatenate([weights[:, at], hold]).astype(np.float32),
    )


def weighted_least_squares(samples: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(3, P) minimisers of ``sum_i w_ip (x_ip - rows_i . b_p)^2``, from (k, P), (k, 3) and (k, P), by the adjugate."""
    x, y, z = rows.T.astype(np.float32)
    products = np.stack([x * x, x * y, x * z, y * y, y * z, z * z])
    a, b, c, d, e, f = products @ weights
    u, v, w = rows.T.astype(np.float32) @ (weights * samples)
    minors = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    determinant = a * minors[0] + b * minors[1] + c * minors[2]
    m0, m1, m2, m3, m4, m5 = minors
    top = np.stack([m0 * u + m1 * v + m2 * w, m1 * u + m3 * v + m4 * w, m2 * u + m4 * v + m5 * w])
    return np.divide(top, determinant, out=np.zeros_like(top), where=determinant > 0)


def _spared(flags: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """Which flagged samples (k, P) can be set aside: where at least three well-conditioned others remain.

    Few of the 2^k patterns occur, so the condition is computed once for each pattern that does.
    """
    powers = 1 << np.arange(len(flags), dtype=np.int64) % 62
    codes = powers @ flags if len(flags) <= 62 else np.unique(flags, axis=1, return_inverse=True)[1]
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    usable = np.array([condition(lights[~flags[:, at]]) <= SUBSET_CONDITION if (~flags[:, at]).sum() >= 3 else False
                       for at in first])  # fmt: skip
    return flags & usable[inverse]


def split(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (3, P) that face the camera and albedo (P,) of scaled normals (3, P).

    A pixel without light gets albedo 0 and the normal of the camera's axis. A normal that points away from the camera
    cannot have been seen: it is tilted back to the silhouette, its direction in the image kept.
    """
    albedo = np.sqrt(np.einsum("ip,ip->p", scaled, scaled))
    normal = np.divide(scaled, albedo, out=np.zeros_like(scaled), where=albedo > 1e-6)
    normal[2] = np.where(albedo > 1e-6, np.maximum(normal[2], 0.02), 1)
    normal /= np.sqrt(np.einsum("ip,ip->p", normal, normal))
    return normal, albedo
