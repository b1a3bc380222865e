"""Does the recogniser mind what changed? Scores split by what the two sessions of a pair have in common.

An attribute splits the pairs into those that are both of one class, and those that differ in it (*changed*). Genuine
pairs are held against all impostor pairs, as they would be in use: the AUC of the group's genuine pairs, their TMR at
the common threshold (`stages.evaluate.groups`), and the rank-1 of probes whose own gallery session is so related to
them, the rest of the gallery being as it comes. The FMR is of the group's impostor pairs at that threshold: where two
people in spectacles are taken for one another more often, it shows there.

Where subjects come at several ages, pairs are also split by the years between the two sessions, as cross-age
verification is told; with the EER and the FNMR at the FMRs that the pairs of that gap and all impostor pairs have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pipeline.attributes import AGE, MISSING, classes
from pipeline.identification import rank1_pairs
from pipeline.verification import PairScores, interval, verification
from stages.evaluate.groups import Operating, group_aucs

FEWEST = 30  # genuine pairs of a group that is scored
GAPS = {"0_to_10": (0, 10), "10_to_30": (10, 30), "over_30": (30, np.inf)}  # years: above the first, to the second
FMRS = (0.01, 0.001)


@dataclass(frozen=True)
class ByClass:
    """Pairs of sessions by an attribute's codes (N,), -1 where missing, and its classes by name."""

    codes: np.ndarray
    names: tuple[str, ...]
    ends: ClassVar[tuple[str, str]] = ("same", "changed")

    def conditions(self, pairs: np.ndarray) -> dict[str, np.ndarray]:
        """As the function `conditions`."""
        return conditions(self.codes, self.names, pairs)


@dataclass(frozen=True)
class ByAge:
    """Pairs of sessions by the years between them; ages (N,), NaN where unknown."""

    years: np.ndarray
    ends: ClassVar[tuple[str, str]] = ("0_to_10", "over_30")

    def conditions(self, pairs: np.ndarray) -> dict[str, np.ndarray]:
        """Masks over pairs (2, P) of sessions, by gap; those of unknown age are in none."""
        first, second = self.years[pairs]
        gap = np.abs(first - second)
        return {name: (gap > low if low else gap >= 0) & (gap <= high) for name, (low, high) in GAPS.items()}


Splits = dict[str, ByClass | ByAge]


def ages_apart(years: np.ndarray, subjects: np.ndarray) -> bool:
    """Whether some subject comes at ages (N,) that are further apart than the smallest gap."""
    known = np.isfinite(years)
    each = (years[known & (subjects == subject)] for subject in np.unique(subjects[known]))
    return any(np.ptp(ages) > GAPS["0_to_10"][1] for ages in each)


def conditions(labels: np.ndarray, names: tuple[str, ...], pairs: np.ndarray) -> dict[str, np.ndarray]:
    """Masks over pairs (2, P) of sessions: each class by name, `same` and `changed`; unlabelled sessions in none."""
    first, second = labels[pairs]
    known = (first != MISSING) & (second != MISSING)
    found = {name: known & (first == code) & (second == code) for code, name in enumerate(names)}
    return {**found, "same": known & (first == second), "changed": known & (first != second)}


def make_splits(binary: dict[str, np.ndarray], rigs: np.ndarray, years: np.ndarray, subjects: np.ndarray) -> Splits:
    """What pairs are split by: each attribute with its classes, the rig, and the ages where subjects have several."""
    found: Splits = {name: ByClass(binary[name], classes(name, "binary")) for name in binary}
    found["rig"] = ByClass(np.unique(rigs, return_inverse=True)[1], ())
    return found | ({AGE: ByAge(years)} if ages_apart(years, subjects) else {})


def split_scores(
    at: Operating, similarity: np.ndarray, subjects: np.ndarray, splits: Splits
) -> dict[str, dict[str, Any]]:
    """By attribute and condition: counts, `auc`, `tmr`, `fmr`, `rank1`; of ages also `eer` and FNMRs at `FMRS`.

    Probes are counted as they are expected over the choice of the gallery. And `gap`, changed less same (of ages the
    largest less the smallest), of `rank1` and `tmr`.

    Parameters
    ----------
    at
        All pairs and the common threshold.
    similarity
        (N, N) scores.
    subjects
        (N,) labels.
    splits
        What `make_splits` returns.
    """
    probe, own, first, drawn = rank1_pairs(similarity, subjects)
    ranked = _Ranked(np.searchsorted(at.scores.subjects, subjects.astype(str))[probe], first, drawn, at.weights)
    genuine = {name: split.conditions(at.scores.genuine_sessions) for name, split in splits.items()}
    aucs = group_aucs(at.scores, _large_enough(genuine), at.weights)
    result: dict[str, dict[str, Any]] = {}
    for name, split in splits.items():
        impostor = split.conditions(at.scores.impostor_sessions)
        probes = split.conditions(np.stack([probe, own]))
        part: dict[str, Any] = {}
        for condition, mask in genuine[name].items():
            key = f"{name}/{condition}"
            if key not in aucs:
                part[condition] = {"absent": f"{mask.sum()} genuine pairs; {FEWEST} are needed"}
                continue
            part[condition] = _group(at, ranked, (mask, impostor[condition], probes[condition]), aucs[key])
            if isinstance(split, ByAge):
                part[condition] |= error_rates(of_gap(at.scores, mask), at.weights)
        same, changed = ((genuine[name][end], probes[end]) for end in split.ends)
        if all("absent" not in part[end] for end in split.ends):
            part["gap"] = _gap(at, ranked, changed, same)
        result[name] = part
    return result


