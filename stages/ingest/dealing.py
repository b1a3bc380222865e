"""Flashes of one subject dealt into disjoint sessions of k lights, each set as well conditioned as can be.

Shares the lights out at random and then swaps lights between sessions (or for one that is left over) as long as the
worst condition falls, from several starts; the best deal wins. `deal` takes as many sessions as the largest condition
that is allowed lets through: more sessions of worse lights would only measure the noise.
"""

from __future__ import annotations

import numpy as np

STARTS = 16


def deal(lights: np.ndarray, flashes: int, *, max_condition: float, seed: int) -> np.ndarray:
    """Deal lights into as many disjoint sessions as ``max_condition`` allows.

    Parameters
    ----------
    lights : ndarray (n, 3)
        Unit vectors.
    flashes : int
        Lights a session, at least 3.
    max_condition : float
        The largest ratio of singular values that a session's lights may have.
    seed : int
        The same seed and lights give the same deal.

    Returns
    -------
    ndarray (m, flashes) of int
        Indices into ``lights``, each at most once; sessions from the best conditioned to the worst, and in each the
        lights by azimuth. Empty (m = 0) where not even one session is possible.
    """
    for count in range(len(lights) // flashes, 0, -1):
        best = best_deal(lights, count, flashes, seed=seed)
        if conditions(lights[best]).max() <= max_condition:
            order = np.argsort(conditions(lights[best]), kind="stable")
            return np.stack([_by_azimuth(lights, session) for session in best[order]])
    return np.empty((0, flashes), dtype=int)


def best_deal(lights: np.ndarray, count: int, flashes: int, *, seed: int) -> np.ndarray:
    """The best of several locally best deals: (count, flashes) indices whose worst condition is least."""
    rng = np.random.default_rng([seed, len(lights), count, flashes])
    deals = [_improved(lights, rng.permutation(len(lights)), count, flashes) for _ in range(STARTS)]
    return min(deals, key=lambda sessions: conditions(lights[sessions]).max())


def conditions(lights: np.ndarray) -> np.ndarray:
    """Ratio of the extreme singular values of each (k, 3) of (..., k, 3) lights; large where they are coplanar."""
    values = np.linalg.svd(lights, compute_uv=False)
    return values[..., 0] / np.maximum(values[..., -1], 1e-12)


def _improved(lights: np.ndarray, order: np.ndarray, count: int, flashes: int) -> np.ndarray:
    """Swap lights of the worst session for any others while that lowers the larger condition of the two touched."""
    used = count * flashes
    order = order.copy()
    while True:
        now = conditions(lights[order[:used].reshape(count, flashes)])
        worst = int(now.argmax())
        mine = np.arange(worst * flashes, (worst + 1) * flashes)
        others = np.setdiff1d(np.arange(len(order)), mine)
        pairs = np.stack(np.meshgrid(mine, others, indexing="ij"), axis=-1).reshape(-1, 2)
        swapped = np.repeat(order[None], len(pairs), axis=0)
        rows = np.arange(len(pairs))
        swapped[rows, pairs[:, 0]], swapped[rows, pairs[:, 1]] = order[pairs[:, 1]], order[pairs[:, 0]]
        after = conditions(lights[swapped[:, :used].reshape(-1, count, flashes)])
        theirs = pairs[:, 1] // flashes
        touched = np.maximum(
            after[rows, worst], np.where(theirs < count, after[rows, np.minimum(theirs, count - 1)], 0)
        )
        if not len(pairs) or touched.min() >= now[worst] - 1e-9:
            return order[:used].reshape(count, flashes)
        order = swapped[int(touched.argmin())]


def _by_azimuth(lights: np.ndarray, session: np.ndarray) -> np.ndarray:
    azimuth = np.rad2deg(np.arctan2(lights[session, 1], lights[session, 0])) % 360
    return session[np.lexsort((session, azimuth.round(6)))]
