"""All pairs streamed: the rates of `pipeline.verification`, to the last tie, in constant memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pipeline.errors import PsfaceError
from pipeline.verification import allpairs, cosine_matrix, distance_matrix, matrix_pairs, rates, roc
from pipeline.verification.allpairs import count_all_pairs

FARS = (0.1, 0.01)


def drawn(seed: int, subjects: int = 40, each: int = 5, dimension: int = 16):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(subjects, dimension)).repeat(each, axis=0)
    order = rng.permutation(subjects * each)
    vectors = (centres + rng.normal(size=centres.shape)).astype(np.float32)
    return vectors[order], np.repeat([f"s{i}" for i in range(subjects)], each)[order]


def signs(seed: int, dimension: int = 16):
    """Vectors of +1 and -1: every cosine is exact in float32, and most are tied."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], size=(60, dimension)).astype(np.float32), rng.integers(0, 12, size=60)


@pytest.mark.parametrize("euclidean", [False, True])
def test_the_rates_are_those_of_the_whole_matrix(euclidean):
    vectors, subjects = drawn(0)
    found = count_all_pairs(vectors, subjects, euclidean=euclidean)
    scores = matrix_pairs(-distance_matrix(vectors) if euclidean else cosine_matrix(vectors), subjects)
    assert (found.genuine.sum(), found.impostor.sum()) == (len(scores.genuine), len(scores.impostor))
    for name, value in rates(scores, FARS).items():
        assert found.rates(FARS)[name] == pytest.approx(value[0], abs=1e-6)


@given(st.integers(0, 200), st.sampled_from([4, 16]))
def test_ties_count_to_the_last(seed, dimension):
    vectors, subjects = signs(seed, dimension)
    found = count_all_pairs(vectors, subjects).rates((0.1,))
    matrix = cosine_matrix(vectors)
    pair = np.triu_indices(len(subjects), k=1)
    assert found["auc"] == pytest.approx(roc_auc_score((subjects[:, None] == subjects)[pair], matrix[pair]), abs=1e-12)
    for name, value in rates(matrix_pairs(matrix, subjects), (0.1,)).items():
        assert found[name] == pytest.approx(value[0], abs=1e-12)


def test_blocks_and_bins_change_nothing(monkeypatch):
    vectors, subjects = drawn(1)
    whole = count_all_pairs(vectors, subjects)
    for rows, columns, bins in ((7, 13, 64), (1, 3, 1 << 10)):
        monkeypatch.setattr(allpairs, "ROWS", rows)
        monkeypatch.setattr(allpairs, "COLUMNS", columns)
        monkeypatch.setattr(allpairs, "BINS", bins)
        assert count_all_pairs(vectors, subjects).rates() == pytest.approx(whole.rates(), abs=1e-5)


def test_the_curve_is_the_rocs():
    vectors, subjects = signs(3)
    fmr, tmr = count_all_pairs(vectors, subjects).roc()
    exact = set(
        zip(*(each.round(9).tolist() for each in roc(matrix_pairs(cosine_matrix(vectors), subjects))), strict=True)
    )
    assert set(zip(fmr.round(9).tolist(), tmr.round(9).tolist(), strict=True)) <= exact


def test_a_far_that_thirty_pairs_do_not_decide_is_left_out():
    vectors, subjects = drawn(0)  # 19,500 impostor pairs
    assert set(count_all_pairs(vectors, subjects).rates((0.01, 0.001))) == {"auc", "eer", "tar@far=1e-2"}


def test_the_share_done_ends_at_one():
    told = []
    count_all_pairs(*drawn(0), progress=told.append)
    assert told[-1] == 1


def test_memory_is_not_quadratic():
    """The thesis compared all pairs as three N x N masks: 6,000 embeddings would be 288 MB for one matrix here."""
    vectors, subjects = drawn(0, subjects=1200, dimension=8)
    tracemalloc.start()
    count_all_pairs(vectors, subjects)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 240e6  # blocks, bins and their copies in two threads; it does not grow with N


@pytest.mark.parametrize(
    ("vectors", "subjects", "words"),
    [
        (np.eye(4), list("abcd"), "no genuine pair"),
        (np.eye(4), list("aaaa"), "no impostor pair"),
        (np.full((4, 4), np.nan), list("aabb"), "4 of 4 embeddings are not finite"),
    ],
)
def test_what_has_no_rates_says_why(vectors, subjects, words):
    with pytest.raises(PsfaceError, match=words):
        count_all_pairs(vectors, np.array(subjects))
