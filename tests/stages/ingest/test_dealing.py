"""Dealing lights: disjoint, well conditioned, and as good as trying every deal."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pipeline.lights import condition, from_angles
from stages.ingest.dealing import best_deal, conditions, deal


def some_lights(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return from_angles(rng.uniform(5, 50, count), rng.uniform(-180, 180, count))


@pytest.mark.parametrize("seed", range(8))
def test_no_other_deal_of_six_or_seven_lights_is_better(seed: int) -> None:
    lights = some_lights(6 + seed % 2, seed)
    everything = set(range(len(lights)))
    best = min(
        max(condition(lights[list(a)]), condition(lights[list(b)]))
        for a in combinations(everything, 3)
        for b in combinations(everything - set(a), 3)
    )
    found = best_deal(lights, 2, 3, seed=1)
    assert max(condition(lights[list(s)]) for s in found) == pytest.approx(best)


@pytest.mark.parametrize(("count", "flashes"), [(27, 4), (20, 5), (11, 3)])
def test_deals_are_disjoint_conditioned_and_repeatable(count: int, flashes: int) -> None:
    lights = some_lights(count, 3)
    dealt = deal(lights, flashes, max_condition=8, seed=5)
    assert len(dealt) >= 1
    assert dealt.size == len(np.unique(dealt))
    worst = [condition(lights[s]) for s in dealt]
    assert max(worst) <= 8
    assert worst == sorted(worst)
    np.testing.assert_array_equal(dealt, deal(lights, flashes, max_condition=8, seed=5))


def test_fewer_sessions_are_dealt_rather_than_bad_ones() -> None:
    near = from_angles(np.full(4, 3.0), np.arange(4) * 90.0)
    wide = from_angles(np.full(4, 40.0), np.arange(4) * 90.0)
    lights = np.concatenate([near, wide])
    strict = deal(lights, 4, max_condition=2, seed=0)
    assert sorted(strict[0]) == [4, 5, 6, 7]
    assert len(strict) == 1
    assert len(deal(lights, 4, max_condition=5, seed=0)) == 2
    assert deal(near, 4, max_condition=2, seed=0).shape == (0, 4)
    assert deal(near[:2], 4, max_condition=2, seed=0).shape == (0, 4)


def test_conditions_agree_with_the_shared_definition() -> None:
    lights = some_lights(12, 9).reshape(3, 4, 3)
    np.testing.assert_allclose(conditions(lights), [condition(each) for each in lights])
