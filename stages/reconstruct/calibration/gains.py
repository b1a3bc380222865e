"""Strobe gains of a rig from many sessions under it, without a target.

A Lambertian sample of light l at pixel p is ``x_lp = g_l l_l . b_p``. With h = 1 / g the vector ``diag(h) x_p`` lies
in the span of the pixel's lights, so ``N_p diag(x_p) h = 0`` with ``N_p = I - L_p L_p+`` over the lights that reach it.
The unknown surface is gone, and what is left is linear in h: a session comes down to one (k, k) matrix

    A = sum_p diag(x_p) N_p diag(x_p) / sum_p sum_l x_lp^2,

and all sessions of a rig to the sum of theirs. The gains are the generalised eigenvector of the least eigenvalue of
``A h = lambda diag(A) h``: total least squares with errors in proportion to the samples. Only samples that are neither
dark nor near the top of the range count, and from the second round on none that is off its prediction by more than a
quarter: cast shadows, highlights, what moved. A session that fits badly counts less. The overall factor cannot be seen;
the geometric mean of the gains is 1.

References: G. Golub, C. Van Loan, "An analysis of the total least squares problem", SIAM J. Numer. Anal. 17(6), 1980,
doi:10.1137/0717073; the projector is that of variable projection, Golub and Pereyra 1973, doi:10.1137/0710036.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from stages.reconstruct.solvers.linear import shading

DARKEST, BRIGHTEST = 0.05, 0.7  # samples between them count: below is shadow and noise, above highlights and the top
OFF = 0.25  # of the prediction: a sample further off is no Lambertian one
FAINT = 0.08  # least prediction to which OFF refers
GATES = 3  # fits of a surface a round, each without the samples that the last one was off by more than OFF
ROUNDS = 8
LEAST_LIGHTS = 4  # at a pixel: three are explained by any gains
STEADY = 1e-4  # relative change of the gains that ends the rounds


@dataclass(frozen=True, eq=False)
class Samples:
    """Pixels of a session: values (k, P) float32 linear in [0, 1] without ambient; ``lights`` (k,) index the rig's;
    ``each`` (k, 3, P) the light at each pixel where flashes are near, fall-off in its length, or none."""

    values: np.ndarray
    lights: np.ndarray
    each: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Gains:
    """Gains (k,) of geometric mean 1, their standard errors (k,) from resampled sessions, relative residual a session
    (n,), and the sessions (n,) that each light is seen in (k,)."""

    gains: np.ndarray
    errors: np.ndarray
    residuals: np.ndarray
    sessions: np.ndarray


def estimate_gains(sessions: Sequence[Samples], lights: np.ndarray, *, resamples: int = 200, seed: int = 7) -> Gains:
    """Gains of a rig's lights from its sessions.

    Parameters
    ----------
    sessions : samples under two or more of the rig's lights; sessions must share lights, or gains cannot be compared.
    lights : (k, 3) unit, towards the flashes.
    resamples : of the sessions, for the standard errors.

    Raises
    ------
    ValueError : no pixel of any session is well lit by four lights.
    """
    gains = np.ones(len(lights))
    for number in range(ROUNDS):
        parts = [_normal_matrix(s, lights, gains, first=number == 0) for s in sessions]
        matrices = np.stack([part for part in parts if part is not None] or [np.zeros((len(lights),) * 2)])
        before, weights = gains, _session_weights(matrices, gains)
        gains = _solve(np.tensordot(weights, matrices, axes=1))
        if np.abs(gains / before - 1).max() < STEADY:
            break
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(matrices), np.full(len(matrices), 1 / len(matrices)), size=resamples)
    drawn = np.array([_solve(np.tensordot(c * weights, matrices, axes=1), like=gains) for c in counts])
    errors = drawn.std(axis=0) if len(matrices) > 1 else np.full(len(lights), np.nan)
    return Gains(gains, errors, _residuals(matrices, gains), (np.einsum("nll->nl", matrices) > 0).sum(axis=0))


def _normal_matrix(session: Samples, lights: np.ndarray, gains: np.ndarray, *, first: bool) -> np.ndarray | None:
    """(k, k) of one session over all lights of the rig, normalised by its energy; None where no pixel says anything."""
    rows = lights[session.lights] if session.each is None else session.each
    values = session.values.astype(float)
    relative = values / gains[session.lights, None]
    use = (values > DARKEST) & (values < BRIGHTEST)
    bright = use
    for _ in range(0 if first else GATES):
        predicted = shading(rows, _least_squares(relative, rows, use))
        use = bright & (np.abs(relative - predicted) < OFF * np.maximum(predicted, FAINT))
    use &= use.sum(axis=0) >= LEAST_LIGHTS
    told = use.any(axis=0)
    if not told.any():
        return None
    use, values = use[:, told], np.where(use, values, 0)[:, told]
    rows = rows if rows.ndim == 2 else rows[..., told]
    inverse = np.linalg.inv(_normals(rows, use))
    # sum_p diag(x_p) (I - L_p (L_p' L_p)^-1 L_p') diag(x_p), with L_p the rows that are used
    lifted = values[:, :, None] * (rows[:, None, :] if rows.ndim == 2 else np.moveaxis(rows, 1, 2))
    projected = np.einsum("kpi,pij->kpj", lifted, inverse, optimize=True)
    k = len(rows)
    small = np.diag((values**2).sum(axis=1)) - projected.reshape(k, -1) @ lifted.reshape(k, -1).T
    whole = np.zeros((len(lights),) * 2)
    whole[np.ix_(session.lights, session.lights)] = (small + small.T) / 2 / (values**2).sum()
    return whole


def _normals(rows: np.ndarray, use: np.ndarray) -> np.ndarray:
    """(P, 3, 3) sums of l l' over the lights (k, 3) or (k, 3, P) in use (k, P)."""
    if rows.ndim == 3:
        return np.einsum("kp,kip,kjp->pij", use.astype(float), rows, rows, optimize=True) + 1e-9 * np.eye(3)
    products = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), 9)
    return (use.T.astype(float) @ products).reshape(-1, 3, 3) + 1e-9 * np.eye(3)


