"""The error of an age against loops over faces and resamples."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.verification import resample
from stages.evaluate.ages import age_scores


def test_errors_by_hand() -> None:
    rng = np.random.default_rng(1)
    age = rng.uniform(0, 80, 30)
    age[::7] = np.nan
    subjects = np.repeat([f"s{i}" for i in range(10)], 3)
    shares = rng.dirichlet(np.ones(101), 30)
    weights = resample(10, 50, rng)
    found = age_scores(shares, age, subjects, weights)
    known = [i for i in range(30) if i % 7]
    wrong = {i: sum(k * shares[i, k] for k in range(101)) - age[i] for i in known}
    assert found["mean_absolute_error"]["value"] == pytest.approx(np.mean([abs(e) for e in wrong.values()]))
    assert found["bias"]["value"] == pytest.approx(np.mean(list(wrong.values())))
    drawn = []
    for row in weights:
        times = {i: row[i // 3] for i in known}
        drawn.append(sum(times[i] * abs(wrong[i]) for i in known) / sum(times.values()))
    assert found["mean_absolute_error"]["low"] == pytest.approx(np.quantile(drawn, 0.025))
    assert found["counts"] == {"sessions": len(known), "subjects": 10}


def test_a_constant_is_what_an_age_is_held_against() -> None:
    """All say 30: an error of 20 where the ages are 10 and 50, which no constant betters."""
    shares, subjects = np.eye(101)[[30] * 4], np.array(["a", "a", "b", "b"])
    age = np.array([10.0, 50.0, 10.0, 50.0])
    found = age_scores(shares, age, subjects, np.ones((3, 2)))
    assert found["mean_absolute_error"]["value"] == found["constant"]["value"] == 20
    assert found["bias"] == {"value": 0, "low": 0, "high": 0}
    nobody = age_scores(shares, np.full(4, np.nan), subjects, np.ones((3, 2)))
    assert nobody == {"absent": "no session's age is known"}
