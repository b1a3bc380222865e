"""Does the recogniser mind what changed? Scores split by what the two sessions of a pair have in common.

An attribute splits the pairs into those that are both of one class, and those that differ in it (*changed*). Genuine
pairs are held against all impostor pairs, as they would be in use: the AUC of the group's genuine pairs, their TMR at
the common threshold (`stages.evaluate.groups`), and the rank-1 of probes whose own gallery session is so related to
them, the rest of the gallery being as it comes. The FMR is of the group's impostor pairs at that threshold: where two
people in spectacles are taken for one another more often, it shows there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.attributes import MISSING, classes
from pipeline.identification import rank1_pairs
from pipeline.verification import interval
from stages.evaluate.groups import Operating, group_aucs

FEWEST = 30  # genuine pairs of a group that is scored


def conditions(labels: np.ndarray, names: tuple[str, ...], pairs: np.ndarray) -> dict[str, np.ndarray]:
    """Masks over pairs (2, P) of sessions: each class by name, `same` and `changed`; unlabelled sessions in none."""
    first, second = labels[pairs]
    known = (first != MISSING) & (second != MISSING)
    found = {name: known & (first == code) & (second == code) for code, name in enumerate(names)}
    return {**found, "same": known & (first == second), "changed": known & (first != second)}


def split_labels(binary: dict[str, np.ndarray], rigs: np.ndarray) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """What pairs are split by: each attribute with its classes, and the rig."""
    found = {name: (binary[name], classes(name, "binary")) for name in binary}
    return found | {"rig": (np.unique(rigs, return_inverse=True)[1], ())}


def split_scores(
    at: Operating, similarity: np.ndarray, subjects: np.ndarray, labels: dict[str, tuple[np.ndarray, tuple[str, ...]]]
) -> dict[str, dict[str, Any]]:
    """By attribute and condition: counts, `auc`, `tmr`, `fmr`, `rank1`; and `gap`, changed less same, of the last two.

    Parameters
    ----------
    at
        All pairs and the common threshold.
    similarity
        (N, N) scores.
    subjects
        (N,) labels.
    labels
        What `split_labels` returns.
    """
    probe, own, first, drawn = rank1_pairs(similarity, subjects)
    ranked = _Ranked(np.searchsorted(at.scores.subjects, subjects.astype(str))[probe], first, drawn, at.weights)
    masks = {
        (name, condition): mask
        for name, (codes, names) in labels.items()
        for condition, mask in conditions(codes, names, at.scores.genuine_sessions).items()
    }
    scored = {"/".join(key): mask for key, mask in masks.items() if mask.sum() >= FEWEST}
    aucs = group_aucs(at.scores, scored, at.weights)
    result: dict[str, dict[str, Any]] = {}
    for name, (codes, names) in labels.items():
        impostor = conditions(codes, names, at.scores.impostor_sessions)
        probes = conditions(codes, names, np.stack([probe, own]))
        part: dict[str, Any] = {}
        for condition in impostor:
            mask = masks[name, condition]
            if mask.sum() < FEWEST:
                part[condition] = {"absent": f"{mask.sum()} genuine pairs; {FEWEST} are needed"}
                continue
            rank1 = interval(*ranked.share(probes[condition]))
            part[condition] = _group(at, mask, impostor[condition], aucs[f"{name}/{condition}"], rank1)
        if all("absent" not in part[condition] for condition in ("same", "changed")):
            part["gap"] = _gap(
                at, ranked, (masks[name, "changed"], probes["changed"]), (masks[name, "same"], probes["same"])
            )
        result[name] = part
    return result


def _group(
    at: Operating, genuine: np.ndarray, impostor: np.ndarray, auc: dict[str, Any], rank1: dict[str, Any]
) -> dict[str, Any]:
    """Counts and rates of a group, by masks over the genuine and the impostor pairs."""
    subjects = len(np.unique(at.scores.genuine_subject[genuine]))
    counts = {"genuine": int(genuine.sum()), "subjects": subjects, "impostor": int(impostor.sum())}
    rates: dict[str, Any] = {"counts": counts, "auc": auc, "tmr": at.tmr(genuine).rate(), "rank1": rank1}
    return rates | ({"fmr": at.fmr(impostor).rate()} if impostor.any() else {})


class _Ranked:
    """Chances of a rank of 1 over pairs of a probe and its own gallery session."""

    def __init__(self, subject: np.ndarray, first: np.ndarray, drawn: np.ndarray, weights: np.ndarray) -> None:
        self.subject, self.found, self.drawn, self.weights = subject, first * drawn, drawn, weights

    def share(self, chosen: np.ndarray) -> tuple[float, np.ndarray]:
        """Rank-1 of the pairs that a mask (M,) chooses, and its (R,) resamples."""
        count = self.weights.shape[1]
        found = np.bincount(self.subject[chosen], self.found[chosen], minlength=count)
        probes = np.bincount(self.subject[chosen], self.drawn[chosen], minlength=count)
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(found.sum() / probes.sum()), (self.weights @ found) / (self.weights @ probes)


def _gap(
    at: Operating, ranked: _Ranked, changed: tuple[np.ndarray, np.ndarray], same: tuple[np.ndarray, np.ndarray]
) -> dict[str, dict[str, float | None]]:
    """Changed less same, under the same resamples."""
    tmr = [at.tmr(mask) for mask, _ in (changed, same)]
    (value, draws), (value_same, draws_same) = (ranked.share(mask) for _, mask in (changed, same))
    return {
        "rank1": interval(value - value_same, draws - draws_same),
        "tmr": interval(tmr[0].value - tmr[1].value, tmr[0].draws - tmr[1].draws),
    }
