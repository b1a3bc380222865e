"""Pairs in folds, as in LFW: the threshold is found on all folds but one, and tried on that one.

A file may list the pairs (`stages.evaluate.pairs`). Without one they are drawn: the subjects are dealt to ten folds,
each fold's genuine pairs are its subjects', and as many impostor pairs are drawn among them, so that no subject is in
two folds.

References: G. B. Huang et al., "Labeled Faces in the Wild", UMass Amherst TR 07-49, 2007 (View 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import t as student_t

from stages.evaluate.pairs import FOLDS, Pairs

MOST_PAIRS = 300  # genuine pairs of a drawn fold
FEWEST = 20  # subjects to draw folds from


def draw_pairs(subjects: np.ndarray, rng: np.random.Generator) -> Pairs | str:
    """Pairs in ten folds of subjects apart, or why there are none."""
    names, codes = np.unique(subjects, return_inverse=True)
    if len(names) < FEWEST:
        return f"{len(names)} subjects; ten folds need at least {FEWEST}"
    fold_of = rng.permutation(len(names)) % FOLDS
    rows, same, folds = [], [], []
    for fold in range(FOLDS):
        members = np.flatnonzero(fold_of[codes] == fold)
        pair = members[np.stack(np.triu_indices(len(members), k=1))]
        genuine = codes[pair[0]] == codes[pair[1]]
        count = min(MOST_PAIRS, genuine.sum(), (~genuine).sum())
        if not count:
            return "a fold has no genuine or no impostor pair"
        for kind in (genuine, ~genuine):
            rows.append(pair[:, rng.choice(np.flatnonzero(kind), count, replace=False)])
            same.append(np.full(count, kind is genuine))
            folds.append(np.full(count, fold))
    return Pairs(np.concatenate(rows, axis=1), np.concatenate(same), np.concatenate(folds))


def fold_accuracy(similarity: np.ndarray, pairs: Pairs) -> dict[str, Any]:
    """Mean accuracy over the folds, its standard error, and as `low` and `high` the 95 % of Student's t about it.

    Pairs whose similarity is NaN are left out.
    """
    score = similarity[pairs.rows[0], pairs.rows[1]]
    known = ~np.isnan(score)
    score, pairs = score[known], Pairs(pairs.rows[:, known], pairs.same[known], pairs.fold[known])
    names = np.unique(pairs.fold)
    found = []
    for fold in names:
        out = pairs.fold == fold
        found.append(((score[out] > _best_threshold(score[~out], pairs.same[~out])) == pairs.same[out]).mean())
    mean, error = float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found)))
    away = float(student_t.ppf(0.975, len(found) - 1)) * error  # of as many folds as they are: of ten 2.26 errors
    spread = {"low": max(0.0, mean - away), "high": min(1.0, mean + away), "standard_error": error}
    counts = {"folds": len(names), "genuine": int(pairs.same.sum()), "impostor": int((~pairs.same).sum())}
    return {"accuracy": {"value": mean, **spread}, "counts": counts}


def _best_threshold(score: np.ndarray, same: np.ndarray) -> float:
    """The threshold of the highest accuracy, midway between two scores; the lowest of several."""
    order = np.argsort(score, kind="stable")
    ranked, genuine = score[order], same[order]
    right = np.concatenate([[genuine.sum()], genuine.sum() + np.cumsum(1 - 2 * genuine.astype(int))])  # k refused
    apart = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])  # no threshold parts a tie
    best = int(np.argmax(np.where(apart, right, -1)))
    edges = np.concatenate([[ranked[0] - 1], ranked, [ranked[-1] + 1]])
    return float((edges[best] + edges[best + 1]) / 2)
