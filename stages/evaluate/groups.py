"""Rates of groups of pairs at one threshold, and how far they move with the subjects.

The threshold is that of all test pairs at a FAR of `OPERATING`; it stays while the subjects are resampled, so that a
group's rate is a share of its own pairs, and groups can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.verification import PairScores, interval, refused_far, threshold_at
from pipeline.verification.counting import PairCounts, curve_of

OPERATING = 0.01


@dataclass(frozen=True)
class Share:
    """A share of pairs, and its (R,) resamples."""

    value: float
    draws: np.ndarray
    of: int
    taken: int

    def rate(self) -> dict[str, float | None]:
        """``{"value", "low", "high"}``."""
        return interval(self.value, self.draws)


@dataclass(frozen=True)
class Operating:
    """All pairs, told apart by one threshold.

    Attributes
    ----------
    scores
        Of all pairs.
    threshold
        What is above is accepted.
    weights
        (R, S) resampled subjects.
    """

    scores: PairScores
    threshold: float
    weights: np.ndarray

    def tmr(self, chosen: np.ndarray) -> Share:
        """Accepted share of the genuine pairs that a mask (G,) chooses."""
        taken = self.scores.genuine[chosen] > self.threshold
        subject, count = self.scores.genuine_subject[chosen], len(self.scores.subjects)
        whole = np.bincount(subject, minlength=count)
        accepted = np.bincount(subject, taken, minlength=count)
        with np.errstate(invalid="ignore", divide="ignore"):
            return Share(taken.mean(), (self.weights @ accepted) / (self.weights @ whole), len(taken), int(taken.sum()))

    def fmr(self, chosen: np.ndarray) -> Share:
        """Accepted share of the impostor pairs that a mask (I,) chooses."""
        taken = self.scores.impostor[chosen] > self.threshold
        count = len(self.scores.subjects)
        place = np.ravel_multi_index(tuple(self.scores.impostor_subjects[:, chosen]), (count, count))
        whole = np.bincount(place, minlength=count * count).reshape(count, count)
        accepted = np.bincount(place, taken, minlength=count * count).reshape(count, count)
        draws = [((self.weights @ table) * self.weights).sum(axis=1) for table in (accepted, whole)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return Share(taken.mean(), draws[0] / draws[1], len(taken), int(taken.sum()))


def operating(scores: PairScores, weights: np.ndarray) -> Operating | str:
    """The threshold at a FAR of `OPERATING`, or why there is none."""
    reason = refused_far(scores, OPERATING)
    return reason if reason is not None else Operating(scores, threshold_at(scores, OPERATING), weights.astype(float))


def group_aucs(scores: PairScores, groups: dict[str, np.ndarray], weights: np.ndarray) -> dict[str, dict[str, Any]]:
    """AUC of each group of genuine pairs (a mask (G,) each) against all impostor pairs, with its interval."""
    counts = PairCounts(scores)
    parts = {name: counts.of_genuine(mask) for name, mask in groups.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in groups}
    table = np.vstack([np.ones(len(scores.subjects)), weights])
    for columns, _, impostor in counts.weighted(table):
        fmr = curve_of(impostor)
        beaten = (fmr[0:-1:2] + fmr[1::2]) / 2
        for name, part in parts.items():
            genuine = part @ columns
            with np.errstate(invalid="ignore", divide="ignore"):
                drawn[name].append(1 - (genuine * beaten).sum(axis=0) / genuine.sum(axis=0))
    whole = {name: np.concatenate(each) for name, each in drawn.items()}
    return {name: interval(each[0], each[1:]) for name, each in whole.items()}
