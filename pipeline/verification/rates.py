"""Verification rates of all pairs of sessions: ROC, AUC, EER, TAR at FAR, and intervals by resampling subjects.

A pair is *genuine* when both sessions are of one subject, else *impostor*; it is accepted when its cosine is at least
the threshold. FMR is the accepted share of the impostor pairs, FNMR the refused share of the genuine ones, and TMR is
1 - FNMR (ISO/IEC 19795-1). All definitions are exact, ties included, and all of them take weights, which is how the
intervals are made: the subjects are resampled with replacement, subject i then comes w_i times, a genuine pair of his
counts w_i times and an impostor pair of subjects i and j counts w_i w_j times. Two copies of one subject make no pair:
it would be a genuine pair posing as an impostor. Pairs that share a subject are not independent, and resampling pairs
would give intervals that are far too narrow.

References
----------
.. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 861-874, 2006.
   DOI:10.1016/j.patrec.2005.10.010 (the ROC with ties, the AUC as a Mann-Whitney statistic).
.. [2] R. M. Bolle, N. K. Ratha, S. Pankanti, "Error analysis of pattern recognition systems: the subsets bootstrap",
   Computer Vision and Image Understanding 93(1), 1-33, 2004. DOI:10.1016/j.cviu.2003.08.002 (subjects, not pairs).
.. [3] A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 386-411, 2007. DOI:10.1214/07-AOAS122
   (resampling of data crossed over two factors; here both are the subjects, and drawn together).
.. [4] A. B. Owen, D. Eckles, "Bootstrapping data arrays of arbitrary order", Annals of Applied Statistics 6(3), 2012.
   DOI:10.1214/12-AOAS547 (products of weights; mildly conservative).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import PsfaceError
from pipeline.verification.counting import PairCounts, rates_of

CONFIDENCE = 0.95
IMPOSTORS_BEYOND = 30
"""Fewest impostor pairs expected beyond the threshold for a TAR at that FAR to be quoted (the "rule of 30")."""


@dataclass(frozen=True)
class PairScores:
    """Scores of all pairs of sessions.

    Attributes
    ----------
    genuine, impostor
        (G,) and (I,) float64, each in descending order; higher is more alike.
    genuine_subject
        (G,) subject of each genuine pair, as an index into `subjects`.
    impostor_subjects
        (2, I) subjects of each impostor pair, as indices into `subjects`.
    genuine_sessions, impostor_sessions
        (2, G) and (2, I) sessions of each pair, as rows of what was compared, the lower one first.
    subjects
        (S,) distinct subjects in sorted order.
    """

    genuine: NDArray[np.float64]
    impostor: NDArray[np.float64]
    genuine_subject: NDArray[np.intp]
    impostor_subjects: NDArray[np.intp]
    genuine_sessions: NDArray[np.intp]
    impostor_sessions: NDArray[np.intp]
    subjects: NDArray[np.str_]

    def subset(self, genuine: NDArray[np.bool_], impostor: NDArray[np.bool_]) -> PairScores:
        """Some of the pairs, by a mask of (G,) and one of (I,); all subjects keep their place."""
        return PairScores(
            genuine=self.genuine[genuine],
            impostor=self.impostor[impostor],
            genuine_subject=self.genuine_subject[genuine],
            impostor_subjects=self.impostor_subjects[:, impostor],
            genuine_sessions=self.genuine_sessions[:, genuine],
            impostor_sessions=self.impostor_sessions[:, impostor],
            subjects=self.subjects,
        )


def check_finite(embeddings: NDArray, lr: str = "its lr") -> None:
    """Refuse embeddings (N, D) that are not finite; ``lr`` names the parameter of the network that they are from.

    Raises
    ------
    PsfaceError
        It says how many they are.
    """
    bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
    if bad:
        raise PsfaceError(f"{bad} of {len(embeddings)} embeddings are not finite: the network has diverged; lower {lr}")


def cosine_matrix(embeddings: ArrayLike) -> NDArray[np.float64]:
    """Cosines of all pairs of rows.

    Parameters
    ----------
    embeddings
        (N, D) finite numbers, of any length; a row of zeros has a cosine of 0 with everything.

    Returns
    -------
    (N, N) float64 in [-1, 1].

    Raises
    ------
    PsfaceError
        Where an embedding is not finite.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"expected embeddings of shape (N, D), got {rows.shape}")
    check_finite(rows)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(length > 0, length, 1)
    return np.clip(unit @ unit.T, -1, 1)