def _large_enough(genuine: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The masks of groups with `FEWEST` genuine pairs, as `attribute/condition`."""
    masks = {f"{name}/{condition}": mask for name, part in genuine.items() for condition, mask in part.items()}
    return {key: mask for key, mask in masks.items() if mask.sum() >= FEWEST}


def of_gap(scores: PairScores, genuine: np.ndarray) -> PairScores:
    """The genuine pairs that a mask (G,) chooses beside all impostor pairs, so that thresholds are those of all."""
    return scores.subset(genuine, np.ones(len(scores.impostor), dtype=bool))


def error_rates(scores: PairScores, weights: np.ndarray, fmrs: Sequence[float] = FMRS) -> dict[str, Any]:
    """`eer`, and `fnmr@fmr=...` at the lowest threshold whose FMR does not exceed each of ``fmrs``."""
    found = verification(scores, fmrs, weights)
    return {"eer": found["eer"]} | {
        name.replace("tar@far", "fnmr@fmr"): as_error(rate) for name, rate in found.items() if name.startswith("tar@")
    }


def as_error(rate: dict[str, Any]) -> dict[str, Any]:
    """1 less a rate with its interval; why there is none stays."""
    if "value" not in rate:
        return rate
    turned = {"value": rate["value"], "low": rate["high"], "high": rate["low"]}
    return {key: None if value is None else 1 - value for key, value in turned.items()}


def _group(
    at: Operating, ranked: _Ranked, masks: tuple[np.ndarray, np.ndarray, np.ndarray], auc: dict[str, Any]
) -> dict[str, Any]:
    """Counts and rates of a group, by masks over the genuine pairs, the impostor pairs and the probes' pairs."""
    genuine, impostor, probes = masks
    counts = {
        "genuine": int(genuine.sum()),
        "subjects": len(np.unique(at.scores.genuine_subject[genuine])),
        "impostor": int(impostor.sum()),
        "probes": ranked.probes(probes),
    }
    rates = {"auc": auc, "tmr": at.tmr(genuine).rate(), "rank1": interval(*ranked.share(probes))}
    return {"counts": counts, **rates, **({"fmr": at.fmr(impostor).rate()} if impostor.any() else {})}


class _Ranked:
    """Chances of a rank of 1 over pairs of a probe and its own gallery session."""

    def __init__(self, subject: np.ndarray, first: np.ndarray, drawn: np.ndarray, weights: np.ndarray) -> None:
        self.subject, self.found, self.drawn, self.weights = subject, first * drawn, drawn, weights

    def probes(self, chosen: np.ndarray) -> float:
        """How many probes the pairs that a mask (M,) chooses are expected to be, over the choice of the gallery."""
        return round(float(self.drawn[chosen].sum()), 6)

    def share(self, chosen: np.ndarray) -> tuple[float, np.ndarray]:
        """Rank-1 of the pairs that a mask (M,) chooses, and its (R,) resamples."""
        count = self.weights.shape[1]
        found = np.bincount(self.subject[chosen], self.found[chosen], minlength=count)
        probes = np.bincount(self.subject[chosen], self.drawn[chosen], minlength=count)
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(found.sum() / probes.sum()), (self.weights @ found) / (self.weights @ probes)


def _gap(
    at: Operating, ranked: _Ranked, changed: tuple[np.ndarray, np.ndarray], same: tuple[np.ndarray, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Changed less same, under the same resamples; its counts are those of both."""
    tmr = [at.tmr(mask) for mask, _ in (changed, same)]
    (value, draws), (value_same, draws_same) = (ranked.share(mask) for _, mask in (changed, same))
    return {
        "counts": {"genuine": tmr[0].of + tmr[1].of, "probes": ranked.probes(changed[1]) + ranked.probes(same[1])},
        "rank1": interval(value - value_same, draws - draws_same),
        "tmr": interval(tmr[0].value - tmr[1].value, tmr[0].draws - tmr[1].draws),
    }
