"""Closed-set identification with one gallery session a subject, as the exact mean over every choice of it.

The gallery holds one session of each subject, drawn at random and independently; the subject's other sessions are his
probes, so that a gallery image is never its own probe. A probe's rank is one plus the number of other subjects whose
gallery session scores at least as high as the probe's own (a tie is not an identification). For a probe p and its own
gallery session q, another subject j gets ahead with the chance

    f_j = share of j's gallery sessions g with  s(p, g) >= s(p, q),

independently of the others, so that the rank less one is a sum of independent Bernoulli variables (Poisson binomial),
whose distribution is found by convolving one subject after the other. No drawing is involved, and no rate moves with
the luck of the gallery.

References: the CMC, closed-set, as in P. J. Phillips, P. Grother, R. Micheals, "Evaluation methods in face
recognition", in: Handbook of Face Recognition, Springer 2011. DOI:10.1007/978-0-85729-932-1_21
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.verification import interval


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

    def intervals(self, weights: np.ndarray) -> list[dict[str, float | None]]:
        """For each of the K ranks ``{"value", "low", "high"}``, from (R, S) resampled subjects.

        The probes' subjects are resampled and the gallery stays: a gallery of resampled subjects would hold fewer
        different people than the one measured, and be easier.
        """
        probes = weights @ self.probes
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = (weights @ self.found) / probes[:, None]
        return [interval(value, draw) for value, draw in zip(self.cmc(), draws.T, strict=True)]


def protocols(similarity: np.ndarray, subjects: np.ndarray, rigs: np.ndarray) -> dict[str, Ranks | str]:
    """Identification over all sessions, within each rig, and across rigs.

    Parameters
    ----------
    similarity
        (N, N) scores, higher is more alike; the diagonal is not looked at.
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
    for protocol, parts in cases.items():
        ranks = [expected_ranks(similarity, subjects, gallery=g, probes=p, name=name) for name, g, p in parts]
        pooled = [r for r in ranks if r.probes.any()]
        result[protocol] = _pool(pooled) if pooled else reasons[protocol]
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
    count = codes.max() + 1
    in_gallery = np.flatnonzero(gallery)
    sessions = np.bincount(codes[in_gallery], minlength=count)  # of each subject that may be drawn
    share = np.zeros((len(in_gallery), count))
    share[np.arange(len(in_gallery)), codes[in_gallery]] = 1 / sessions[codes[in_gallery]]
    own, ahead = [np.empty(0, dtype=int)], [np.empty((0, count))]
    for probe in np.flatnonzero(probes):
        drawn = in_gallery[(codes[in_gallery] == codes[probe]) & (in_gallery != probe)]
        beats = similarity[probe, in_gallery][None] >= similarity[probe, drawn][:, None]  # (own sessions, gallery)
        chance = beats.astype(float) @ share
        chance[:, codes[probe]] = 0
        own.append(np.full(len(drawn), codes[probe]))
        ahead.append(chance)
    subject = np.concatenate(own)
    within = _within_rank(np.concatenate(ahead), int((sessions > 0).sum()))
    chance_drawn = 1 / np.maximum(sessions, 1)
    found = np.zeros((count, within.shape[1]))
    np.add.at(found, subject, within * chance_drawn[subject][:, None])
    expected = np.bincount(subject, minlength=count) * chance_drawn
    return Ranks(found, expected, {name: int((sessions > 0).sum())})


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