def distance_matrix(embeddings: ArrayLike) -> NDArray[np.float64]:
    """Euclidean distances of all pairs of rows (N, D) of the length that they have: (N, N) float64."""
    rows = np.asarray(embeddings, dtype=np.float64)
    square = np.einsum("nd,nd->n", rows, rows)
    return np.sqrt(np.maximum(square[:, None] + square[None] - 2 * (rows @ rows.T), 0))


def pair_scores(embeddings: ArrayLike, subjects: Sequence[str] | NDArray) -> PairScores:
    """Cosine of every unordered pair of different sessions, split into genuine and impostor.

    Parameters
    ----------
    embeddings
        (N, D), one row a session.
    subjects
        (N,) label of each row's subject.

    Raises
    ------
    PsfaceError
        Without a genuine pair (no subject has two sessions) or without an impostor pair (one subject only).
    """
    return matrix_pairs(cosine_matrix(embeddings), subjects)


def matrix_pairs(similarity: ArrayLike, subjects: Sequence[str] | NDArray) -> PairScores:
    """As `pair_scores`, from a symmetric (N, N) matrix of similarities whose diagonal is ignored; NaN is no pair."""
    matrix = np.asarray(similarity, dtype=np.float64)
    labels = np.asarray(subjects).astype(str)
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(f"expected a similarity of shape {(len(labels), len(labels))}, got {matrix.shape}")
    names, codes = np.unique(labels, return_inverse=True)
    first, second = np.triu_indices(len(labels), k=1)
    known = ~np.isnan(matrix[first, second])
    first, second = first[known], second[known]
    order = np.argsort(-matrix[first, second], kind="stable")
    first, second = first[order], second[order]
    score = matrix[first, second]
    same = codes[first] == codes[second]
    if not same.any():
        raise PsfaceError(f"no genuine pair among {len(labels)} sessions: some subject needs two of them")
    if same.all():
        raise PsfaceError(f"no impostor pair among {len(labels)} sessions: they are all of one subject")
    return PairScores(
        genuine=score[same],
        impostor=score[~same],
        genuine_subject=codes[first[same]],
        impostor_subjects=np.sort([codes[first[~same]], codes[second[~same]]], axis=0),
        genuine_sessions=np.stack([first[same], second[same]]),
        impostor_sessions=np.stack([first[~same], second[~same]]),
        subjects=names,
    )


def roc(scores: PairScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ROC: one vertex for each distinct score, from (0, 0) to (1, 1); tied scores are accepted together.

    Returns
    -------
    fmr, tmr
        (K,) each, non-decreasing.
    """
    genuine, impostor = _accepted(scores)
    return impostor / len(scores.impostor), genuine / len(scores.genuine)


def far_key(far: float) -> str:
    """The name of the TAR at a FAR in metrics: ``tar@far=1e-2``."""
    digits, exponent = f"{far:.6e}".split("e")
    return f"tar@far={float(digits):g}e{int(exponent)}"


def refused_far(scores: PairScores, far: float) -> str | None:
    """Why the TAR at this FAR is not quoted, or None where it is: fewer than 30 impostor pairs beyond the threshold."""
    expected = far * len(scores.impostor)
    if expected >= IMPOSTORS_BEYOND:
        return None
    needed = int(np.ceil(IMPOSTORS_BEYOND / far))
    return f"{len(scores.impostor)} impostor pairs; a FAR of {far:g} needs at least {needed}"


def rates(
    scores: PairScores, fars: Sequence[float] = (), *, weights: ArrayLike | None = None, macro: bool = False
) -> dict[str, NDArray[np.float64]]:
    """AUC, EER and TAR at each FAR, for one or many weightings of the subjects.

    The AUC is that of the trapezoids under `roc`: the chance that a genuine pair scores above an impostor one, a tie
    counting half [1]_. The EER is FMR = FNMR on the straight line between the two neighbouring vertices of the ROC. The
    TAR at a FAR is the TMR at the lowest threshold whose FMR does not exceed the FAR: a working point that exists,
    without interpolation.

    Parameters
    ----------
    scores
        What `pair_scores` returns.
    fars
        False accept rates in (0, 1). All are computed; `refused_far` tells which have too few pairs to be quoted.
    weights
        (R, S) how often each subject counts (see `resample`); None for once each.
    macro
        Whether subjects count alike, not pairs: all genuine pairs of one subject together count once, and so do all
        impostor pairs of two subjects.

    Returns
    -------
    ``{"auc": (R,), "eer": (R,), "tar@far=1e-2": (R,), ...}``; NaN where a weighting leaves no genuine or impostor pair.
    """
    table = np.ones((1, len(scores.subjects))) if weights is None else np.asarray(weights, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(scores.subjects):
        raise ValueError(f"expected weights of shape (R, {len(scores.subjects)}), got {table.shape}")
    counts = PairCounts(scores, macro=macro)
    found = [rates_of(genuine, impostor, fars) for _, genuine, impostor in counts.weighted(table)]
    names = ["auc", "eer", *(far_key(far) for far in fars)]
    return {name: np.concatenate([part[i] for part in found]) for i, name in enumerate(names)}


def threshold_at(scores: PairScores, far: float) -> float:
    """The lowest score that an impostor pair must exceed for the FMR not to exceed the FAR: accepted is what is above.

    It is the score of the first impostor pair that may not come in, so that a pair that ties with it is refused.
    """
    barred = int(np.floor(far * len(scores.impostor) * (1 + 1e-9)))
    return float(scores.impostor[min(barred, len(scores.impostor) - 1)])


def resample(subjects: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each of S subjects comes when S are drawn with replacement: (R, S) counts, each row summing to S."""
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples)


