"""What all solvers share: the solution, weighted least squares of all pixels at once, normals from scaled normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = 3 / 255  # added to every weight: three grey levels, below which 8-bit intensity says nothing about reliability
STEEPEST = 0.02  # least n_z that a pixel can be seen with
SMALL = 1_000_000  # multiplications up to which OpenBLAS takes a product without packing its operands first
LINE = 16  # float32 in a line of cache
PAIRS = ([0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2])  # of axes: xx, xy, xz, yy, yz, zz
MISFIT = 0.1  # of a pixel's brightness: a residual of so much halves its confidence


@dataclass(frozen=True, eq=False)
class Solution:
    """What the frames say about P pixels.

    Attributes
    ----------
    scaled : (3, P) float32, albedo times normal.
    residual : (k, P) float32, sample minus prediction.
    weights : (k, P) float32, as used.
    shadowed, saturated : (k, P) bool, as found, whether set aside or not.
    lit : (k, P) float32 in [0, 1], how far each sample was taken to be lit by its flash: 0 in shadow.
    confidence : (P,) float32 in [0, 1], :func:`confidence_of`.
    """

    scaled: np.ndarray
    residual: np.ndarray
    weights: np.ndarray
    shadowed: np.ndarray
    saturated: np.ndarray
    lit: np.ndarray
    confidence: np.ndarray

    @property
    def visibility(self) -> np.ndarray:
        """(P,) in [0, 1]: the share of the flashes that reach a pixel."""
        share: np.ndarray = self.lit.mean(axis=0)
        return share


def in_shadow(relative: np.ndarray, saturated: np.ndarray, share: float) -> np.ndarray:
    """(k, P) which samples over strength are below a share of their pixel's brightest unsaturated one."""
    usable = np.where(saturated, 0, relative) if saturated.any() else relative
    dark: np.ndarray = relative < share * usable.max(axis=0)
    return dark


def confidence_of(
    samples: np.ndarray, residual: np.ndarray, weights: np.ndarray, lit: np.ndarray, saturated: np.ndarray
) -> np.ndarray:
    """(P,) float32 in [0, 1]: 1 where three flashes or more reach a pixel and agree; less where one of the two fails.

    The first factor grows from 0 at one flash to 1 at three that are lit and not saturated. The second is
    ``1 / (1 + (e / MISFIT)^2)`` with e the weighted RMS residual as a share of the weighted RMS sample.
    """
    usable = np.where(saturated, 0, lit) if saturated.any() else lit
    reached = np.clip((usable.sum(axis=0) - 1) / 2, 0, 1)
    lost = np.einsum("kp,kp,kp->p", weights, residual, residual)
    power = np.einsum("kp,kp,kp->p", weights, samples, samples)
    agreed: np.ndarray = MISFIT**2 * power / (MISFIT**2 * power + lost + 1e-12)
    return (reached * agreed).astype(np.float32)


