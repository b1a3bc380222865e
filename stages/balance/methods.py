"""The ways to balance the training sessions: the program, random undersampling, class weights, or nothing.

Random undersampling and weights are there to be compared with: the first keeps fewer sessions for the same shares, the
second keeps all and lets rare ones count more (raking: W. E. Deming, F. F. Stephan, Ann. Math. Statist. 11, 1940,
doi:10.1214/aoms/1177731829).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.balance.program import Kept, Problem, Program, reachable, undersample

ROUNDS = 200  # of raking; it settles within a few tens


@dataclass(frozen=True)
class Balanced:
    """The training sessions after balancing: kept or not (N,), weight (N,; 0 where not kept), notes for the user."""

    keep: np.ndarray
    weight: np.ndarray
    notes: list[str] = field(default_factory=list)


def balance(problem: Problem, method: str, share: float, *, seed: int, time_limit: float) -> Balanced:
    """Balance the training sessions by a method: ``milp``, ``random``, ``weights`` or ``none``."""
    count = len(problem.subjects)
    if method == "none" or count == 0:
        return Balanced(np.ones(count, bool), np.ones(count))
    if method == "weights":
        weight, notes = raked(problem, share)
        return Balanced(np.ones(count, bool), weight, notes)
    order = np.random.default_rng(seed).permutation(count)
    if method == "random":
        kept = undersample_randomly(problem, share, order=order, time_limit=time_limit)
    else:
        kept = undersample(problem, share, order=order, time_limit=time_limit)
    return Balanced(kept.keep, kept.keep.astype(float), kept.notes)


def undersample_randomly(problem: Problem, share: float, *, order: np.ndarray, time_limit: float) -> Kept:
    """Throw out random sessions of the commoner class of the attribute that lags most, until all reach the share.

    Sessions that other lagging attributes need go last. The cap and the floor of the program hold: a subject at the
    floor goes as a whole, and only where no single session can be thrown out.
    """
    program = Program(problem, time_limit)
    shares, notes = reachable(problem, share, program)
    keep = _capped(problem, order) & np.isin(problem.subjects, program.able)
    while True:
        labels = problem.labels[keep]
        totals = np.stack([(labels == 0).sum(0), (labels == 1).sum(0)])
        lack = shares * totals.sum(0) - totals.min(0)
        if not len(lack) or lack.max() <= 1e-9:
            return Kept(keep, shares, notes)
        j = int(lack.argmax())
        common = keep & (problem.labels[:, j] == totals[:, j].argmax())
        needed = ((problem.labels == totals.argmin(0)) & (lack > -1)).sum(1)
        sessions = np.bincount(problem.subjects[keep], minlength=problem.subjects.max() + 1)
        spare = np.flatnonzero(common & (sessions[problem.subjects] > problem.floor))
        if len(spare):
            keep[spare[np.lexsort((order[spare], needed[spare]))[0]]] = False
        else:
            need = np.bincount(problem.subjects, needed * keep) / np.maximum(sessions, 1)
            whole = np.flatnonzero(common)
            subject = problem.subjects[whole[np.lexsort((order[whole], need[problem.subjects[whole]]))[0]]]
            keep[problem.subjects == subject] = False


def raked(problem: Problem, share: float) -> tuple[np.ndarray, list[str]]:
    """Weights (N,), 1 on average, that lift every attribute's rarer class to the share; an empty class stays empty.

    Each attribute in turn scales its classes so that the rarer one weighs ``share`` of those labelled, until all do.
    """
    weight = np.ones(len(problem.subjects))
    notes = []
    for j, name in enumerate(problem.names):
        labels = problem.labels[:, j]
        if share > 0 and not ((labels == 0).any() and (labels == 1).any()):
            notes.append(f"{name} has sessions of one class only; no weight can balance it")
    for _ in range(ROUNDS):
        before = weight.copy()
        for labels in problem.labels.T:
            masses = np.array([weight[labels == 0].sum(), weight[labels == 1].sum()])
            total, rarer = masses.sum(), int(masses.argmin())
            if masses.min() > 0 and masses.min() < share * total:
                weight[labels == rarer] *= share * total / masses[rarer]
                weight[labels == 1 - rarer] *= (1 - share) * total / masses[1 - rarer]
        if np.allclose(before, weight, rtol=1e-6, atol=0):
            break
    return weight / weight.mean(), notes


def _capped(problem: Problem, order: np.ndarray) -> np.ndarray:
    """At most ``cap`` sessions a subject, the first of each in ``order``."""
    ranked = np.lexsort((order, problem.subjects))
    subjects = problem.subjects[ranked]
    keep = np.zeros(len(ranked), bool)
    keep[ranked] = np.arange(len(ranked)) - np.searchsorted(subjects, subjects) < problem.cap
    return keep
