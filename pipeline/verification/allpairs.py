"""Verification rates of all pairs of very many embeddings, exact, block by block in constant memory.

100,000 embeddings have five thousand million pairs: too many to keep, and no need to. The genuine pairs are few; they
are kept and sorted. Of the impostor pairs it only matters how many lie between which two genuine scores
(`pipeline.verification.counting`), so that each block of them is counted and forgotten. A score is a bin of [-1, 1]
first: in most bins lies no genuine score, and all impostors there have one place; those of the other bins are looked up
one by one. Nothing is approximated by this: the rates are those of all pairs at their float32 scores, ties included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.errors import PsfaceError
from pipeline.verification.counting import curve_of, impostor_codes, rates_of
from pipeline.verification.rates import IMPOSTORS_BEYOND, check_finite, far_key

BINS = 1 << 20
ROWS, COLUMNS = 512, 8192  # of a block: 16 MB of scores
MOST_GENUINE = 1 << 25  # they are kept: 128 MB, and as much again to sort them

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class AllPairs:
    """What is left of all pairs.

    Attributes
    ----------
    levels
        (K,) float32 distinct genuine scores in descending order.
    genuine
        (K,) pairs at each of them.
    impostor
        (2K + 1,) pairs above, at and between them, as `pipeline.verification.counting` says.
    """

    levels: Scores
    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]

    def rates(self, fars: Sequence[float] = ()) -> dict[str, float]:
        """``{"auc", "eer", "tar@far=1e-2", ...}``; a FAR that fewer than 30 impostor pairs decide is left out."""
        quoted = [far for far in fars if far * self.impostor.sum() >= IMPOSTORS_BEYOND]
        found = rates_of(self.genuine[:, None].astype(float), self.impostor[:, None].astype(float), quoted)
        names = ["auc", "eer", *(far_key(far) for far in quoted)]
        return {name: float(value[0]) for name, value in zip(names, found, strict=True)}

    def roc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """FMR and TMR (K,) at each genuine score as the threshold."""
        genuine, impostor = self.genuine[:, None].astype(float), self.impostor[:, None].astype(float)
        return curve_of(impostor)[1::2, 0], curve_of(genuine)[:, 0]


def count_all_pairs(
    embeddings: NDArray,
    subjects: NDArray,
    *,
    euclidean: bool = False,
    progress: Callable[[float], object] = float,
) -> AllPairs:
    """Compare all pairs of N embeddings.

    Parameters
    ----------
    embeddings
        (N, D) finite numbers; memory-mapped will do, one float32 copy is made.
    subjects
        (N,) label of each row's subject.
    euclidean
        Compare by minus the Euclidean distance of the embeddings as they are, rather than by their cosine.
    progress
        Called with the share of the work that is done.

    Raises
    ------
    PsfaceError
        Without a genuine or without an impostor pair, where an embedding is not finite, or where more than 33 million
        pairs are genuine.
    """
    codes = np.unique(subjects, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    rows = np.asarray(embeddings)[order].astype(np.float32, copy=False)
    check_finite(rows)
    compare = _Euclidean(rows) if euclidean else _Cosine(rows)
    levels, counts = np.unique(-_genuine(compare, codes), return_counts=True)
    impostor = _impostors(compare, codes, -levels, progress)
    if not np.any(impostor):
        raise PsfaceError(f"no impostor pair among {len(rows)} sessions: they are all of one subject")
    return AllPairs(-levels, counts.astype(np.int64), impostor)


def _impostors(
    compare: _Cosine, codes: NDArray[np.intp], levels: Scores, progress: Callable[[float], object]
) -> NDArray[np.int64]:
    """(2K + 1,) impostor pairs above, at and between the levels (K,), counted by all processors."""
    starts = np.arange(0, len(codes), ROWS)
    jobs = min(os.cpu_count() or 1, len(starts))
    finished = iter(range(1, len(starts) + 1))

    def run(job: int) -> _Counter:
        counter = _Counter(levels, compare.lowest, compare.highest)
        for start in starts[job::jobs]:
            _count_rows(compare, codes, int(start), counter)
            progress(next(finished) / len(starts))
        return counter

    with threadpool_limits(1), ThreadPoolExecutor(jobs) as pool:
        return np.asarray(sum(counter.total() for counter in pool.map(run, range(jobs))))


def _count_rows(compare: _Cosine, codes: NDArray[np.intp], start: int, counter: _Counter) -> None:
    """Count the impostor pairs of some rows with all that come after them; rows are sorted by subject."""
    stop = min(start + ROWS, len(codes))
    own = int(np.searchsorted(codes, codes[stop - 1], side="right"))  # up to here some pairs are genuine
    near = compare(slice(start, stop), slice(start, own))
    counter.add(near[(codes[start:stop, None] != codes[None, start:own]) & _upper(near.shape)])
    for left in range(own, len(codes), COLUMNS):
        counter.add(compare(slice(start, stop), slice(left, min(left + COLUMNS, len(codes)))).ravel())


def _upper(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.arange(shape[1])[None] > np.arange(shape[0])[:, None]


def _genuine(compare: _Cosine, codes: NDArray[np.intp]) -> Scores:
    """Scores of all genuine pairs, subject by subject."""
    bounds = np.flatnonzero(np.diff(codes, prepend=-1, append=codes[-1] + 1))
    sizes = np.diff(bounds)
    pairs = int((sizes * (sizes - 1) // 2).sum())
    if not pairs:
        raise PsfaceError(f"no genuine pair among {len(codes)} sessions: some subject needs two of them")
    if pairs > MOST_GENUINE:
        raise PsfaceError(f"{pairs} genuine pairs, more than the {MOST_GENUINE} that are kept: draw fewer a subject")
    found, at = np.empty(pairs, dtype=np.float32), 0
    for start, stop in pairwise(bounds.tolist()):
        for top in range(start, stop, ROWS):
            block = compare(slice(top, min(top + ROWS, stop)), slice(top, stop))
            part = block[_upper(block.shape)]
            found[at : at + len(part)] = part
            at += len(part)
    return found


class _Cosine:
    """Cosines of two ranges of rows; the rows are brought to unit length in place."""

    lowest, highest = -1.0, 1.0

    def __init__(self, rows: Scores) -> None:
        length = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
        rows /= np.where(length > 0, length, 1).astype(np.float32)[:, None]
        self.rows = rows

    def __call__(self, first: slice, second: slice) -> Scores:
        return np.clip(found := self.rows[first] @ self.rows[second].T, -1, 1, out=found)


class _Euclidean(_Cosine):
    """Minus the distances of two ranges of rows, of the length that they have."""

    def __init__(self, rows: Scores) -> None:
        self.rows = rows
        self.square = np.einsum("nd,nd->n", rows, rows, dtype=np.float64).astype(np.float32)
        self.highest, self.lowest = 0.0, -2 * float(np.sqrt(self.square.max())) - 1e-3

    def __call__(self, first: slice, second: slice) -> Scores:
        found = self.rows[first] @ self.rows[second].T
        found *= -2
        found += self.square[first, None]
        found += self.square[None, second]
        np.sqrt(np.maximum(found, 0, out=found), out=found)
        return np.negative(found, out=found)


class _Counter:
    """Counts scores by their code among the levels, by way of bins."""

    def __init__(self, levels: Scores, lowest: float, highest: float) -> None:
        self.levels, self.lowest = levels, np.float32(lowest)
        self.scale = np.float32((BINS - 1) / (highest - lowest))
        self.bins = np.zeros(BINS, dtype=np.int64)
        self.codes = np.zeros(2 * len(levels) + 1, dtype=np.int64)
        self.mixed = np.zeros(BINS, dtype=bool)  # bins that hold a genuine score
        self.mixed[self._bin(levels)] = True

    def _bin(self, scores: Scores) -> NDArray[np.int32]:
        """Never falls as the score rises, which is all that is asked of it."""
        at = scores - self.lowest
        at *= self.scale
        return np.clip(at.astype(np.int32), 0, BINS - 1)

    def add(self, scores: Scores) -> None:
        """Count a block (n,)."""
        at = self._bin(scores)
        self.bins += np.bincount(at, minlength=BINS)
        hard = scores[self.mixed[at]]
        if len(hard):
            self.codes += np.bincount(impostor_codes(self.levels, hard), minlength=len(self.codes))

    def total(self) -> NDArray[np.int64]:
        """(2K + 1,) counts by code; a bin without a genuine score lies between two levels as a whole."""
        above = np.searchsorted(-self._bin(self.levels), -np.arange(BINS), side="left")  # levels in higher bins
        plain = ~self.mixed
        found = self.codes.copy()
        np.add.at(found, 2 * above[plain], self.bins[plain])
        return found
