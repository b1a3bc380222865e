"""Verification rates against scikit-learn, plain loops, closed forms and properties over random inputs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from pipeline.errors import PsfaceError
from pipeline.verification import (
    cosine_matrix,
    difference,
    far_key,
    interval,
    matrix_pairs,
    pair_scores,
    rates,
    refused_far,
    resample,
    roc,
    verification,
)

EXACT = 1e-12


def random_matrix(seed: int, *, subjects: int = 6, sessions: int = 4, levels: int = 0, shift: float = 0.5):
    """A symmetric matrix of similarities whose genuine pairs are higher by `shift`; `levels` makes ties."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"s{i:02d}" for i in range(subjects)], sessions)
    noise = rng.normal(size=(len(labels), len(labels)))
    matrix = (noise + noise.T) / 2 + shift * (labels[:, None] == labels[None])
    return (np.round(matrix * levels) / levels if levels else matrix), labels


def listed_pairs(matrix, labels):
    """Score, truth and the two subjects of every pair, by a loop."""
    return [
        (matrix[i, j], labels[i] == labels[j], labels[i], labels[j])
        for i in range(len(labels))
        for j in range(i + 1, len(labels))
    ]


tied = st.integers(0, 10_000).flatmap(
    lambda seed: st.tuples(st.just(seed), st.sampled_from([0, 1, 3]), st.sampled_from([-0.5, 0.0, 1.0]))
)


def test_cosines_agree_with_a_loop():
    rows = np.random.default_rng(0).normal(size=(7, 5))
    rows[3] = 0
    found = cosine_matrix(rows)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            length = np.linalg.norm(a) * np.linalg.norm(b)
            assert found[i, j] == pytest.approx(a @ b / length if length else 0, abs=EXACT)


def test_every_pair_is_there_once():
    rows = np.random.default_rng(0).normal(size=(9, 4))
    labels = list("aabbbbccd")
    scores = pair_scores(rows, labels)
    expected = listed_pairs(cosine_matrix(rows), labels)
    assert list(scores.genuine) == pytest.approx(sorted((s for s, same, *_ in expected if same), reverse=True))
    assert list(scores.impostor) == pytest.approx(sorted((s for s, same, *_ in expected if not same), reverse=True))
    for score, (first, second) in zip(scores.impostor, scores.subjects[scores.impostor_subjects].T, strict=True):
        assert any(score == pytest.approx(s, abs=EXACT) and {a, b} == {first, second} for s, _, a, b in expected)


@given(tied)
def test_roc_auc_and_tar_are_sklearns(case):
    seed, levels, shift = case
    matrix, labels = random_matrix(seed, levels=levels, shift=shift)
    score, truth, *_ = zip(*listed_pairs(matrix, labels), strict=True)
    scores = matrix_pairs(matrix, labels)
    found = rates(scores, [0.1])
    fmr, tmr, _ = roc_curve(truth, score, drop_intermediate=False)
    assert np.allclose(np.stack(roc(scores)), [fmr, tmr], atol=EXACT)
    assert found["auc"][0] == pytest.approx(roc_auc_score(truth, score), abs=EXACT)
    assert found["tar@far=1e-1"][0] == pytest.approx(tmr[fmr <= 0.1].max(), abs=EXACT)


@given(tied)
def test_eer_is_where_the_roc_meets_the_diagonal(case):
    seed, levels, shift = case
    scores = matrix_pairs(*random_matrix(seed, levels=levels, shift=shift))
    found = rates(scores)["eer"][0]
    fmr, tmr = roc(scores)
    crossings = []
    for k in range(len(fmr) - 1):  # the point of each segment where fmr = 1 - tmr, if it is on the segment
        start, run = fmr[k] + tmr[k] - 1, fmr[k + 1] - fmr[k] + tmr[k + 1] - tmr[k]
        if run > 0 and 0 <= -start / run <= 1:
            crossings.append(fmr[k] - start / run * (fmr[k + 1] - fmr[k]))
    assert crossings
    assert np.allclose(crossings, found, atol=1e-9)