def _least_squares(values: np.ndarray, rows: np.ndarray, use: np.ndarray) -> np.ndarray:
    """(3, P) scaled normals from the samples in use; a touch of ridge for pixels with fewer than three."""
    right = np.einsum("kp,ki->pi" if rows.ndim == 2 else "kp,kip->pi", np.where(use, values, 0), rows)[..., None]
    return np.linalg.solve(_normals(rows, use) + 1e-4 * np.eye(3), right)[..., 0].T


def _solve(matrix: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Gains from a summed matrix; lights that it knows nothing of keep 1, or the gains they are ``like``.

    Raises
    ------
    ValueError : it knows fewer than four lights.
    """
    known = np.diag(matrix) > 1e-12
    gains = np.ones(len(matrix)) if like is None else like.copy()
    if known.sum() < LEAST_LIGHTS:
        if like is None:
            raise ValueError("no pixel is well lit by four lights")
        return gains
    part = matrix[np.ix_(known, known)]
    _, vectors = scipy.linalg.eigh(part, np.diag(np.diag(part)), subset_by_index=(0, 0))
    inverse = np.maximum(np.abs(vectors[:, 0]), 1e-6)
    gains[known] = 1 / inverse
    gains[known] /= np.exp(np.log(gains[known]).mean())
    return gains


def _residuals(matrices: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Relative residual (n,) of each session: root of the share of its energy that no surface explains."""
    inverse = 1 / gains
    return np.sqrt(np.maximum(np.einsum("i,nij,j->n", inverse, matrices, inverse), 0))


def _session_weights(matrices: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """(n,) Cauchy weights by residual, on the scale of the sessions' median."""
    residual = _residuals(matrices, gains)
    return 1 / (1 + (residual / max(2 * float(np.median(residual)), 1e-9)) ** 2)
