"""Error versus discard, accuracy in folds, and the examples that are shown."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.verification import matrix_pairs, resample
from stages.evaluate.folds import draw_pairs, fold_accuracy
from stages.evaluate.pairs import Pairs
from stages.evaluate.quality import error_versus_discard, qualities
from stages.evaluate.retrieval import choose_examples


def population(seed: int = 0, subjects: int = 40, each: int = 6):
    """Sessions of unequal noise, of which `good` knows."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"s{i:02d}" for i in range(subjects)], each)
    noise = rng.uniform(0.2, 1.6, size=len(labels))
    vectors = rng.normal(size=(subjects, 12)).repeat(each, axis=0) + noise[:, None] * rng.normal(size=(len(labels), 12))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T, labels, -noise, rng


def test_a_quality_that_knows_lowers_the_error_and_chance_does_not():
    similarity, labels, good, rng = population()
    weights = resample(40, 100, rng)
    quality = {"good": good, "chance": rng.normal(size=len(labels))}
    found, curves = error_versus_discard(matrix_pairs(similarity, labels), quality, weights)
    assert found["fmr"] == 0.01  # 28,080 impostor pairs are too few for 1e-3
    assert found["good"]["gain"]["low"] > 0
    assert found["chance"]["gain"]["low"] < 0 < found["chance"]["gain"]["high"] + 0.02
    assert curves["good"].iloc[0] == pytest.approx(found["start"]["value"])
    row = curves[curves["discard"] == 0.2].iloc[0]
    assert row["good"] == pytest.approx(found["good"]["fnmr@discard=0.2"]["value"])
    assert curves["good_fixed"].iloc[10] < curves["good_fixed"].iloc[0]


def test_the_pairs_dropped_are_those_of_the_lower_of_two_qualities():
    similarity, labels, good, _ = population()
    scores = matrix_pairs(similarity, labels)
    found, _ = error_versus_discard(scores, {"good": good}, np.ones((1, 40)))
    pooled = np.concatenate([good[rows].min(axis=0) for rows in (scores.genuine_sessions, scores.impostor_sessions)])
    left = sum(found["good"]["counts"].values())
    assert left == (pooled >= np.sort(pooled)[round(0.2 * len(pooled))]).sum()
    assert left / len(pooled) == pytest.approx(0.8, abs=0.01)  # pairs of one bad session are tied


def test_a_quality_that_is_unknown_or_constant_is_left_out():
    facts = {"residual": np.zeros(3), "integrability": np.array([1, np.nan, 2]), "detector": np.array([0.9, 1, 1])}
    found = qualities(np.array([[3.0, 4], [1, 0], [0, 2]]), facts)
    assert list(found) == ["norm", "detector"]
    assert found["norm"].tolist() == [5, 1, 2]


def test_drawn_folds_share_no_subject_and_balance():
    similarity, labels, *_ = population()
    pairs = draw_pairs(labels, np.random.default_rng(0))
    of = {fold: set(labels[pairs.rows[:, pairs.fold == fold]].ravel()) for fold in range(10)}
    assert sum(len(members) for members in of.values()) == len(set().union(*of.values()))
    assert pairs.same.mean() == 0.5
    found = fold_accuracy(similarity, pairs)
    assert 0.6 < found["accuracy"]["low"] < found["accuracy"]["value"] < 1
    assert draw_pairs(labels[:60], np.random.default_rng(0)) == "10 subjects; ten folds need at least 20"


def test_the_threshold_is_found_without_the_fold_it_is_tried_on():
    """Two folds whose best thresholds differ: .5 and .0; each is tried at the other's."""
    similarity = np.zeros((8, 8))
    for pair, score in zip(((0, 1), (2, 3), (4, 5), (6, 7)), (0.6, 0.4, 0.1, -0.1), strict=True):
        similarity[pair] = score
    rows, same, fold = np.array([[0, 2, 4, 6], [1, 3, 5, 7]]), np.array([True, False] * 2), np.array([0, 0, 1, 1])
    found = fold_accuracy(similarity, Pairs(rows, same, fold))["accuracy"]
    assert found["value"] == 0.5
    assert found["standard_error"] == 0


def test_the_interval_of_ten_folds_is_students():
    """One fold of ten is wrong in half of its pairs: mean .95, deviation .158, so .05 of error, 2.262 times."""
    similarity, rows, same = np.zeros((40, 40)), np.arange(40).reshape(20, 2).T, np.tile([True, False], 10)
    similarity[rows[0], rows[1]] = np.where(same, 1.0, 0.0)
    similarity[rows[0, 0], rows[1, 0]] = -1
    found = fold_accuracy(similarity, Pairs(rows, same, np.repeat(np.arange(10), 2)))["accuracy"]
    assert found["value"] == pytest.approx(0.95)
    assert found["low"] == pytest.approx(0.95 - 2.262157 * 0.05, abs=1e-6)
    assert found["high"] == 1


def test_examples_are_chosen_by_their_margin():
    similarity, labels, *_ = population(each=4)
    found = {each.kind: each for each in choose_examples(similarity, labels)}
    assert list(found) == ["clearest hit", "median hit", "narrowest hit", "narrowest miss", "median miss", "worst miss"]
    margins = [each.margin for each in found.values()]
    assert margins == sorted(margins, reverse=True)
    for each in found.values():
        assert each.probe not in each.found
        assert len(each.found) == 5
        assert (labels[each.found[0]] == labels[each.probe]) == (each.margin > 0)
    worst = min((similarity[p, (labels == labels[p]) & (np.arange(160) != p)].max()
                 - similarity[p, labels != labels[p]].max()) for p in range(160))  # fmt: skip
    assert found["worst miss"].margin == pytest.approx(worst)


def test_without_misses_none_are_shown():
    labels = np.repeat(list("abc"), 2)
    found = choose_examples((labels[:, None] == labels).astype(float), labels)
    assert [each.kind for each in found] == ["clearest hit", "median hit", "narrowest hit"]
