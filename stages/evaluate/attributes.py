"""How well a run reads attributes: AUROC, balanced accuracy, F1 and confusions against the true label.

Missing labels are left out.

The AUROC is the chance that a session of the class is given a higher probability of it than a session of another
class, a tie counting half; with more than two classes it is the mean over the classes that occur, each against the
rest. Balanced accuracy is the mean over those classes of the share of their sessions whose most probable class is
right, so that the constant answer scores one over their number however skewed the data are. F1 is the mean over those
classes of 2 TP / (2 TP + FP + FN), which also falls when a rare class is answered too often.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.attributes import MISSING
from pipeline.verification import interval


def attribute_scores(
    probabilities: np.ndarray, truth: np.ndarray, subjects: np.ndarray, weights: np.ndarray
) -> dict[str, Any]:
    """AUROC, balanced accuracy and F1 with 95 % intervals by resampling subjects.

    Parameters
    ----------
    probabilities
        (N, n) of each class.
    truth
        (N,) true classes; -1 where missing.
    subjects
        (N,) labels, as sorted by `numpy.unique` the columns of `weights`.
    weights
        (R, S) how often each subject counts in each resample.

    Returns
    -------
    ``{"auroc": {"value", "low", "high"}, "balanced_accuracy": {...}, "f1": {...}}``, or ``{"absent": reason}`` where
    fewer than two classes occur. A resample that loses a class is left out of the interval.
    """
    known = truth != MISSING
    classes = np.unique(truth[known])
    if not known.any():
        return {"absent": "no session has the label"}
    if len(classes) < 2:
        return {"absent": f"all {known.sum()} labelled sessions are of one class"}
    codes = np.unique(subjects, return_inverse=True)[1][known]
    point = np.ones((1, known.sum()))
    draws = weights[:, codes].astype(np.float64)
    guess, scores, truth = probabilities[known].argmax(axis=1), probabilities[known], truth[known]
    return {
        "auroc": interval(_auroc(scores, truth, classes, point)[0], _auroc(scores, truth, classes, draws)),
        "balanced_accuracy": interval(_recall(guess, truth, classes, point)[0], _recall(guess, truth, classes, draws)),
        "f1": interval(_f1(guess, truth, classes, point)[0], _f1(guess, truth, classes, draws)),
    }


def confusion(guess: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """(n, n) labelled sessions by true class (row) and most probable class (column)."""
    table = np.zeros((classes, classes), dtype=int)
    known = truth != MISSING
    np.add.at(table, (truth[known], guess[known]), 1)
    return table


def class_counts(truth: np.ndarray, subjects: np.ndarray, names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Sessions and subjects by class name, and sessions without the label."""
    counts = {
        name: {"sessions": int((truth == i).sum()), "subjects": len(np.unique(subjects[truth == i]))}
        for i, name in enumerate(names)
    }
    return counts | {"missing": {"sessions": int((truth == MISSING).sum())}}


def _auroc(scores: np.ndarray, truth: np.ndarray, classes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) mean over the classes of each one's AUROC against the rest, under (R, N) weights; NaN where one is lost."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.mean([_one_auroc(scores[:, c], truth == c, weights) for c in _told_apart(classes)], axis=0)


def _told_apart(classes: np.ndarray) -> np.ndarray:
    """Of two classes one says it all: the second against the first."""
    return classes[1:] if len(classes) == 2 else classes


def _one_auroc(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    above = score[positive][:, None] - score[~positive][None]  # (P, Q)
    wins = (above > 0) + 0.5 * (above == 0)
    of_positive, of_negative = weights[:, positive], weights[:, ~positive]
    total = of_positive.sum(axis=1) * of_negative.sum(axis=1)
    return np.asarray(((of_positive @ wins) * of_negative).sum(axis=1) / total)


def _recall(guess: np.ndarray, truth: np.ndarray, classes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) mean over the classes of the share that is guessed right, under (R, N) weights; NaN where one is lost."""
    right = weights * (guess == truth)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [right[:, truth == c].sum(axis=1) / weights[:, truth == c].sum(axis=1) for c in classes]
    return np.mean(shares, axis=0)


def _f1(guess: np.ndarray, truth: np.ndarray, classes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) mean over the classes of 2 TP / (2 TP + FP + FN), under (R, N) weights; NaN where a class is lost."""
    shares = []
    for c in classes:
        said, true = weights[:, guess == c].sum(axis=1), weights[:, truth == c].sum(axis=1)
        both = weights[:, (guess == c) & (truth == c)].sum(axis=1)
        shares.append(np.where(true > 0, 2 * both / np.maximum(said + true, 1), np.nan))
    return np.mean(shares, axis=0)
