"""Does a quality number know which sessions fail? Error versus discard.

A pair's quality is the lower of its two sessions'. The pairs of the lowest quality are dropped, in steps of 5 %, and
the FNMR at a common FMR is looked at again: a useful quality makes it fall. As in MagFace's own evaluation the
threshold is found anew after each drop; beside it stands the FNMR at the threshold of the start, as Grother and
Tabassi fix it, where a fall cannot come from the impostors.

References: P. Grother, E. Tabassi, "Performance of biometric quality measures", IEEE TPAMI 29(4), 2007. Q. Meng et
al., "MagFace", CVPR 2021, arXiv:2103.06627. T. Schlett et al., "Considerations on the evaluation of biometric quality
assessment algorithms", 2023, arXiv:2303.13294.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipeline.verification import PairScores, far_key, interval, rates, refused_far, threshold_at

FMRS = (0.001, 0.01)  # the first that enough pairs decide
STEPS = np.arange(0, 0.96, 0.05)
QUOTED = 0.2


def qualities(embeddings: np.ndarray, facts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By name the quality (N,) of sessions, higher is better; those that are known for all and vary."""
    found = {
        "norm": np.linalg.norm(embeddings, axis=1),
        "residual": -facts["residual"],
        "integrability": -facts["integrability"],
        "detector": facts["detector"],
    }
    return {name: values for name, values in found.items() if np.isfinite(values).all() and np.ptp(values) > 0}


def error_versus_discard(
    scores: PairScores, quality: dict[str, np.ndarray], weights: np.ndarray
) -> tuple[dict[str, Any], pd.DataFrame]:
    """FNMR before and after the worst pairs are dropped.

    Parameters
    ----------
    scores
        Of all pairs.
    quality
        What `qualities` returns.
    weights
        (R, S) resampled subjects.

    Returns
    -------
    ``{"fmr", "start", <name>: {"fnmr@discard=0.2", "gain"}}``, the gain being how far the FNMR fell, under the same
    resamples; and the curves: `discard`, by name the FNMR, and ``<name>_fixed`` at the threshold of the start.
    """
    fmr = next((f for f in FMRS if refused_far(scores, f * (1 - QUOTED)) is None), None)
    if fmr is None:
        return {"absent": refused_far(scores, FMRS[-1]) or "too few impostor pairs"}, pd.DataFrame({"discard": STEPS})
    key, threshold = far_key(fmr), threshold_at(scores, fmr)
    begin = rates(scores, [fmr])[key][0], rates(scores, [fmr], weights=weights)[key]
    result: dict[str, Any] = {"fmr": fmr, "start": interval(1 - begin[0], 1 - begin[1])}
    curves: dict[str, Any] = {"discard": STEPS.round(2)}
    for name, values in quality.items():
        columns: list[tuple[float, float]] = []
        for step in STEPS:
            left = _kept(scores, values, step)
            columns.append(_fnmr(left, fmr, threshold))
        curves[name], curves[f"{name}_fixed"] = zip(*columns, strict=True)
        left = _kept(scores, values, QUOTED)
        if not len(left.genuine):
            result[name] = {"absent": "no genuine pair is left"}
            continue
        value, draws = rates(left, [fmr])[key][0], rates(left, [fmr], weights=weights)[key]
        result[name] = {
            f"fnmr@discard={QUOTED:g}": interval(1 - value, 1 - draws),
            "gain": interval(value - begin[0], draws - begin[1]),
            "counts": {"genuine": len(left.genuine), "impostor": len(left.impostor)},
        }
    return result, pd.DataFrame(curves)


def _kept(scores: PairScores, quality: np.ndarray, discard: float) -> PairScores:
    """Without the share of all pairs, genuine and impostor together, whose quality is lowest."""
    of_genuine, of_impostor = (
        quality[rows].min(axis=0) for rows in (scores.genuine_sessions, scores.impostor_sessions)
    )
    pooled = np.concatenate([of_genuine, of_impostor])
    lowest = np.sort(pooled)[round(discard * len(pooled))] if discard else -np.inf
    return scores.subset(of_genuine >= lowest, of_impostor >= lowest)


def _fnmr(left: PairScores, fmr: float, threshold: float) -> tuple[float, float]:
    """At the threshold found anew (NaN without pairs enough), and at the one given."""
    if not len(left.genuine):
        return np.nan, np.nan
    again = np.nan
    if refused_far(left, fmr) is None:
        again = float(np.mean(left.genuine <= threshold_at(left, fmr)))
    return again, float(np.mean(left.genuine <= threshold))
