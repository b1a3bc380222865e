"""Does fusing pay? The fusion chosen on validation against single modalities, paired over the same test subjects.

Whatever is chosen, is chosen by the AUC on validation subjects; nothing here looks at test to choose, except the one
comparison that says so in its name, which favours the single modality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.identification import Ranks, expected_ranks, rank1_difference
from pipeline.verification import difference, refused_far, resample
from stages.report.runs import Run

BASELINES = ("frame", "frames")
FARS = (0.01, 0.001)
MEANING = {
    "best_single": "best single modality, chosen on validation",
    "best_single_on_test": "best single modality, chosen on test (in its favour)",
    "frame": "one photograph",
    "frames": "all raw photographs",
}


def compare(runs: Sequence[Run], *, resamples: int, seed: int) -> dict[str, Any]:
    """The chosen fusion minus its rivals.

    Parameters
    ----------
    runs
        All evaluated runs.
    resamples, seed
        Of the subjects; each comparison sees the same ones.

    Returns
    -------
    ``{"chosen": {...}, "differences": {rival: {"first", "second", "against", "sessions", "subjects", "auc": {"value",
    "low", "high", "above"}, "eer": ..., "tar@far=1e-2": ..., "rank1": ..., "verdict"}}}``, or ``{"absent": reason}``.
    The verdict is that of the AUC's interval: above, below, not told apart.
    """
    fusion = _best([run for run in runs if run.fused], lambda run: run.validation_auc)
    if fusion is None:
        return {"absent": "no fusion with a validation.json has been evaluated here"}
    singles = [run for run in runs if not run.fused and run.modalities[0] not in BASELINES]
    rivals = {
        "best_single": _best(singles, lambda run: run.validation_auc),
        "best_single_on_test": _best(singles, lambda run: run.metrics["verification"]["auc"]["value"]),
        **{name: next((run for run in runs if run.name == name), None) for name in BASELINES},
    }
    named = {name: run.name for name, run in rivals.items() if run is not None and name not in BASELINES}
    return {
        "chosen": {
            "by": "AUC on validation subjects",
            "fusion": fusion.name,
            **named,
            "validation_auc": {run.name: run.validation_auc for run in runs if run.validation_auc is not None},
        },
        "resamples": resamples,
        "differences": {
            name: {"first": fusion.name, "second": rival.name, "against": MEANING[name]}
            | _difference(fusion, rival, resamples=resamples, seed=seed)
            for name, rival in rivals.items()
            if rival is not None
        },
    }


def lines(comparison: dict[str, Any]) -> list[str]:
    """The comparison in words, a line each."""
    if "absent" in comparison:
        return [f"no comparison: {comparison['absent']}"]
    return [
        f"{each['first']} - {each['second']} ({each['against']}): AUC {signed(each['auc'])}, EER {signed(each['eer'])}"
        f" on {each['subjects']} subjects: {each['verdict']}"
        for each in comparison["differences"].values()
    ]


def signed(rate: dict[str, float]) -> str:
    """``+0.012 [+0.003, +0.021]``."""
    return f"{rate['value']:+.4f} [{rate['low']:+.4f}, {rate['high']:+.4f}]"


def _best(runs: Sequence[Run], rate: Callable[[Run], float | None]) -> Run | None:
    rated = [(value, run) for run in runs if (value := rate(run)) is not None]
    return max(rated, key=lambda pair: pair[0])[1] if rated else None


def _difference(first: Run, second: Run, *, resamples: int, seed: int) -> dict[str, Any]:
    sessions = np.intersect1d(first.embeddings["session"], second.embeddings["session"])
    scores = first.scores(sessions), second.scores(sessions)
    weights = resample(len(scores[0].subjects), resamples, np.random.default_rng(seed))
    fars = [far for far in FARS if refused_far(scores[0], far) is None]
    counts = {"sessions": len(sessions), "subjects": len(scores[0].subjects)}
    found = difference(*scores, weights, fars)
    found["rank1"] = rank1_difference(_ranks(first, sessions), _ranks(second, sessions), weights)
    return {**counts, "verdict": _verdict(found["auc"]), **found}


def _ranks(run: Run, sessions: np.ndarray) -> Ranks:
    """Over all sessions, one gallery session a subject."""
    similarity, subjects = run.similarity(sessions)
    everyone = np.ones(len(subjects), dtype=bool)
    return expected_ranks(similarity, subjects, gallery=everyone, probes=everyone)


def _verdict(gap: dict[str, float | None]) -> str:
    """What the interval of a difference says."""
    if gap["low"] is None or gap["high"] is None or gap["low"] <= 0 <= gap["high"]:
        return "not told apart"
    return "above" if gap["low"] > 0 else "below"
