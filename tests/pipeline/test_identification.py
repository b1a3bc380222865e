"""The expected CMC against every choice of the gallery, written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.identification import Ranks, expected_ranks, protocols


def case(seed: int, sizes=(2, 3, 1, 2), levels: int = 0):
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
    matrix = rng.normal(size=(len(subjects),) * 2)
    matrix = matrix + matrix.T + (subjects[:, None] == subjects)
    return np.round(matrix * levels) if levels else matrix, subjects


def every_gallery(matrix, subjects, gallery, probes):
    """CMC by running over all galleries of one session a subject: identified at rank <= k, over all probes."""
    choices = [np.flatnonzero((subjects == s) & gallery) for s in np.unique(subjects[gallery])]
    size = len(choices)
    found, tried = np.zeros(size), 0
    for drawn in product(*choices):
        for probe in np.flatnonzero(probes):
            own = [g for g in drawn if subjects[g] == subjects[probe]]
            if probe in drawn or not own:
                continue
            rank = 1 + sum(matrix[probe, g] >= matrix[probe, own[0]] for g in drawn if g != own[0])
            found[rank - 1 :] += 1
            tried += 1
    return found / tried


@given(st.integers(0, 1000), st.sampled_from([0, 1]))
def test_is_the_mean_over_every_gallery(seed, levels):
    matrix, subjects = case(seed, levels=levels)
    everyone = np.ones(len(subjects), dtype=bool)
    ranks = expected_ranks(matrix, subjects, gallery=everyone, probes=everyone)
    assert np.allclose(ranks.cmc(), every_gallery(matrix, subjects, everyone, everyone))
    assert ranks.probes.sum() == pytest.approx(len(subjects) - 4)  # all but one session a subject


@given(st.integers(0, 1000))
def test_gallery_and_probes_apart(seed):
    matrix, subjects = case(seed, sizes=(3, 3, 2, 2))
    gallery = np.random.default_rng(seed + 1).random(len(subjects)) < 0.5
    gallery[[0, 3]] = True
    ranks = expected_ranks(matrix, subjects, gallery=gallery, probes=~gallery)
    if ranks.probes.any():
        assert np.allclose(ranks.cmc(), every_gallery(matrix, subjects, gallery, ~gallery))


@given(st.integers(0, 1000))
def test_the_cmc_is_monotone_and_ends_at_one(seed):
    matrix, subjects = case(seed, sizes=(3, 4, 2))
    everyone = np.ones(len(subjects), dtype=bool)
    cmc = expected_ranks(matrix, subjects, gallery=everyone, probes=everyone).cmc()
    assert np.all(np.diff(cmc) >= -1e-12)
    assert cmc[-1] == pytest.approx(1)


def test_scores_without_meaning_find_the_chance():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(50).astype(str), 6)
    matrix = rng.normal(size=(300, 300))
    everyone = np.ones(300, dtype=bool)
    cmc = expected_ranks(matrix, subjects, gallery=everyone, probes=everyone).cmc()
    assert cmc[0] == pytest.approx(1 / 50, abs=0.01)
    assert cmc[24] == pytest.approx(0.5, abs=0.05)


def test_ties_are_no_identification():
    ranks = expected_ranks(
        np.ones((4, 4)), np.array(list("aabb")), gallery=np.ones(4, dtype=bool), probes=np.ones(4, dtype=bool)
    )
    assert list(ranks.cmc()) == [0, 1]


def test_rigs():
    """A matrix that only tells the subjects apart within a rig."""
    subjects, rigs = np.repeat(list("abc"), 4), np.tile(["near", "near", "wide", "wide"], 3)
    matrix = (subjects[:, None] == subjects) * np.where(rigs[:, None] == rigs, 1.0, -1.0)
    found = protocols(matrix, subjects, rigs)
    assert found["same_rig"].cmc()[0] == 1
    assert found["across_rigs"].cmc()[0] == 0
    assert found["same_rig"].galleries == {"near": 3, "wide": 3}
    assert found["same_rig"].probes.sum() == 6  # each subject, each rig: one session left beside the gallery's
    assert found["across_rigs"].probes.sum() == 12
    assert found["overall"].probes.sum() == 9


def test_a_protocol_without_probes_says_why():
    found = protocols(np.eye(4), np.array(list("aabb")), np.array(["near"] * 4))
    assert found["across_rigs"] == "all sessions are from one rig"
    found = protocols(np.eye(4), np.array(list("aabb")), np.array(["near", "wide"] * 2))
    assert found["same_rig"] == "no subject has two sessions at one rig"
    assert isinstance(found["across_rigs"], Ranks)


def test_intervals_resample_the_probes_subjects():
    ranks = Ranks(found=np.array([[1.0, 2], [0, 2]]), probes=np.array([2.0, 2]), galleries={"": 2})
    rates = ranks.intervals(np.array([[2, 0], [0, 2], [1, 1]]))
    assert rates[0]["value"] == 0.25
    assert rates[0]["low"] == pytest.approx(0.0125)  # quantiles of 0.5, 0, 0.25
    assert rates[0]["high"] == pytest.approx(0.4875)
    assert rates[1] == {"value": 1, "low": 1, "high": 1}
