"""The flashes of the modality `frames`: their order as its channels, and which of them change places in a mirror."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from pipeline.lights import to_angles

CLEARLY = 0.75  # of the angles that reversed channels leave: another swap must come below, or the order stays reversed


def light_order(lights: np.ndarray) -> np.ndarray:
    """Indices that sort (k, 3) lights by azimuth from straight below, counter-clockwise, then zenith; by whole degrees.

    The same flash has the same channel in all sessions of a rig, in whatever order the frames were taken.
    """
    zenith, azimuth = to_angles(lights)
    return np.lexsort((np.rint(zenith), np.rint(azimuth + 90) % 360))


def mirror_order(lights: np.ndarray) -> np.ndarray:
    """Which channel of `frames` each channel changes places with in a mirror.

    A mirrored face is lit from mirrored directions. Its photographs go to the channels whose lights these are nearest
    to: in pairs, or where a light lies on the axis to their own, so that the angles between the lights and the mirrored
    ones that take their places have the least sum. Where the lights go around the axis in pairs, left and right, that
    reverses the channels. A rig whose lights have no mirror images among them may leave several swaps about as good,
    or as bad: the channels are then reversed too, and so are those of lights that nobody knows.

    Parameters
    ----------
    lights : (k, 3)
        Of a session, in the order of its frames; NaN where nobody knows them.

    Returns
    -------
    (k,) int64, a permutation that is its own inverse

    >>> from pipeline.lights import from_angles
    >>> mirror_order(from_angles(40, [45, 135, 225, 315])).tolist()  # channels: 315, 45, 135, 225 degrees
    [3, 2, 1, 0]
    >>> mirror_order(from_angles(40, [0, 90, 180, 270])).tolist()  # channels: below, right, above, left
    [0, 3, 2, 1]
    """
    count = len(lights)
    reverse = np.arange(count)[::-1].copy()
    if not np.isfinite(lights).all():
        return reverse
    ordered = lights[light_order(lights)]
    apart = np.rad2deg(np.arccos(np.clip((ordered * [-1, 1, 1]) @ ordered.T, -1, 1))).round(3)
    places, nearest = np.arange(count), apart.argmin(axis=1)
    if (nearest[nearest] != places).any():  # two want the same
        nearest = _pairs(apart)
    return nearest if apart[places, nearest].sum() < CLEARLY * apart[places, reverse].sum() else reverse


def _pairs(costs: np.ndarray) -> np.ndarray:
    """The permutation (k,), its own inverse, of the least sum of symmetric costs (k, k): as a program in integers."""
    count = len(costs)
    one, other = np.triu_indices(count)  # pairs that may be chosen, a light with itself among them
    of = np.zeros((count, len(one)))
    of[one, range(len(one))] = of[other, range(len(one))] = 1
    weight = np.where(one == other, 1, 2) * costs[one, other]
    chosen = milp(weight, constraints=LinearConstraint(of, 1, 1), bounds=Bounds(0, 1), integrality=1).x > 0.5
    found = np.empty(count, dtype=np.int64)
    found[one[chosen]], found[other[chosen]] = other[chosen], one[chosen]
    return found
