"""The rows of docs/results/masks.csv: what the runs of recipes/mask say of bare and masked faces.

    run, seed, device, metric, value, low, high (95 %, by resampling subjects), n (pairs, probes or sessions)

A run is ``family-what``. Verification and rank-1 are told by what the two sessions of a pair wear: ``bare-bare``,
``masked-bare`` (the probe is masked), ``masked-masked``; ``yale.`` before a metric says that the faces are real and
their masks painted. Genuine and impostor pairs are both of that kind. One visit with and without its mask is no pair.
``first - second`` is a paired difference, ``first / second`` the ratio of the errors of two runs on the same sessions
and resampled subjects. ``pixels-what`` compares the preprocessed pixels as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.recognition_rows import leaves
from pipeline.identification import Ranks, expected_ranks, rank1_difference
from pipeline.verification import (
    PairScores,
    cosine_matrix,
    difference,
    interval,
    matrix_pairs,
    rates,
    refused_far,
    resample,
    verification,
    without_twins,
)

KINDS = {"bare-bare": (0, 0), "masked-bare": (1, 0), "masked-masked": (1, 1)}  # what the probe wears, and the gallery
FARS = (0.01, 0.001)
RESAMPLES, SEED = 1000, 7
ERRORS = ("eer", "fnmr@far=1e-2")
Row = dict[str, Any]


class Scored:
    """A run's similarities of the test sessions, and what each of them wears.

    Parameters
    ----------
    session, subject : (N,) ids.
    embedding : (N, D).
    masks : Series
        The code of `mask` by session.
    """

    def __init__(self, session: np.ndarray, subject: np.ndarray, embedding: np.ndarray, masks: pd.Series) -> None:
        order = np.argsort(session)
        self.session, self.subject = session[order], subject[order]
        self.mask = masks.loc[self.session].to_numpy()
        self.similarity = without_twins(cosine_matrix(embedding[order]), self.session)

    @cached_property
    def draws(self) -> np.ndarray:
        """(R, S) resampled subjects, the same for every run on these sessions."""
        return resample(len(np.unique(self.subject)), RESAMPLES, np.random.default_rng(SEED))

    @cached_property
    def _pairs(self) -> PairScores:
        return matrix_pairs(self.similarity, self.subject)

    def pairs(self, kind: str) -> PairScores:
        """The pairs of a kind of `KINDS`."""
        worn = sum(KINDS[kind])
        every = self._pairs
        return every.subset(*(self.mask[each].sum(axis=0) == worn
                              for each in (every.genuine_sessions, every.impostor_sessions)))  # fmt: skip

    def ranks(self, kind: str) -> Ranks:
        """Identification with one gallery session a subject."""
        probe, gallery = KINDS[kind]
        return expected_ranks(self.similarity, self.subject, gallery=self.mask == gallery, probes=self.mask == probe)


def run_rows(run: Path, tables: Mapping[str, Path]) -> Iterator[Row]:
    """The rates of a run's folder.

    Parameters
    ----------
    tables
        By folder of its results (``evaluate``, ``yale``) the table of the sessions that it was scored on.
    """
    for prefix, folder, table in _faces(run, tables):
        yield from _named(_rates(scored(folder, table)), prefix)
    yield from _of_training(run)


def compared_rows(first: Path, second: Path, tables: Mapping[str, Path]) -> Iterator[tuple[str, Row]]:
    """Differences and ratios of two runs on the same sessions, each with the sign that says which."""
    for prefix, folder, table in _faces(first, tables):
        beside = second / folder.name
        if not (beside / "embeddings.npz").exists():
            continue
        one, other = scored(folder, table), scored(beside, table)
        yield from (("-", row) for row in _named(_differences(one, other), prefix))
        yield from (("/", row) for row in _named(_ratios(one, other), prefix))


def pixel_rows(run: Path, tables: Mapping[str, Path]) -> Iterator[Row]:
    """The rates of what learns nothing, on what a run sees and the sessions that it was scored on."""
    for prefix, _, table in _faces(run, tables):
        yield from _named(_rates(_pixels(run, table)), prefix)


def _faces(run: Path, tables: Mapping[str, Path]) -> Iterator[tuple[str, Path, Path]]:
    """What begins the names of rates, the folder of results, and the table, of the faces that a run was scored on."""
    for name, table in tables.items():
        if (run / name / "embeddings.npz").exists():
            yield "" if name == "evaluate" else f"{name}.", run / name, table


def _named(found: Iterator[Row], prefix: str) -> Iterator[Row]:
    yield from (row | {"metric": prefix + row["metric"]} for row in found)


def scored(folder: Path, table: Path) -> Scored:
    """What a run said of the test sessions of a table."""
    with np.load(folder / "embeddings.npz") as saved:
        return Scored(saved["session"], saved["subject"], saved["embedding"], _masks(table))


def _masks(table: Path) -> pd.Series:
    return pd.read_parquet(table, columns=["id", "mask"]).set_index("id")["mask"]


def _pixels(folder: Path, table: Path) -> Scored:
    """The baseline that learns nothing, on the sessions that a run was scored on."""
    from pipeline.contract import load_run
    from stages.evaluate.inputs import raw_pixels, read_evaluation_set

    data = next(each for each in table.parents if (each / "faces").is_dir())
    tables = {"sessions": table, "splits": data / "splits.parquet", "quality": data / "quality.parquet"}
    tested = read_evaluation_set(load_run(folder / "train")[0], faces=data / "faces", **tables)
    return Scored(tested.samples.session, tested.samples.subject, raw_pixels(tested.inputs), _masks(table))


def _rates(run: Scored) -> Iterator[Row]:
    for kind in KINDS:
        pairs, ranks = run.pairs(kind), run.ranks(kind)
        counts = {"genuine": len(pairs.genuine), "impostor": len(pairs.impostor)}
        yield from leaves({"verification": verification(pairs, FARS, run.draws)}, kind, counts)
        yield {"metric": f"{kind}.rank1", **ranks.intervals(run.draws)[0], "n": float(ranks.probes.sum())}
        yield from ({"metric": f"{kind}.{name}", "value": count} for name, count in counts.items())


def _of_training(folder: Path) -> Iterator[Row]:
    """The AUC on validation, and what the run tells of masks."""
    yield {"metric": "validation.auc", "value": json.loads((folder / "train" / "validation.json").read_text())["auc"]}
    metrics = json.loads((folder / "evaluate" / "metrics.json").read_text())
    probes = metrics["invariance"]["probe"]
    yield from leaves({"mask": probes["mask"]} if "mask" in probes else {}, "probe", metrics["counts"]["attributes"])
    if "mask" not in metrics["attributes"]:
        return
    table = pd.read_csv(folder / "evaluate" / "confusion.csv").query("attribute == 'mask'")
    right, every = table.loc[table["true"] == table["said"], "sessions"].sum(), table["sessions"].sum()
    yield {"metric": "mask.accuracy", "value": right / every, "n": every}
    yield from leaves(metrics["attributes"]["mask"], "mask", {"tried_on": every})


def _differences(first: Scored, second: Scored) -> Iterator[Row]:
    for kind in KINDS:
        pairs, ranks = first.pairs(kind), first.ranks(kind)
        counts = {"genuine": len(pairs.genuine), "impostor": len(pairs.impostor)}
        fars = [far for far in FARS if refused_far(pairs, far) is None]
        yield from leaves({"verification": difference(pairs, second.pairs(kind), first.draws, fars)}, kind, counts)
        gap = rank1_difference(ranks, second.ranks(kind), first.draws)
        yield {"metric": f"{kind}.rank1", **{key: gap[key] for key in ("value", "low", "high")},
               "n": float(ranks.probes.sum())}  # fmt: skip


def _ratios(first: Scored, second: Scored) -> Iterator[Row]:
    for kind in KINDS:
        pairs = first.pairs(kind), second.pairs(kind)
        point, draws = ([_errors(each, weights) for each in pairs] for weights in (None, first.draws))
        for name in ERRORS:
            with np.errstate(divide="ignore", invalid="ignore"):
                value, drawn = (each[0][name] / each[1][name] for each in (point, draws))
            ends = interval(float(value[0]), drawn)
            yield {"metric": f"{kind}.{name}", **ends, "n": len(pairs[0].genuine)}


def _errors(pairs: PairScores, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    found = rates(pairs, (0.01,), weights=weights)
    return {"eer": found["eer"], "fnmr@far=1e-2": 1 - found["tar@far=1e-2"]}
