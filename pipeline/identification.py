"""Closed-set identification with one gallery session a subject, the exact mean over every choice of it, or with all.

The smaller gallery holds one session of each subject, drawn at random and independently; the subject's other sessions
are his probes, so that a gallery image is never its own probe. A probe's rank is one plus the number of other subjects
whose gallery session scores at least as high as the probe's own (a tie is not an identification). For a probe p and its
own gallery session q, another subject j gets ahead with the chance

    f_j = share of j's gallery sessions g with  s(p, g) >= s(p, q),

independently of the others, so that the rank less one is a sum of independent Bernoulli variables (Poisson binomial),
whose distribution is found by convolving one subject after the other. No drawing is involved, and no rate moves with
the luck of the gallery.

The full gallery holds all sessions but the probe itself; a subject's score is that of his most similar session.

References: the CMC, closed-set, as in P. J. Phillips, P. Grother, R. Micheals, "Evaluation methods in face
recognition", in: Handbook of Face Recognition, Springer 2011. DOI:10.1007/978-0-85729-932-1_21
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.verification import interval

LONGEST = 50  # ranks that are counted


@dataclass(frozen=True)
class Ranks:
    """Expected identifications by subject; sums over subjects give the CMC, weighted sums its resamples.

    Attributes
    ----------
    found
        (S, K) expected number of the subject's probes whose rank is at most 1..K.
    probes
        (S,) expected number of the subject's probes.
    galleries
        Number of subjects in the gallery, by the rig that it was taken from ("" where rigs are not told apart).
    """

    found: np.ndarray
    probes: np.ndarray
    galleries: dict[str, int]

    def cmc(self) -> np.ndarray:
        """(K,) share of the probes whose rank is at most 1..K."""
        return self.found.sum(axis=0) / self.probes.sum()

    def macro(self) -> Ranks:
        """Subjects counted alike: each one's probes together count once."""
        each = np.where(self.probes > 0, self.probes, 1)
        return Ranks(self.found / each[:, None], (self.probes > 0).astype(float), self.galleries)

    def draws(self, weights: np.ndarray) -> np.ndarray:
        """(R, K) the CMC of (R, S) resampled subjects, as `intervals` explains."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights @ self.found) / (weights @ self.probes)[:, None])

    def intervals(self, weights: np.ndarray) -> list[dict[str, float | None]]:
        """For each of the K ranks ``{"value", "low", "high"}``, from (R, S) resampled subjects.

        The probes' subjects are resampled and the gallery stays: a gallery of resampled subjects would hold fewer
        different people than the one measured, and be easier.
        """
        return [interval(value, draw) for value, draw in zip(self.cmc(), self.draws(weights).T, strict=True)]


def protocols(similarity: np.ndarray, subjects: np.ndarray, rigs: np.ndarray) -> dict[str, Ranks | str]:
    """Identification over all sessions, within each rig, and across rigs; with one gallery session a subject or all.

    Parameters
    ----------
    similarity
        (N, N) scores, higher is more alike; the diagonal is not looked at, nor what is NaN, of one subject's sessions.
    subjects, rigs
        (N,) labels of the sessions.

    Returns
    -------
    By protocol its ranks, or the reason why there are none. `same_rig` takes gallery and probes from one rig, each rig
    in turn; `across_rigs` takes the gallery from one rig and the probes from the others. Rigs are pooled by probe.
    """
    everyone = np.ones(len(subjects), dtype=bool)
    names = np.unique(rigs)
    cases = {
        "overall": [("", everyone, everyone)],
        "same_rig": [(name, rigs == name, rigs == name) for name in names],
        "across_rigs": [(name, rigs == name, rigs != name) for name in names],
    }
    reasons = {
        "overall": "no subject has two sessions",
        "same_rig": "no subject has two sessions at one rig",
        "across_rigs": "all sessions are from one rig" if len(names) == 1 else "no subject has sessions at two rigs",
    }
    result: dict[str, Ranks | str] = {}
    for suffix, ranked in (("", expected_ranks), ("_full", full_ranks)):
        for protocol, parts in cases.items():
            ranks = [ranked(similarity, subjects, gallery=g, probes=p, name=name) for name, g, p in parts]
            pooled = [r for r in ranks if r.probes.any()]
            result[protocol + suffix] = _pool(pooled) if pooled else reasons[protocol]
    return result


def expected_ranks(
    similarity: np.ndarray, subjects: np.ndarray, *, gallery: np.ndarray, probes: np.ndarray, name: str = ""
) -> Ranks:
    """Ranks averaged over every choice of one gallery session a subject.

    Parameters
    ----------
    similarity
        (N, N) scores.
    subjects
        (N,) labels.
    gallery, probes
        (N,) bool: sessions that may be drawn for the gallery; sessions that are probes when they are not in it.
    """
    codes = np.unique(subjects, return_inverse=True)[1]
    probe, _, ahead, drawn = _ahead(similarity, codes, gallery, probes)
    enrolled = len(np.unique(codes[gallery]))
    within = _within_rank(ahead, min(enrolled, LONGEST))
    found = np.zeros((codes.max() + 1, within.shape[1]))
    np.add.at(found, codes[probe], within * drawn[:, None])
    return Ranks(found, np.bincount(codes[probe], drawn, minlength=len(found)), {name: enrolled})


def full_ranks(
    similarity: np.ndarray, subjects: np.ndarray, *, gallery: np.ndarray, probes: np.ndarray, name: str = ""
) -> Ranks:
    """As `expected_ranks`, with all sessions of the gallery in it but the probe itself."""
    codes = np.unique(subjects, return_inverse=True)[1]
    enrolled = np.unique(codes[gallery])
    own, best = nearest(similarity, codes, gallery)
    known = probes & np.isfinite(own)
    rank = 1 + (best[known] >= own[known, None]).sum(axis=1)
    within = rank[:, None] <= np.arange(1, min(len(enrolled), LONGEST) + 1)
    found = np.zeros((codes.max() + 1, within.shape[1]))
    np.add.at(found, codes[known], within.astype(float))
    return Ranks(found, np.bincount(codes[known], minlength=len(found)).astype(float), {name: len(enrolled)})


def nearest(similarity: np.ndarray, codes: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of N sessions the score of its own subject's most similar other one in the gallery, and of the others'.

    Returns
    -------
    own
        (N,); minus infinity where there is none.
    others
        (N, S); minus infinity for the own subject, and for those without a gallery session.
    """
    best = np.full((len(codes), codes.max() + 1), -np.inf)
    apart = np.where(np.eye(len(codes), dtype=bool) | np.isnan(similarity), -np.inf, similarity)
    for code in np.unique(codes[gallery]):
        best[:, code] = apart[:, gallery & (codes == code)].max(axis=1)
    rows = np.arange(len(codes))
    own = best[rows, codes]
    best[rows, codes] = -np.inf
    return own, best


