"""Undersampling as a mixed-integer program: the most sessions that keep every attribute's rarer class at its share.

Sessions of one subject with the same labels are interchangeable, so the program counts them in cells. With y_c the
sessions kept of a cell (0 .. n_c), z_s whether a subject is kept, a_cj the binary label of a cell (none if missing):

    maximise    first sum_s z_s, then sum_c y_c             no subject is dropped for the sake of more sessions
    such that   floor z_s <= sum_{c in s} y_c <= cap z_s    subjects with fewer than `floor` sessions cannot stay
                sum_c y_c [a_cj = v] >= f_j sum_c y_c [a_cj known]      for both classes v of each attribute j

Solved by HiGHS (Q. Huangfu, J. Hall, Math. Prog. Comp. 10, 2018, doi:10.1007/s12532-017-0130-5) through scipy, to
proven optimality unless the time limit ends it. `tests/stages/balance` holds it against brute force.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack, vstack

STEP = 0.01  # how finely the best share is looked for when the one asked for is out of reach
SLACK = 1e-9


@dataclass(frozen=True)
class Problem:
    """What is to be undersampled: subject (N,) int from 0, labels (N, J) in {-1, 0, 1}, the attributes' names (J,)."""

    subjects: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    cap: int
    floor: int


@dataclass(frozen=True)
class Kept:
    """Which sessions are kept (N,), the shares that were held (J,), what the user should hear."""

    keep: np.ndarray
    shares: np.ndarray
    notes: list[str] = field(default_factory=list)


def undersample(problem: Problem, share: float, *, order: np.ndarray, time_limit: float) -> Kept:
    """Keep as many sessions as a minimum share of every attribute's rarer class allows.

    Parameters
    ----------
    problem : Problem
    share : float
        Minimum share of the rarer class, 0 to 0.5.
    order : ndarray (N,)
        Which of interchangeable sessions goes first: lower ones are kept.
    time_limit : float
        Seconds for each program; one that it ends gives its best answer so far, and says so.
    """
    program = Program(problem, time_limit)
    shares, notes = reachable(problem, share, program)
    counts = program.solve(shares)
    if counts is None:
        return Kept(np.zeros(len(problem.subjects), bool), shares, [*notes, "no subject can be kept"])
    if program.cut_short:
        notes.append(f"the program was ended by its time limit of {time_limit:g} s; what it keeps may not be the most")
    keep = program.expand(counts, order)
    kept, able = len(np.unique(problem.subjects[keep])), len(program.able)
    total = len(np.unique(problem.subjects))
    if able < total:
        notes.append(
            f"{total - able} of {total} training subjects have fewer than {problem.floor} sessions and are dropped"
        )
    if kept < able:
        notes.append(f"{able - kept} of {able} training subjects are dropped, since no more can stay at this share")
    return Kept(keep, shares, notes)


def reachable(problem: Problem, share: float, program: Program) -> tuple[np.ndarray, list[str]]:
    """The share asked for where it can be reached, else the best for the attribute in its way, with a line about it."""
    shares = np.full(len(problem.names), share)
    notes: list[str] = []
    if share <= 0 or program.feasible(shares):
        return shares, notes
    for j, name in enumerate(problem.names):
        alone = np.zeros(len(problem.names))
        alone[j] = share
        if not program.feasible(alone):
            shares[j] = _best(lambda value, j=j: program.feasible(_only(problem, j, value)), share)  # type: ignore[misc]
            notes.append(f"{name} cannot reach a share of {share:g}: {shares[j]:g} is the best, and is held instead")
    if not program.feasible(shares):
        wanted = shares
        scale = _best(lambda value: program.feasible(wanted * value), 1.0)
        shares = wanted * scale
        names = ", ".join(problem.names)
        notes.append(f"{names} cannot reach {share:g} together: {scale:g} of it is the best, and is held instead")
    return shares, notes


