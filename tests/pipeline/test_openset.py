"""Open-set searches against a loop over probes, and full galleries against the ranks of a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.identification import full_ranks, protocols
from pipeline.openset import open_set, open_set_rates
from pipeline.verification import resample


def case(seed: int, sizes=(2, 3, 1, 2, 4), levels: int = 0):
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
    matrix = rng.normal(size=(len(subjects),) * 2)
    matrix = matrix + matrix.T + 1.5 * (subjects[:, None] == subjects)
    return np.round(matrix * levels) if levels else matrix, subjects


def searched(matrix, subjects, fpir):
    """FNIR by trying every score as the threshold, from the highest down."""
    own, other = [], []
    for p in range(len(subjects)):
        mates = [matrix[p, g] for g in range(len(subjects)) if g != p and subjects[g] == subjects[p]]
        own.append(max(mates) if mates else None)
        other.append(max(matrix[p, g] for g in range(len(subjects)) if subjects[g] != subjects[p]))
    best = 1.0
    for t in [np.inf, *sorted({*(o for o in own if o is not None), *other}, reverse=True)]:
        if np.mean([o >= t for o in other]) > fpir + 1e-12:
            break
        mated = [(o, x) for o, x in zip(own, other, strict=True) if o is not None]
        best = min(best, np.mean([not (o >= t and o > x) for o, x in mated]))
    return best


@given(st.integers(0, 500), st.sampled_from([0, 1]), st.sampled_from([0.1, 0.3, 0.6]))
def test_is_the_loops(seed, levels, fpir):
    matrix, subjects = case(seed, levels=levels)
    assert open_set(matrix, subjects).fnir([fpir])[0, 0] == pytest.approx(searched(matrix, subjects, fpir))


def test_a_subject_drawn_twice_is_two_of_his_probes():
    matrix, subjects = case(1)
    found = open_set(matrix, subjects)
    weights = np.array([[2, 0, 1, 1, 1]])
    rows = np.concatenate([np.flatnonzero(found.codes == c).repeat(w) for c, w in enumerate(weights[0])])
    copied = type(found)(found.own[rows], found.other[rows], found.codes[rows])
    assert found.fnir([0.3], weights)[0, 0] == pytest.approx(copied.fnir([0.3])[0, 0])


def test_an_fpir_of_too_few_probes_is_refused():
    matrix, subjects = case(0, sizes=(4,) * 80)
    rates = open_set_rates(open_set(matrix, subjects), (0.1, 0.01), resample(80, 50, np.random.default_rng(0)))
    assert rates["fnir@fpir=1e-1"]["low"] <= rates["fnir@fpir=1e-1"]["value"] <= rates["fnir@fpir=1e-1"]["high"]
    assert rates["fnir@fpir=1e-2"] == {"absent": "320 probes; an FPIR of 0.01 needs at least 3000"}


@given(st.integers(0, 500), st.sampled_from([0, 1]))
def test_the_full_gallery_is_the_loops(seed, levels):
    matrix, subjects = case(seed, levels=levels)
    everyone = np.ones(len(subjects), dtype=bool)
    ranks = []
    for p in range(len(subjects)):
        mates = [matrix[p, g] for g in range(len(subjects)) if g != p and subjects[g] == subjects[p]]
        if mates:
            best = [matrix[p, subjects == s].max() for s in np.unique(subjects) if s != subjects[p]]
            ranks.append(1 + sum(b >= max(mates) for b in best))
    found = full_ranks(matrix, subjects, gallery=everyone, probes=everyone)
    assert np.allclose(found.cmc(), [(np.array(ranks) <= k).mean() for k in range(1, 6)])
    assert found.probes.sum() == len(ranks)


def test_more_gallery_sessions_help_and_macro_counts_subjects_alike():
    rng = np.random.default_rng(0)
    sizes = (40, *(3,) * 20)
    subjects = np.repeat([f"s{i:02d}" for i in range(21)], sizes)
    vectors = rng.normal(size=(21, 8)).repeat(sizes, axis=0) + 0.5 * rng.normal(size=(100, 8))
    vectors[:40] += 3 * rng.normal(size=(40, 8))  # the one who came often is hard
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = protocols(vectors @ vectors.T, subjects, np.array(["a"] * 100))
    assert found["overall_full"].cmc()[0] > found["overall"].cmc()[0]
    by_subject = found["overall"].found[:, 0] / found["overall"].probes
    assert found["overall"].macro().cmc()[0] == pytest.approx(by_subject.mean())
    assert found["overall"].macro().cmc()[0] > found["overall"].cmc()[0] + 0.1