def rank1_pairs(similarity: np.ndarray, subjects: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of all sessions as probes and gallery: each (probe, own gallery session), and the chance of a rank of 1.

    Returns
    -------
    probe, gallery
        (M,) rows of the two sessions.
    first
        (M,) chance of a rank of 1 where this gallery session was drawn.
    drawn
        (M,) chance that it is; weighted so, the mean of ``first`` is the rank-1 of `expected_ranks`.
    """
    codes = np.unique(subjects, return_inverse=True)[1]
    everyone = np.ones(len(codes), dtype=bool)
    probe, own, ahead, drawn = _ahead(similarity, codes, everyone, everyone)
    return probe, own, np.prod(1 - ahead, axis=1), drawn


def rank1_difference(first: Ranks, second: Ranks, weights: np.ndarray) -> dict[str, float | None]:
    """Rank-1 of one run less that of another, by one protocol on the same sessions.

    Parameters
    ----------
    weights
        (R, S) resampled subjects, the same for both.

    Returns
    -------
    ``{"value", "low", "high", "above"}`` as `pipeline.verification.difference`.
    """
    gap = first.draws(weights)[:, 0] - second.draws(weights)[:, 0]
    finite = gap[np.isfinite(gap)]
    found = interval(first.cmc()[0] - second.cmc()[0], gap)
    return found | {"above": float(np.mean(finite > 0)) if finite.size else None}


def _ahead(
    similarity: np.ndarray, codes: np.ndarray, gallery: np.ndarray, probes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each probe with each gallery session of its own: both rows, the chance (M, S) of others to get ahead, and of the
    gallery session to be the one drawn.
    """
    in_gallery = np.flatnonzero(gallery)
    enrolled = codes[in_gallery]
    sessions = np.bincount(enrolled, minlength=codes.max() + 1)  # of each subject that may be drawn
    share = np.zeros((len(in_gallery), len(sessions)))
    share[np.arange(len(in_gallery)), enrolled] = 1 / sessions[enrolled]
    probe, own = [np.empty(0, dtype=int)], [np.empty(0, dtype=int)]
    ahead = [np.empty((0, len(sessions)))]
    for row in np.flatnonzero(probes):
        own_scores = similarity[row, in_gallery]
        drawn = in_gallery[(enrolled == codes[row]) & (in_gallery != row) & ~np.isnan(own_scores)]
        beats = similarity[row, in_gallery][None] >= similarity[row, drawn][:, None]  # (own sessions, gallery)
        chance = beats.astype(float) @ share
        chance[:, codes[row]] = 0
        probe.append(np.full(len(drawn), row))
        own.append(drawn)
        ahead.append(chance)
    rows = np.concatenate(probe)
    return rows, np.concatenate(own), np.concatenate(ahead), 1 / np.maximum(sessions, 1)[codes[rows]]


def _within_rank(ahead: np.ndarray, ranks: int) -> np.ndarray:
    """(M, K) chance that at most 0..K-1 of the independent events of chance ``ahead`` (M, S) happen."""
    number = np.zeros((len(ahead), ranks))
    number[:, :1] = 1
    for chance in ahead.T[:, :, None]:
        number[:, 1:] = number[:, 1:] * (1 - chance) + number[:, :-1] * chance
        number[:, :1] *= 1 - chance
    return np.minimum(np.cumsum(number, axis=1), 1)


def _pool(parts: list[Ranks]) -> Ranks:
    """Rigs together; beyond the size of the smaller gallery a probe's rank is certain."""
    ranks = max(part.found.shape[1] for part in parts)
    found = [np.pad(part.found, ((0, 0), (0, ranks - part.found.shape[1])), mode="edge") for part in parts]
    galleries = {name: size for part in parts for name, size in part.galleries.items()}
    return Ranks(np.sum(found, axis=0), np.sum([part.probes for part in parts], axis=0), galleries)
