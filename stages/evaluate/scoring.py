"""All numbers of a run from its embeddings: the same protocol for the network and for raw pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.verification import PairScores, cosine_matrix, matrix_pairs, verification
from stages.evaluate.identification import Ranks, protocols

RANKS = (1, 5)


@dataclass(frozen=True)
class Recognition:
    """Scores of all pairs and ranks of all probes, by one set of vectors.

    Attributes
    ----------
    scores
        Genuine and impostor cosines of all pairs.
    ranks
        By protocol (overall, same_rig, across_rigs), or why there are none.
    """

    scores: PairScores
    ranks: dict[str, Ranks | str]


def recognise(vectors: np.ndarray, subjects: np.ndarray, rigs: np.ndarray) -> Recognition:
    """Compare (N, D) vectors by their cosine, all pairs and all probes."""
    similarity = cosine_matrix(vectors)
    return Recognition(matrix_pairs(similarity, subjects), protocols(similarity, subjects, rigs))


def recognition_metrics(found: Recognition, fars: Sequence[float], weights: np.ndarray) -> dict[str, Any]:
    """The sections `verification` and `identification` of metrics.json.

    Parameters
    ----------
    found
        What `recognise` returns.
    fars
        False accept rates of the verification.
    weights
        (R, S) resampled subjects.
    """
    return {
        "verification": verification(found.scores, fars, weights),
        "identification": {name: _rank_rates(ranks, weights) for name, ranks in found.ranks.items()},
    }


def recognition_counts(found: Recognition) -> dict[str, Any]:
    """Pairs, and by protocol the probes (expected over the choice of the gallery) and the size of each gallery."""
    return {
        "genuine": len(found.scores.genuine),
        "impostor": len(found.scores.impostor),
        "identification": {
            name: {"probes": round(float(ranks.probes.sum()), 6), "galleries": _galleries(ranks)}
            for name, ranks in found.ranks.items()
            if isinstance(ranks, Ranks)
        },
    }


def _galleries(ranks: Ranks) -> dict[str, int]:
    return {name or "all": size for name, size in ranks.galleries.items()}


def _rank_rates(ranks: Ranks | str, weights: np.ndarray) -> dict[str, Any]:
    if isinstance(ranks, str):
        return {"absent": ranks}
    rates = ranks.intervals(weights)
    return {f"rank{k}": rates[min(k, len(rates)) - 1] for k in RANKS}