@given(tied)
def test_a_subject_drawn_twice_is_a_subject_copied(case):
    """Weights against sklearn on the list of pairs written out with its copies, copy against copy left out."""
    seed, levels, shift = case
    matrix, labels = random_matrix(seed, levels=levels, shift=shift)
    weight = resample(6, 1, np.random.default_rng(seed))
    times = dict(zip(np.unique(labels), weight[0], strict=True))
    copied = []
    for pair in listed_pairs(matrix, labels):
        _, same, first, second = pair
        copied += [pair] * (times[first] if same else times[first] * times[second])
    score, truth, *_ = zip(*copied, strict=True)
    found = rates(matrix_pairs(matrix, labels), [0.2], weights=weight)
    fmr, tmr, _ = roc_curve(truth, score, drop_intermediate=False)
    assert found["auc"][0] == pytest.approx(roc_auc_score(truth, score), abs=1e-9)
    assert found["tar@far=2e-1"][0] == pytest.approx(tmr[fmr <= 0.2 + EXACT].max(), abs=1e-9)


def test_gaussian_scores_have_the_closed_form():
    """Scores N(d, 1) and N(0, 1): AUC = Phi(d / sqrt 2), EER = Phi(-d / 2)."""
    matrix, labels = random_matrix(1, subjects=150, sessions=6, shift=0.0)
    matrix *= np.sqrt(2)  # (a + a') / 2 has a variance of one half
    matrix += 2.0 * (labels[:, None] == labels[None])
    found = rates(matrix_pairs(matrix, labels))
    assert found["auc"][0] == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.01)
    assert found["eer"][0] == pytest.approx(norm.cdf(-1), abs=0.01)


def test_perfect_and_inverted_and_constant_scores():
    matrix, labels = random_matrix(0)
    same = labels[:, None] == labels[None]
    perfect = {name: value[0] for name, value in rates(matrix_pairs(same, labels), [0.1]).items()}
    assert perfect == {"auc": 1.0, "eer": 0.0, "tar@far=1e-1": 1.0}
    inverted = {name: value[0] for name, value in rates(matrix_pairs(~same, labels), [0.1]).items()}
    assert inverted == {"auc": 0.0, "eer": 1.0, "tar@far=1e-1": 0.0}
    constant = {name: value[0] for name, value in rates(matrix_pairs(0 * matrix, labels), [0.1]).items()}
    assert constant == {"auc": 0.5, "eer": 0.5, "tar@far=1e-1": 0.0}


def test_a_random_predictor_is_at_one_half():
    found = rates(matrix_pairs(*random_matrix(3, subjects=60, sessions=5, shift=0.0)))
    assert found["auc"][0] == pytest.approx(0.5, abs=0.03)
    assert found["eer"][0] == pytest.approx(0.5, abs=0.03)


@given(tied, st.lists(st.floats(0.001, 0.999), min_size=2, max_size=6))
def test_tar_rises_with_far(case, fars):
    seed, levels, shift = case
    scores = matrix_pairs(*random_matrix(seed, levels=levels, shift=shift))
    tars = [rates(scores, [far])[far_key(far)][0] for far in sorted(fars)]
    assert all(a <= b for a, b in pairwise(tars))


@given(tied)
def test_monotone_maps_change_nothing(case):
    seed, levels, shift = case
    matrix, labels = random_matrix(seed, levels=levels, shift=shift)
    plain = rates(matrix_pairs(matrix, labels), [0.1])
    mapped = rates(matrix_pairs(np.arctan(3 * matrix) + 7, labels), [0.1])
    for name, value in plain.items():
        assert mapped[name][0] == pytest.approx(value[0], abs=EXACT)


