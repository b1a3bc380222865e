"""Directions of a rig's lights refined from its captures.

With scaled normals b_p of each session fixed, every light is a linear least-squares problem of its own, and the other
way round. What no photographs can tell is a linear map M that turns all lights by M and all scaled normals by its
inverse transposed (Belhumeur, Kriegman and Yuille, "The bas-relief ambiguity", IJCV 35(1), 1999,
doi:10.1023/A:1008154927611). It is pinned to the directions given: after each round the map that takes the found lights
nearest to those is applied to them. So what is refined is what single lights are off by, not what all are off by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.reconstruct.calibration.gains import BRIGHTEST, DARKEST, FAINT, OFF, Samples

LEAST_LIGHTS = 6  # each has three numbers, and nine of all are pinned
ROUNDS = 15
FARTHEST = 10.0  # degrees from the direction given: beyond it the light is another one, and is left as it was


def refine_directions(sessions: Sequence[Samples], lights: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Directions (k, 3) unit, from those given (k, 3) and the gains (k,) of the flashes.

    Raises
    ------
    ValueError : fewer than six lights.
    """
    if len(lights) < LEAST_LIGHTS:
        raise ValueError(f"directions are refined with {LEAST_LIGHTS} lights or more, there are {len(lights)}")
    given = lights * gains[:, None]
    rows = given.copy()
    for _ in range(ROUNDS):
        matrix, right = np.zeros((len(lights), 3, 3)), np.zeros((len(lights), 3))
        for session in sessions:
            of_session, products, projections = _of_session(session, rows)
            np.add.at(matrix, of_session, products)
            np.add.at(right, of_session, projections)
        hold = 1e-3 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3) + 1e-12 * np.eye(3)
        rows = np.linalg.solve(matrix + hold, (right + np.einsum("kij,kj->ki", hold, given))[..., None])[..., 0]
        rows = rows @ np.linalg.lstsq(rows, given, rcond=None)[0]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    far = (unit * lights).sum(axis=1) < np.cos(np.deg2rad(FARTHEST))
    unit[far] = lights[far]
    return np.asarray(unit)


def _of_session(session: Samples, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light indices (k,), sums of b b' (k, 3, 3) and of x b (k, 3) over the samples that count, b leaving none out."""
    own, values = rows[session.lights], session.values.astype(float)
    use = (values > DARKEST) & (values < BRIGHTEST)
    for _ in range(2):
        products = (own[:, :, None] * own[:, None, :]).reshape(-1, 9)
        normals = (use.T.astype(float) @ products).reshape(-1, 3, 3) + 1e-4 * np.eye(3)
        scaled = np.linalg.solve(normals, (np.where(use, values, 0).T @ own)[..., None])[..., 0]
        predicted = own @ scaled.T
        use &= np.abs(values - predicted) < OFF * np.maximum(predicted, FAINT)
    use &= use.sum(axis=0) >= 4
    energy = max(float((values[use] ** 2).sum()), 1e-9)
    outer = (scaled[:, :, None] * scaled[:, None, :]).reshape(-1, 9)
    return (
        session.lights,
        (use.astype(float) @ outer).reshape(-1, 3, 3) / energy,
        np.where(use, values, 0) @ scaled / energy,
    )
