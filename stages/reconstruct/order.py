"""Frames that are out of order against their lights, told by Lambert's residual.

Pixels that every flash lights obey ``(I - L L+) x = 0`` (k > 3). With the mean of ``x x^T`` over such pixels the
residual of any order of the lights is one trace, so that all orders of six flashes, and all exchanges of two of more,
are tried at once. An order is called wrong where another leaves far less; of those that leave as little, the one that
moves the fewest frames is named. Orders that turn the rig into itself leave the same residual and are not told apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

ALL = 6  # flashes up to which all orders are tried
BAD = 0.1  # relative residual from which an order is doubted
BETTER = 0.4  # of that residual is what another order may leave at most, to be believed
ALIKE = 1.1  # times the least residual: orders that are as good


def disorder(samples: np.ndarray, lights: np.ndarray) -> list[str]:
    """A note where samples (k, P), strength divided out, fit the lights (k, 3) far better in another order."""
    k = len(lights)
    bright = (samples > 0.3 * samples.max(axis=0)).all(axis=0) & (samples.max(axis=0) > 0.05)
    if k < 4 or bright.sum() < 64:
        return []
    unit = samples[:, bright] / np.linalg.norm(samples[:, bright], axis=0)
    spread = (unit @ unit.T / unit.shape[1]).astype(float)
    given = residual(spread, lights)
    if given < BAD:
        return []
    found = [(residual(spread, lights[list(order)]), order) for order in orders(k)]
    least = min(left for left, _ in found)
    if least > BETTER * given:
        return []
    good = (order for left, order in found if left <= ALIKE * least + 1e-9)
    best = min(good, key=lambda order: sum(at != i for i, at in enumerate(order)))
    moved = ", ".join(f"frame {i} with light {at}" for i, at in enumerate(best) if at != i)
    return [
        f"the frames seem out of order against their lights: {moved} would leave {least / given:.0%} of the residual"
    ]


def residual(spread: np.ndarray, lights: np.ndarray) -> float:
    """Relative RMS of what lights (k, 3) leave of unit samples with mean outer product ``spread`` (k, k)."""
    projector = np.eye(len(lights)) - lights @ np.linalg.pinv(lights)
    return float(np.sqrt(max(np.sum(projector * spread), 0.0)))


def orders(count: int) -> Iterator[tuple[int, ...]]:
    """All orders of up to `ALL` lights; of more, the exchanges of two, the turns and the reverse."""
    if count <= ALL:
        yield from itertools.permutations(range(count))
        return
    for one, other in itertools.combinations(range(count), 2):
        order = list(range(count))
        order[one], order[other] = other, one
        yield tuple(order)
    for turn in range(1, count):
        yield tuple((i + turn) % count for i in range(count))
    yield tuple(reversed(range(count)))
