"""All numbers of a run from its embeddings: the same protocol for the network and for raw pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.identification import Ranks, protocols, rank1_difference
from pipeline.openset import OpenSet, open_set, open_set_rates
from pipeline.verification import (
    PairScores,
    cosine_matrix,
    difference,
    distance_matrix,
    interval,
    matrix_pairs,
    rates,
    verification,
    without_twins,
)

RANKS = (1, 5)
FPIRS = (0.1, 0.01)


@dataclass(frozen=True)
class Recognition:
    """Scores of all pairs and ranks of all probes, by one set of vectors.

    Attributes
    ----------
    similarity
        (N, N) cosines; NaN of two sessions that are one visit.
    scores
        Genuine and impostor cosines of all pairs.
    distances
        Minus the Euclidean distances of the vectors as they are, of all pairs.
    ranks
        By protocol (overall, same_rig, across_rigs, and each with the full gallery), or why there are none.
    searches
        Open-set searches of all sessions.
    """

    similarity: np.ndarray
    scores: PairScores
    distances: PairScores
    ranks: dict[str, Ranks | str]
    searches: OpenSet


def recognise(vectors: np.ndarray, sessions: np.ndarray, subjects: np.ndarray, rigs: np.ndarray) -> Recognition:
    """Compare (N, D) vectors by their cosine, all pairs and all probes; and by their distance, all pairs.

    A session is not compared with the same one without its mask, by their ids (N,).
    """
    similarity = without_twins(cosine_matrix(vectors), sessions)
    return Recognition(
        similarity=similarity,
        scores=matrix_pairs(similarity, subjects),
        distances=matrix_pairs(without_twins(-distance_matrix(vectors), sessions), subjects),
        ranks=protocols(similarity, subjects, rigs),
        searches=open_set(similarity, subjects),
    )


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
    distances = interval(rates(found.distances)["auc"][0], rates(found.distances, weights=weights)["auc"])
    ranked = {name: _rank_rates(ranks, weights) for name, ranks in found.ranks.items()}
    return {
        "verification": {**verification(found.scores, fars, weights), "auc_euclidean": distances},
        "identification": {**ranked, "open_set": open_set_rates(found.searches, FPIRS, weights)},
    }


def macro_metrics(found: Recognition, fars: Sequence[float], weights: np.ndarray) -> dict[str, Any]:
    """The section `macro`: as `recognition_metrics`, each subject counted alike however many sessions he has."""
    ranks = {name: each.macro() if isinstance(each, Ranks) else each for name, each in found.ranks.items()}
    return {
        "verification": verification(found.scores, fars, weights, macro=True),
        "identification": {name: _rank_rates(each, weights) for name, each in ranks.items()},
    }


def recognition_gain(found: Recognition, other: Recognition, weights: np.ndarray) -> dict[str, Any]:
    """AUC, EER and rank-1 less those of other vectors of the same sessions, paired over the resampled subjects."""
    both = {name: (ranks, other.ranks[name]) for name, ranks in found.ranks.items()}
    return {
        "verification": difference(found.scores, other.scores, weights),
        "identification": {
            name: {"rank1": rank1_difference(one, two, weights)}
            if isinstance(one, Ranks) and isinstance(two, Ranks)
            else {"absent": one}
            for name, (one, two) in both.items()
        },
    }


def recognition_counts(found: Recognition) -> dict[str, Any]:
    """Pairs, and by protocol the probes (expected over the choice of the gallery) and the size of each gallery."""
    most = np.bincount(found.scores.genuine_subject)
    return {
        "genuine": len(found.scores.genuine),
        "impostor": len(found.scores.impostor),
        "most_genuine_of_one": {"subject": str(found.scores.subjects[most.argmax()]), "genuine": int(most.max())},
        "searches": {"mated": int(np.isfinite(found.searches.own).sum()), "non_mated": len(found.searches.own)},
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