def _only(problem: Problem, j: int, value: float) -> np.ndarray:
    shares = np.zeros(len(problem.names))
    shares[j] = value
    return shares


def _best(feasible: Callable[[float], bool], top: float) -> float:
    """The largest multiple of `STEP` below ``top`` that is feasible, by bisection; 0 where none is."""
    low, high = 0, int(np.ceil(top / STEP - SLACK))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if feasible(middle * STEP) else (low, middle)
    return round(low * STEP, 6)


class Program:
    """The mixed-integer program of a problem, built once and solved for several shares."""

    def __init__(self, problem: Problem, time_limit: float) -> None:
        self.problem, self.time_limit, self.cut_short = problem, time_limit, False
        rows = np.column_stack([problem.subjects, problem.labels])
        cells, self.cell_of, self.sizes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        self.cell_of = self.cell_of.ravel()
        self.labels = cells[:, 1:]
        sessions = np.bincount(problem.subjects)
        self.able = np.flatnonzero(sessions >= problem.floor)
        member = csr_array(self.able[:, None] == cells[:, 0]).astype(float)  # (S, C)
        subjects = csr_array(np.eye(len(self.able)))
        self.rules = vstack([hstack([member, -problem.floor * subjects]), hstack([-member, problem.cap * subjects])])
        self.upper = np.where(np.isin(cells[:, 0], self.able), self.sizes, 0)

    def feasible(self, shares: np.ndarray) -> bool:
        """Whether at least one subject can be kept at these shares (J,)."""
        answer = self._solve(shares, self._subject_counter(), least_subjects=1)
        return answer is not None

    def solve(self, shares: np.ndarray) -> np.ndarray | None:
        """Sessions kept of each cell (C,): the most subjects, then the most sessions; None where none can stay."""
        most = self._solve(shares, self._subject_counter(), least_subjects=1)
        if most is None:
            return None
        kept = int(most[len(self.sizes) :].sum())
        counter = np.r_[np.ones(len(self.sizes)), np.zeros(len(self.able))]
        best = self._solve(shares, counter, least_subjects=kept)
        return (most if best is None else best)[: len(self.sizes)]

    def expand(self, counts: np.ndarray, order: np.ndarray) -> np.ndarray:
        """The sessions kept (N,) bool: of each cell the first ``counts`` in ``order``."""
        ranked = np.lexsort((order, self.cell_of))
        cells = self.cell_of[ranked]
        position = np.arange(len(ranked)) - np.searchsorted(cells, cells)
        keep = np.zeros(len(ranked), bool)
        keep[ranked] = position < counts[cells]
        return keep

    def _subject_counter(self) -> np.ndarray:
        return np.r_[np.zeros(len(self.sizes)), np.ones(len(self.able))]

    def _solve(self, shares: np.ndarray, gain: np.ndarray, *, least_subjects: int) -> np.ndarray | None:
        """The integer point that gains most, or None; notes whether the time limit ended the search."""
        if len(self.able) < least_subjects:
            return None
        result = milp(
            -gain,
            integrality=np.ones(len(gain)),
            bounds=Bounds(0, np.r_[self.upper, np.ones(len(self.able))]),
            constraints=[
                LinearConstraint(vstack([self.rules, self._share_rules(shares)]), -SLACK, np.inf),
                LinearConstraint(self._subject_counter()[None], least_subjects, np.inf),
            ],
            options={"time_limit": self.time_limit, "mip_rel_gap": 0.0},
        )
        self.cut_short |= result.status == 1
        return None if result.x is None else np.rint(result.x).astype(int)

    def _share_rules(self, shares: np.ndarray) -> csr_array:
        """(2J, C + S): sessions of a class less the share of all that are labelled, to be at least 0."""
        known = self.labels >= 0
        rows = [(self.labels == value) - shares * known for value in (0, 1)]
        table = np.concatenate(rows, axis=1).T[np.tile(shares > 0, 2)]
        return csr_array(np.hstack([table, np.zeros((len(table), len(self.able)))]))