def interval(value: float, draws: ArrayLike, *, confidence: float = CONFIDENCE) -> dict[str, float | None]:
    """``{"value", "low", "high"}``: the percentile interval of the draws that are a number.

    None for a bound that is infinite, as of a ratio to a rate that too many resamples find to be 0, and for both where
    no draw is a number.
    """
    known = np.asarray(draws, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not known.size:
        return {"value": float(value), "low": None, "high": None}
    with np.errstate(invalid="ignore"):  # between two infinite draws
        bounds = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = (float(bound) if np.isfinite(bound) else None for bound in bounds)
    return {"value": float(value), "low": low, "high": high}


def verification(
    scores: PairScores, fars: Sequence[float], weights: ArrayLike, *, macro: bool = False
) -> dict[str, dict]:
    """AUC, EER and TAR at each FAR with their 95 % intervals, as written to metrics.json.

    Parameters
    ----------
    scores
        What `pair_scores` returns.
    fars
        False accept rates. Where the pairs are too few the entry is ``{"absent": reason}``.
    weights
        (R, S) from `resample`.
    macro
        As for `rates`.
    """
    quoted = [far for far in fars if refused_far(scores, far) is None]
    point = rates(scores, quoted, macro=macro)
    draws = rates(scores, quoted, weights=weights, macro=macro)
    result: dict[str, dict] = {name: interval(point[name][0], draws[name]) for name in ("auc", "eer")}
    for far in fars:
        name, reason = far_key(far), refused_far(scores, far)
        result[name] = interval(point[name][0], draws[name]) if reason is None else {"absent": reason}
    return result


def difference(
    first: PairScores, second: PairScores, weights: ArrayLike, fars: Sequence[float] = ()
) -> dict[str, dict[str, float | None]]:
    """Paired differences, first minus second, of the rates of two runs on the same sessions.

    Both runs see the same resampled subjects, so that what makes a subject hard for both cancels; the interval of the
    difference is much narrower than the two intervals suggest.

    Returns
    -------
    ``{"auc": {"value", "low", "high", "above"}, ...}``: `above` is the share of the resamples in which the first is
    strictly above the second.
    """
    if not np.array_equal(first.subjects, second.subjects) or len(first.genuine) != len(second.genuine):
        raise ValueError("a paired difference needs two runs on the same sessions")
    point = (rates(first, fars), rates(second, fars))
    draws = (rates(first, fars, weights=weights), rates(second, fars, weights=weights))
    result = {}
    for name in point[0]:
        gap = draws[0][name] - draws[1][name]
        finite = gap[np.isfinite(gap)]
        result[name] = interval(point[0][name][0] - point[1][name][0], gap)
        result[name]["above"] = float(np.mean(finite > 0)) if finite.size else None
    return result


def _accepted(scores: PairScores) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many genuine and impostor pairs each vertex of the ROC accepts, the one that accepts none first."""
    thresholds = -np.unique(-np.concatenate([scores.genuine, scores.impostor]))
    accepted = [np.searchsorted(-each, -thresholds, side="right") for each in (scores.genuine, scores.impostor)]
    genuine, impostor = (np.concatenate([[0], each]) for each in accepted)
    return genuine, impostor