def test_a_far_with_too_few_pairs_is_refused_with_the_reason():
    scores = matrix_pairs(*random_matrix(0, subjects=10, sessions=4))  # 720 impostor pairs
    assert refused_far(scores, 0.05) is None
    assert refused_far(scores, 0.01) == "720 impostor pairs; a FAR of 0.01 needs at least 3000"
    found = verification(scores, [0.05, 0.01], resample(10, 20, np.random.default_rng(0)))
    assert set(found["tar@far=5e-2"]) == {"value", "low", "high"}
    assert found["tar@far=1e-2"] == {"absent": refused_far(scores, 0.01)}


def test_names_of_fars():
    assert [far_key(f) for f in (1e-2, 1e-3, 0.05, 0.0025)] == [
        "tar@far=1e-2",
        "tar@far=1e-3",
        "tar@far=5e-2",
        "tar@far=2.5e-3",
    ]


@pytest.mark.parametrize(("labels", "words"), [(list("abcd"), "no genuine pair"), (list("aaaa"), "no impostor pair")])
def test_one_kind_of_pairs_alone_is_an_error(labels, words):
    with pytest.raises(PsfaceError, match=words):
        pair_scores(np.eye(4), labels)


def test_a_diverged_network_is_named():
    with pytest.raises(PsfaceError, match="1 of 4 embeddings are not finite"):
        pair_scores(np.where(np.eye(4) * [1, 0, 0, 0], np.nan, np.eye(4)), list("aabb"))


def test_a_weighting_without_pairs_has_no_rates():
    scores = matrix_pairs(*random_matrix(0, subjects=3))
    found = rates(scores, weights=[[3, 0, 0], [1, 1, 1]])
    assert np.isnan(found["auc"][0])
    assert np.isfinite(found["auc"][1])
    assert interval(0.5, found["auc"]) == {"value": 0.5, "low": found["auc"][1], "high": found["auc"][1]}
    assert interval(0.5, [np.nan]) == {"value": 0.5, "low": None, "high": None}


def test_an_interval_whose_draws_have_no_bound_has_none():
    """Infinite draws of a ratio were dropped, and its interval was as narrow as what was left of them."""
    draws = np.array([1.0, 2.0, 3.0] * 20 + [np.inf] * 20 + [np.nan])
    assert interval(2, draws) == {"value": 2.0, "low": 1.0, "high": None}
    few = np.array([1.0] * 999 + [np.inf])
    assert interval(1, few) == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert interval(1, [np.inf] * 3) == {"value": 1.0, "low": None, "high": None}


def test_a_run_does_not_differ_from_itself_and_pairing_narrows():
    rng = np.random.default_rng(0)
    weights = resample(20, 300, rng)
    matrix, labels = random_matrix(2, subjects=20, shift=1.0)
    other = matrix + 0.2 * random_matrix(3, subjects=20, shift=0.0)[0]
    first, second = matrix_pairs(matrix, labels), matrix_pairs(other, labels)
    assert difference(first, first, weights)["auc"] == {"value": 0, "low": 0, "high": 0, "above": 0}
    gap = difference(first, second, weights)["auc"]
    alone = verification(first, [], weights)["auc"]
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert gap["high"] - gap["low"] < (alone["high"] - alone["low"]) / 2
    with pytest.raises(ValueError, match="same sessions"):
        difference(first, matrix_pairs(*random_matrix(0)), weights)


def test_the_interval_covers():
    """Subjects differ in how recognisable they are: 95 % intervals must hold the truth about as often as they say."""
    rng = np.random.default_rng(5)
    truth = np.mean([rates(pair_scores(*_population(rng, 200)))["auc"][0] for _ in range(5)])
    held = 0
    for _ in range(100):
        scores = pair_scores(*_population(rng, 30))
        found = verification(scores, [], resample(30, 200, rng))["auc"]
        held += found["low"] <= truth <= found["high"]
    assert held >= 85


def _population(rng, subjects, sessions=3):
    centres = np.repeat(rng.normal(size=(subjects, 12)), sessions, axis=0)
    unrest = np.repeat(rng.uniform(0.5, 2.0, size=(subjects, 1)), sessions, axis=0)
    return centres + unrest * rng.normal(size=centres.shape), np.repeat(np.arange(subjects), sessions)
