"""All verification rates from counts of pairs at the distinct genuine scores.

Between two neighbouring genuine scores the ROC only moves sideways, so AUC, EER and the TAR at a FAR need no more of
the impostor pairs than how many lie above, at and between the K distinct genuine scores u_0 > u_1 > ... of all pairs:

    code      0     1      2        3     ...   2K
    impostors > u_0 = u_0  between  = u_1       < u_{K-1}

Counts may be weighted, one column a weighting of the subjects; a pair of subjects i and j then counts w_i w_j times,
and the counts of all weightings are one product of a sparse matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

if TYPE_CHECKING:
    from pipeline.verification.rates import PairScores

MOST = 1 << 18  # numbers in a table of counts by weightings: 2 MB stay in a core's cache
TOLERANCE = 1 + 1e-9  # sums of weights are rounded; a FAR that is met exactly must count as met

Numbers = NDArray[np.float64]


def impostor_codes(levels: NDArray, impostor: NDArray) -> NDArray[np.intp]:
    """Where scores lie among the levels.

    Parameters
    ----------
    levels
        (K,) distinct scores in descending order.
    impostor
        (I,) scores in any order.

    Returns
    -------
    (I,) codes in 0..2K, as above.
    """
    above, level = np.negative(levels), np.negative(impostor)
    left = np.searchsorted(above, level, side="left")
    return 2 * left + (above[np.minimum(left, len(above) - 1)] == level)


class PairCounts:
    """The counts of a set of pairs, to be weighted again and again.

    Parameters
    ----------
    scores
        Of all pairs.
    macro
        Whether each subject counts once rather than each pair: a genuine pair of a subject with n of them counts 1 / n,
        and so does an impostor pair of two subjects with n between them.
    """

    def __init__(self, scores: PairScores, *, macro: bool = False) -> None:
        self.subjects = len(scores.subjects)
        self.levels, place = np.unique(-scores.genuine, return_inverse=True)
        np.negative(self.levels, out=self.levels)
        self.place, self.subject = place, scores.genuine_subject
        codes = impostor_codes(self.levels, scores.impostor)
        first, second = scores.impostor_subjects
        self.pairs, pair = np.unique(first * self.subjects + second, return_inverse=True)
        genuine, impostor = np.ones(len(place)), np.ones(len(codes))
        if macro:
            genuine /= np.bincount(scores.genuine_subject)[scores.genuine_subject]
            impostor /= np.bincount(pair)[pair]
        self.genuine = self._by_subject(genuine)
        shape = 2 * len(self.levels) + 1, len(self.pairs)
        self.impostor = sparse.csr_matrix((impostor, (codes, pair)), shape=shape)

    def _by_subject(self, counted: Numbers) -> sparse.csr_matrix:
        """(K, S) what each genuine pair (G,) counts, by level and subject."""
        return sparse.csr_matrix((counted, (self.place, self.subject)), shape=(len(self.levels), self.subjects))

    def of_genuine(self, chosen: NDArray[np.bool_]) -> sparse.csr_matrix:
        """(K, S) the genuine pairs that a mask (G,) chooses, by level and subject."""
        return self._by_subject(chosen.astype(float))

    def weighted(self, weights: Numbers) -> Iterator[tuple[Numbers, Numbers, Numbers]]:
        """Under (R, S) weights, r at a time: these as columns (S, r), genuine (K, r), impostor pairs (2K + 1, r)."""
        first, second = np.divmod(self.pairs, self.subjects)
        step = max(1, MOST // max(len(self.pairs), self.impostor.shape[0]))
        for start in range(0, len(weights), step):
            columns = np.ascontiguousarray(weights[start : start + step].T)
            yield columns, self.genuine @ columns, self.impostor @ (columns[first] * columns[second])


def rates_of(genuine: Numbers, impostor: Numbers, fars: Sequence[float]) -> list[Numbers]:
    """AUC, EER and the TAR at each FAR of counts.

    Parameters
    ----------
    genuine
        (K, r) pairs at each level.
    impostor
        (2K + 1, r) pairs by code.
    fars
        False accept rates in (0, 1).

    Returns
    -------
    A list of (r,), in that order; NaN where a column has no genuine or no impostor pair.
    """
    for far in fars:
        if not 0 < far < 1:
            raise ValueError(f"expected a false accept rate in (0, 1), got {far}")
    with np.errstate(invalid="ignore", divide="ignore"):
        tmr, fmr = curve_of(genuine), curve_of(impostor)
        shares = genuine / genuine.sum(axis=0)
    auc = 1 - (shares * (fmr[0:-1:2] + fmr[1::2])).sum(axis=0) / 2
    found = [auc, _eer(tmr, fmr), *(_tar(tmr, fmr, far) for far in fars)]
    empty = np.isnan(auc)
    return [np.where(empty, np.nan, each) for each in found]


def curve_of(counts: Numbers) -> Numbers:
    """(n, r) share of the pairs that are accepted down to each place."""
    total = np.cumsum(counts, axis=0)
    return np.asarray(total / total[-1])


def _tar(tmr: Numbers, fmr: Numbers, far: float) -> Numbers:
    allowed = (fmr[1::2] <= far * TOLERANCE).sum(axis=0)  # levels that may be the threshold
    padded = np.vstack([np.zeros((1, tmr.shape[1])), tmr])
    return padded[allowed, np.arange(tmr.shape[1])]


def _eer(tmr: Numbers, fmr: Numbers) -> Numbers:
    """Where FMR + TMR - 1, which never falls along the ROC, crosses zero; on a straight line between two vertices."""
    vertices = np.vstack([np.zeros((1, tmr.shape[1])), np.repeat(tmr, 2, axis=0)])  # TMR at each code
    excess = fmr + vertices - 1
    after = (excess < 0).sum(axis=0)
    columns = np.arange(excess.shape[1])
    after = np.minimum(after, len(excess) - 1)
    before = np.maximum(after - 1, 0)
    low = np.where(after > 0, excess[before, columns], -1.0)
    high, start = excess[after, columns], np.where(after > 0, fmr[before, columns], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(start + low / (low - high) * (fmr[after, columns] - start))
