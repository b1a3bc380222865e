"""Whose errors stand behind an AUC."""

import numpy as np
import pytest

from benchmarks.auc_hides import of_few_people, of_low_norms, refused
from pipeline.verification import matrix_pairs


def scores_with_one_hard_person() -> tuple[np.ndarray, np.ndarray]:
    """Similarities of 20 people, 3 sessions each: the genuine pairs of person 4 score below every impostor pair."""
    subjects = np.repeat(np.arange(20), 3)
    impostors = np.random.default_rng(7).uniform(0, 0.5, size=(60, 60))
    matrix = np.where(subjects[:, None] == subjects, 1.0, (impostors + impostors.T) / 2)
    hard = subjects == 4
    matrix[np.ix_(hard, hard)] = -1
    return matrix, subjects


def test_the_errors_of_one_person_are_of_a_tenth_of_the_people() -> None:
    matrix, subjects = scores_with_one_hard_person()
    scores = matrix_pairs(matrix, subjects)
    wrong = refused(scores, 0.01)
    assert wrong.sum() == 3
    assert of_few_people(scores, wrong) == 1
    spread = np.zeros_like(wrong)
    spread[np.unique(scores.genuine_subject, return_index=True)[1]] = True  # one of each person
    assert of_few_people(scores, spread) == 0.1


@pytest.mark.parametrize(("norm", "share"), [(1.0, 1.0), (3.0, 0.0)])
def test_errors_among_low_norms_are_counted_by_the_lower_norm_of_a_pair(norm: float, share: float) -> None:
    matrix, subjects = scores_with_one_hard_person()
    scores = matrix_pairs(matrix, subjects)
    norms = np.full(60, 2.0)
    norms[12:14] = norm  # two of the three sessions of person 4: each of the three pairs has one of them
    norms[30:33] = 1.5
    assert of_low_norms(scores, refused(scores, 0.01), norms) == pytest.approx(share)


def test_norms_that_are_all_alike_tell_nothing() -> None:
    matrix, subjects = scores_with_one_hard_person()
    scores = matrix_pairs(matrix, subjects)
    assert np.isnan(of_low_norms(scores, refused(scores, 0.01), np.full(60, 2.0)))
