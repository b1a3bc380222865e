"""The rows of docs/results/recognition.csv: the rates of a run, those of its first rig, and paired differences of two.

    run, seed, device (of the training: cpu or cuda), metric (as in metrics.json), value, low, high (95 %, by resampling
    subjects), n (what it is counted over)

`same_rig.`, `across_rigs.` and `first_rig.` before a metric say which sessions were compared, `yale.` that they were of
real faces, `fresh.` of people who were simulated after all had been chosen. A difference has both names, `all -
frames`, and is of the sessions and the resampled subjects that both share.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.identification import Ranks, expected_ranks, protocols, rank1_difference
from pipeline.verification import PairScores, cosine_matrix, difference, matrix_pairs, resample, verification

COLUMNS = ["run", "seed", "device", "metric", "value", "low", "high", "n"]
FARS = (0.01, 0.001)
RESAMPLES, SEED = 1000, 7
PARTS = ("", "same_rig", "across_rigs", "first_rig")
ELSEWHERE = ("yale", "fresh")  # other faces that some runs are scored on, each in a folder of its own
OVER = (
    {"fmr": "impostor"}
    | dict.fromkeys(("auc", "eer", "auc_euclidean", "fnmr", "tar", "tmr", "accuracy", "start"), "genuine")
    | dict.fromkeys(("rank1", "rank5"), "probes")
)


class Scored:
    """What an evaluated run said of the test sessions.

    Parameters
    ----------
    folder
        Its `evaluate` folder.
    sessions
        Which sessions, in sorted order; None for all of them.
    """

    def __init__(self, folder: Path, sessions: np.ndarray | None = None) -> None:
        with np.load(folder / "embeddings.npz") as saved:
            order = np.argsort(saved["session"])
            if sessions is not None:
                order = order[np.isin(saved["session"][order], sessions)]
            self.session, self.subject, self.rig, embedding = (
                saved[name][order] for name in ("session", "subject", "rig", "embedding")
            )
            self.years = saved["age"][order] if "age" in saved else None
        self.on_first = self.rig == np.unique(self.rig)[0]
        self.similarity = cosine_matrix(embedding)

    @cached_property
    def draws(self) -> np.ndarray:
        """(R, S) resampled subjects, the same for every run on these sessions."""
        return resample(len(np.unique(self.subject)), RESAMPLES, np.random.default_rng(SEED))

    @cached_property
    def _protocols(self) -> dict[str, Ranks | str]:
        return protocols(self.similarity, self.subject, self.rig)

    def pairs(self, part: str) -> PairScores:
        """The pairs of a part of `PARTS`."""
        pairs = matrix_pairs(self.similarity, self.subject)
        return pairs.subset(*(self._inside(part, each) for each in (pairs.genuine_sessions, pairs.impostor_sessions)))

    def ranks(self, part: str) -> Ranks:
        """Identification with one gallery session a subject, in a part of `PARTS`."""
        if part == "first_rig":
            return expected_ranks(self.similarity, self.subject, gallery=self.on_first, probes=self.on_first)
        found = self._protocols[part or "overall"]
        assert isinstance(found, Ranks), found
        return found

    def _inside(self, part: str, sessions: np.ndarray) -> np.ndarray:
        if part == "first_rig":
            return self.on_first[sessions].all(axis=0)
        first, second = self.rig[sessions]
        return np.ones(len(first), dtype=bool) if not part else (first == second) == (part == "same_rig")


def run_rows(run: Path) -> Iterator[dict[str, Any]]:
    """The rates of a run's metrics.json, those of the first rig alone, what it has of its own, those on other faces."""
    yield from leaves(json.loads((run / "evaluate" / "metrics.json").read_text()), "", {})
    scored, part = Scored(run / "evaluate"), "first_rig"
    pairs, ranks = scored.pairs(part), scored.ranks(part)
    yield from leaves({"verification": verification(pairs, FARS, scored.draws)}, part, _pair_counts(pairs))
    yield _rank1_row(part, ranks.intervals(scored.draws)[0], ranks)
    if (run / "evaluate" / "own.csv").exists():
        yield from pd.read_csv(run / "evaluate" / "own.csv").to_dict("records")
    for place in ELSEWHERE:
        if (run / place / "embeddings.npz").exists():
            for row in leaves(json.loads((run / place / "metrics.json").read_text()), "", {}):
                yield row | {"metric": f"{place}.{row['metric']}"}


def difference_rows(first: Path, second: Path) -> Iterator[dict[str, Any]]:
    """Paired differences of two runs, first minus second, of the sessions that both were tested on."""
    one, other = _shared(first / "evaluate", second / "evaluate")
    for part in PARTS:
        yield from _gaps(one, other, part, part)
    for place in ELSEWHERE:
        if all((run / place / "embeddings.npz").exists() for run in (first, second)):
            yield from _gaps(*_shared(first / place, second / place), "", place)


def _shared(first: Path, second: Path) -> tuple[Scored, Scored]:
    """Two runs on the sessions that both were tested on."""
    sessions = [np.load(folder / "embeddings.npz")["session"] for folder in (first, second)]
    shared = np.intersect1d(*sessions)
    return Scored(first, shared), Scored(second, shared)


def _gaps(one: Scored, other: Scored, part: str, name: str) -> Iterator[dict[str, Any]]:
    pairs, ranks = one.pairs(part), one.ranks(part)
    yield from leaves(
        {"verification": difference(pairs, other.pairs(part), one.draws, FARS)}, name, _pair_counts(pairs)
    )
    yield _rank1_row(name, rank1_difference(ranks, other.ranks(part), one.draws), ranks)


def leaves(values: Mapping[str, Any], name: str, over: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Dotted names of all rates below, each with its interval and what it is counted over: its ``n`` or `counted`."""
    if "value" in values:
        number = values["n"] if "n" in values else counted(name, over)
        yield {"metric": name, **{key: values.get(key) for key in ("value", "low", "high")}, "n": number}
        return
    over = {**over, **values.get("counts", {})}
    for key, value in values.items():
        if isinstance(value, dict) and key != "counts":
            part = over.get(key)
            yield from leaves(value, f"{name}.{key}".lstrip("."), {**over, **part} if isinstance(part, dict) else over)


def counted(name: str, counts: Mapping[str, Any]) -> float | None:
    """What a rate is counted over: pairs, probes, or labelled sessions; None where that is not told.

    `counts` are those of metrics.json, the nearest ones first.
    """
    rate = re.split(r"\.(?!\d)", name)[-1].split("@")[0]
    for key in ("tried_on", OVER.get(rate)):
        if key in counts:
            return float(counts[key])
    if name.startswith("attributes."):
        classes = {label: each for label, each in counts.items() if label != "missing" and isinstance(each, dict)}
        return float(sum(each.get("sessions", 0) for each in classes.values()))
    if ".open_set." in name:
        return float(counts["searches"]["mated"])
    return None


def _pair_counts(pairs: PairScores) -> dict[str, int]:
    return {"genuine": len(pairs.genuine), "impostor": len(pairs.impostor)}


def _rank1_row(part: str, rate: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    found = {key: rate[key] for key in ("value", "low", "high")}
    return {"metric": f"{part}.identification.rank1".lstrip("."), **found, "n": float(ranks.probes.sum())}