def rows_of(lights: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Lights times strengths, (k, 3) or (k, 3, P) float32."""
    scale = np.asarray(strengths, float).reshape(-1, *(1,) * (lights.ndim - 1))
    return (np.asarray(lights, float) * scale).astype(np.float32)


def shading(rows: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """(k, P) what rows (k, 3) or (k, 3, P) predict of scaled normals (3, P)."""
    return rows @ scaled if rows.ndim == 2 else np.einsum("kip,ip->kp", rows, scaled)


def least_squares(samples: np.ndarray, lights: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (3, P) and albedo (P,) by plain least squares (Woodham 1980), in one pass over the samples.

    All pixels have the same equations, so that each part of them that a cache holds is one product with the
    pseudo-inverse; nothing is kept beside the result.

    Parameters
    ----------
    samples : (k, P) float32. lights : (k, 3) unit. strengths : (k,) > 0.
    """
    inverse = np.linalg.pinv(rows_of(lights, strengths).astype(float)).astype(np.float32)
    count, small = samples.shape[1], max(1, SMALL // inverse.size)
    normal, albedo = np.empty((3, count), np.float32), np.empty(count, np.float32)
    spare = np.empty(min(2 * small, count), np.float32)
    for first in range(0, count, 2 * small):
        here = slice(first, min(first + 2 * small, count))
        given, scaled = samples[:, here], normal[:, here]
        np.maximum.reduce(given[:, ::LINE], axis=1)  # fetches them; the product takes k rows at once, which is slow
        for at in range(0, here.stop - first, small):
            np.matmul(inverse, given[:, at : at + small], out=scaled[:, at : at + small])
        _split(scaled, scaled, albedo[here], spare[: here.stop - first])
    return normal, albedo


def weighted_least_squares(samples: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(3, P) minimisers of ``sum_i w_ip (x_ip - rows_i . b_p)^2``, by the adjugate.

    Parameters
    ----------
    samples, weights : (k, P). rows : (k, 3), or (k, 3, P) where they differ from pixel to pixel.
    """
    return _solved(*_equations(samples, rows, weights))


def held_least_squares(
    samples: np.ndarray, rows: np.ndarray, weights: np.ndarray, target: np.ndarray, hold: np.ndarray
) -> np.ndarray:
    """The same with ``hold_p |b_p - target_p|^2`` added to each pixel's sum: target (3, P), hold (P,)."""
    matrix, right = _equations(samples, rows, weights)
    matrix[[0, 3, 5]] += hold
    return _solved(matrix, right + hold * target)


def _equations(samples: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's symmetric matrix (6, P): xx, xy, xz, yy, yz, zz, and right side (3, P)."""
    axes = rows.swapaxes(0, 1).astype(np.float32, copy=False)
    weighted = weights * samples
    if rows.ndim == 2:
        return (axes[PAIRS[0]] * axes[PAIRS[1]]) @ weights, axes @ weighted
    matrix = np.stack([np.einsum("kp,kp,kp->p", weights, axes[i], axes[j]) for i, j in zip(*PAIRS, strict=True)])
    return matrix, np.stack([np.einsum("kp,kp->p", axis, weighted) for axis in axes])


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    a, b, c, d, e, f = matrix
    u, v, w = right
    minors = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    determinant = a * minors[0] + b * minors[1] + c * minors[2]
    m0, m1, m2, m3, m4, m5 = minors
    solved = np.empty_like(right)
    for out, (p, q, r) in zip(solved, ((m0, m1, m2), (m1, m3, m4), (m2, m4, m5)), strict=True):
        np.multiply(p, u, out=out)
        out += q * v
        out += r * w
    if determinant.min(initial=1) > 0:  # nearly always, and faster than a choice
        solved /= determinant
        return solved
    return np.divide(solved, determinant, out=np.zeros_like(solved), where=determinant > 0)


def split(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (3, P) that face the camera and albedo (P,) of scaled normals (3, P).

    A pixel without light gets albedo 0 and the normal of the camera's axis. A normal that points away from the camera
    cannot have been seen: it is tilted back to the silhouette, its direction in the image kept.
    """
    normal, albedo = np.empty_like(scaled), np.empty_like(scaled[0])
    _split(scaled, normal, albedo, np.empty_like(albedo))
    return normal, albedo


def _split(scaled: np.ndarray, normal: np.ndarray, albedo: np.ndarray, spare: np.ndarray) -> None:
    """The same, into ``normal`` (3, n), which may be ``scaled``, and ``albedo`` (n,)."""
    np.multiply(scaled[0], scaled[0], out=albedo)
    for axis in scaled[1:]:
        albedo += np.multiply(axis, axis, out=spare)
    np.sqrt(albedo, out=albedo)
    dark = np.minimum.reduce(albedo, initial=1) <= 1e-6
    np.divide(1, np.maximum(albedo, 1e-6, out=spare) if dark else albedo, out=spare)
    np.multiply(scaled, spare, out=normal)
    if dark:
        normal[:, albedo <= 1e-6] = [[0], [0], [1]]
    if normal[2].min(initial=1) < STEEPEST:
        away = np.flatnonzero(normal[2] < STEEPEST)
        tilted = normal[:, away]
        tilted[2] = STEEPEST
        normal[:, away] = tilted / np.sqrt(np.einsum("ip,ip->p", tilted, tilted))
