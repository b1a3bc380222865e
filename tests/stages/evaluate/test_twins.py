"""One visit with and without its mask is no genuine pair, anywhere in what is counted of a run."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.fitting import verify
from pipeline.identification import rank1_pairs
from pipeline.samples import Samples
from pipeline.verification import twins
from stages.evaluate.folds import Pairs, fold_accuracy
from stages.evaluate.retrieval import choose_examples
from stages.evaluate.scoring import recognise

SUBJECTS = np.repeat([f"{i}" for i in range(6)], 4)
VISITS = [f"{subject}/{visit}{mask}" for subject in range(6) for visit in "ab" for mask in ("", "-masked")]
SESSIONS = np.array(VISITS)
RIGS = np.array(["r"] * 24)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Each visit's two are the same vector, and otherwise nobody is like anybody."""
    return np.random.default_rng(3).normal(size=(12, 400)).repeat(2, axis=0)


def test_they_are_known_by_their_names_where_both_are_there() -> None:
    assert twins(SESSIONS[[1, 0, 2, 5]]).tolist() == [[1], [0]]
    assert twins(["0/x", "1/x-masked"]).shape == (2, 0)


def test_no_rate_counts_them(vectors: np.ndarray) -> None:
    found = recognise(vectors, SESSIONS, SUBJECTS, RIGS)
    for scores in (found.scores, found.distances):
        assert len(scores.genuine) == 6 * 4  # of six pairs of four sessions two are twins
        assert len(scores.impostor) == 15 * 16
    assert found.scores.genuine.max() < 0.5  # twins would have 1
    overall, full = found.ranks["overall"], found.ranks["overall_full"]
    assert not isinstance(overall, str)
    assert not isinstance(full, str)
    assert overall.probes.sum() == pytest.approx(24 * 2 / 4)  # twice in four is the gallery neither itself nor its twin
    assert overall.cmc()[0] < 0.6
    assert full.cmc()[0] < 0.6
    assert found.searches.own.max() < 0.5
    probe, own, _, _ = rank1_pairs(found.similarity, SUBJECTS)
    assert not (probe // 2 == own // 2).any()


def test_nor_folds_nor_pictures(vectors: np.ndarray) -> None:
    found = recognise(vectors, SESSIONS, SUBJECTS, RIGS)
    pairs = Pairs(np.array([[0, 0, 8, 8, 0], [1, 2, 10, 12, 12]]), np.array([True, True, True, False, False]),
                  np.array([0, 0, 1, 1, 0]))  # fmt: skip
    assert fold_accuracy(found.similarity, pairs)["counts"] == {"folds": 2, "genuine": 2, "impostor": 2}
    for example in choose_examples(found.similarity, SUBJECTS):
        assert example.probe // 2 not in example.found // 2


def test_nor_the_choice_on_validation(vectors: np.ndarray) -> None:
    ones = np.ones(24)
    assert verify(vectors, Samples(SESSIONS, SUBJECTS, np.arange(24), {}, ones))["auc"] < 0.7
    strangers = np.array([name.replace("-masked", "-other") for name in SESSIONS])
    assert verify(vectors, Samples(strangers, SUBJECTS, np.arange(24), {}, ones))["auc"] > 0.6
