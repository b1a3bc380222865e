"""What was lost on the way, and why: sessions refused, maps that failed, faces not found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.faces import INDEX_COLUMNS
from pipeline.tables import read_csv, read_parquet

MOST = 60
QUALITY = {"session": str, "rejected": object}


@dataclass(frozen=True)
class Losses:
    """Sessions lost or noted at one stage: how many of how many, the commonest reasons, and the first by name."""

    stage: str
    what: str
    lost: int
    whole: int | None
    reasons: list[tuple[str, int]]
    examples: list[tuple[str, str]]


@dataclass(frozen=True)
class Quality:
    """One quality number of the reconstruction: its 5 %, 50 % and 95 % quantiles over sessions."""

    name: str
    low: float
    median: float
    high: float


def read_losses(rejected: Path, quality: Path, index: Path) -> list[Losses]:
    """Losses by stage, then what was kept with a note; a table that is not there has none."""
    found = []
    if rejected.is_file():
        table = read_csv(
            rejected,
            made_by="ingest",
            dtype=str,
            keep_default_na=False,
            columns=dict.fromkeys(("session", "stage", "reason"), str),
        )
        found += [_losses(str(stage), "lost", None, part) for stage, part in table.groupby("stage", sort=True)]
    if quality.is_file():
        table = read_parquet(quality, made_by="reconstruct", columns=QUALITY)
        lost = table[table["rejected"].fillna("") != ""]
        found.append(_losses("reconstruct", "lost", len(table), lost.rename(columns={"rejected": "reason"})))
        noted = table[table["notes"].fillna("") != ""] if "notes" in table else table[:0].assign(notes="")
        found.append(_losses("reconstruct", "noted", len(table), noted.rename(columns={"notes": "reason"})))
    if index.is_file():
        table = read_parquet(index, made_by="crop", columns={**INDEX_COLUMNS, "reason": object})
        found.append(_losses("crop", "lost", len(table), table[table["row"] < 0]))
        several = table[(table["row"] >= 0) & (table["n_faces"] > 1)] if "n_faces" in table else table[:0]
        found.append(
            _losses("crop", "noted", len(table), several.assign(reason="several faces, one of them was taken"))
        )
    return [each for each in found if each.lost or each.what == "lost"]


def read_quality(quality: Path) -> list[Quality]:
    """Quantiles of each number of quality.parquet, over the sessions that were not rejected."""
    if not quality.is_file():
        return []
    table = read_parquet(quality, made_by="reconstruct", columns=QUALITY)
    kept = table[table["rejected"].fillna("") == ""].select_dtypes("number")
    quantiles = kept.quantile([0.05, 0.5, 0.95]).T.dropna()
    return [
        Quality(str(name), float(row[0.05]), float(row[0.5]), float(row[0.95])) for name, row in quantiles.iterrows()
    ]


def _losses(stage: str, what: str, whole: int | None, table: pd.DataFrame) -> Losses:
    """Reasons are counted without what is in brackets or after a file's name, which differs from one to the next."""
    pairs = [(str(s), str(r)) for s, r in zip(table["session"], table["reason"], strict=True)]
    reasons = Counter(reason.split(" (")[0].split(": ")[-1] for _, reason in pairs)
    return Losses(stage, what, len(table), whole, reasons.most_common(8), pairs[:MOST])
