"""Open-set identification: probes of people whom the gallery does not know.

Each subject in turn is the unknown one. His probes are searched among all other subjects' sessions (*non-mated*), and
among all sessions but the probe itself (*mated*), so that every session is both kinds of probe, the gallery never
shrinks by more than one subject, and nothing is drawn. A subject's score is that of his most similar session. At a
threshold t

    FPIR(t) = share of the non-mated probes whose best candidate scores at least t,
    FNIR(t) = share of the mated probes whose own subject scores below t, or is not the first candidate,

as in NIST's evaluations of one-to-many search (rank 1). A tie with another subject is not an identification.

References
----------
.. [1] M. Günther et al., "Toward open-set face recognition", CVPR Workshops 2017. arXiv:1705.01567
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.identification import nearest
from pipeline.verification import IMPOSTORS_BEYOND, far_key, interval


@dataclass(frozen=True)
class OpenSet:
    """Searches of N probes.

    Attributes
    ----------
    own
        (N,) score of the probe's own subject; minus infinity where he has no other session.
    other
        (N,) score of the best of the other subjects.
    codes
        (N,) subject of each probe.
    """

    own: np.ndarray
    other: np.ndarray
    codes: np.ndarray

    def fnir(self, fpirs: Sequence[float], weights: np.ndarray | None = None) -> np.ndarray:
        """(R, F) FNIR at the lowest threshold whose FPIR does not exceed each FPIR, of (R, S) weighted subjects."""
        table = np.ones((1, self.codes.max() + 1)) if weights is None else np.asarray(weights, dtype=float)
        order = np.argsort(-self.other, kind="stable")
        own, other = self.own[order], self.other[order]
        each = table[:, self.codes[order]]  # (R, N)
        passed = np.cumsum(each, axis=1)
        mated = each * np.isfinite(own)
        first = mated * (own > other)
        found = []
        with np.errstate(invalid="ignore", divide="ignore"):
            for fpir in fpirs:
                barred = (passed <= fpir * passed[:, -1:] * (1 + 1e-9)).sum(axis=1)
                above = own[None] > other[np.minimum(barred, len(other) - 1)][:, None]
                found.append(1 - (first * above).sum(axis=1) / mated.sum(axis=1))
        return np.stack(found, axis=1)


def open_set(similarity: np.ndarray, subjects: np.ndarray) -> OpenSet:
    """All sessions as probes of all others.

    Parameters
    ----------
    similarity
        (N, N) scores, higher is more alike; the diagonal is not looked at.
    subjects
        (N,) labels, of two subjects at least.
    """
    codes = np.unique(subjects, return_inverse=True)[1]
    own, others = nearest(similarity, codes, np.ones(len(codes), dtype=bool))
    return OpenSet(own, others.max(axis=1), codes)


def open_set_rates(found: OpenSet, fpirs: Sequence[float], weights: np.ndarray) -> dict[str, dict]:
    """``{"fnir@fpir=1e-1": {"value", "low", "high"}}``, or why one is not quoted: fewer than 30 probes decide it."""
    point, draws = found.fnir(fpirs)[0], found.fnir(fpirs, weights)
    result: dict[str, dict] = {}
    for i, fpir in enumerate(fpirs):
        name = far_key(fpir).replace("tar@far", "fnir@fpir")
        needed = int(np.ceil(IMPOSTORS_BEYOND / fpir))
        if len(found.codes) * fpir >= IMPOSTORS_BEYOND:
            result[name] = interval(point[i], draws[:, i])
        else:
            result[name] = {"absent": f"{len(found.codes)} probes; an FPIR of {fpir:g} needs at least {needed}"}
    return result
