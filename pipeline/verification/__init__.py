"""Verification rates: of all pairs of some sessions with intervals, and of all pairs of very many, streamed."""

from pipeline.verification.rates import (
    CONFIDENCE,
    IMPOSTORS_BEYOND,
    PairScores,
    check_finite,
    cosine_matrix,
    difference,
    distance_matrix,
    far_key,
    interval,
    matrix_pairs,
    pair_scores,
    rates,
    refused_far,
    resample,
    roc,
    threshold_at,
    verification,
)
from pipeline.verification.twins import twins, without_twins

__all__ = [
    "CONFIDENCE",
    "IMPOSTORS_BEYOND",
    "PairScores",
    "check_finite",
    "cosine_matrix",
    "difference",
    "distance_matrix",
    "far_key",
    "interval",
    "matrix_pairs",
    "pair_scores",
    "rates",
    "refused_far",
    "resample",
    "roc",
    "threshold_at",
    "twins",
    "verification",
    "without_twins",
]
