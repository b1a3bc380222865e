"""`psface report`: all results as one self-contained page, and whether fusing pays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd

from pipeline.params import Report, section
from pipeline.progress import wrote
from pipeline.sessions import Session, read_sessions
from pipeline.tables import Columns, read_csv, read_text, write_json, write_text
from pipeline.work import alone
from stages.report.comparison import compare, lines
from stages.report.failures import read_losses, read_quality
from stages.report.graph import draw_graph, read_stages
from stages.report.page import Content, render
from stages.report.runs import Run, read_runs
from stages.report.samples import draw_samples

CODE = (
    "stages.report",
    "pipeline.identification",
    "pipeline.images",
    "pipeline.maps",
    "pipeline.maskdesigns",
    "pipeline.verification",
)
PATH = click.Path(path_type=Path)
NUMBERS = ("before", "after", "before_share", "after_share", "validation", "test")
CLASSES = {"attribute": str, "class": str, **dict.fromkeys(NUMBERS, float)}
KEPT = ("sessions", "subjects", "sessions_random", "subjects_random", "of_sessions", "of_subjects")
COSTS = dict.fromkeys(("minimum_share", *KEPT), float)


@click.command()
@click.option("--runs", type=PATH, default="runs", show_default=True, help="Folder of RUN/evaluate.")
@click.option("--trained", type=PATH, help="Folder of RUN/train, where another workspace trained.  [default: --runs]")
@click.option("--data", type=PATH, default="data", show_default=True, help="Folder of sessions, maps, faces, balance.")
@click.option("--pipeline", type=PATH, default="dvc.yaml", show_default=True, help="The stages to draw.")
@click.option("--output", type=PATH, default="runs/report", show_default=True, help="Folder of the page.")
@click.option("--params", type=PATH, default="params.yaml", show_default=True, help="Section `report`.")
@alone("report")
def command(runs: Path, trained: Path | None, data: Path, pipeline: Path, output: Path, params: Path) -> None:
    """Draw all results as one self-contained page, and compare the fusion with single modalities."""
    settings = section(params, "report", Report)
    found = read_runs(runs, trained or runs)
    comparison = compare(found, resamples=settings.resamples, seed=settings.seed)
    table = data / "sessions.parquet"
    sessions = read_sessions(table) if table.is_file() else []
    content = Content(
        runs=found,
        comparison=comparison,
        graph=draw_graph(read_stages(pipeline)) if pipeline.is_file() else None,
        samples=draw_samples(sessions, data / "maps", examples=settings.examples, seed=settings.seed),
        balance=_table(data / "balance" / "before_after.csv", CLASSES),
        costs=_table(data / "balance" / "cost.csv", COSTS),
        losses=read_losses(data / "rejected.csv", data / "quality.parquet", data / "faces" / "index.parquet"),
        quality=read_quality(data / "quality.parquet"),
        params=read_text(params),
        cards=_cards(found, sessions, comparison),
    )
    write_text(output / "index.html", render(content))
    write_json(output / "comparison.json", comparison)
    for line in lines(comparison):
        click.echo(line)
    wrote(output / "index.html", output / "comparison.json", note=f"{len(found)} runs")


def _table(path: Path, columns: Columns) -> pd.DataFrame | None:
    return read_csv(path, made_by="balance", columns=columns) if path.is_file() else None


def _cards(runs: Sequence[Run], sessions: Sequence[Session], comparison: dict[str, Any]) -> list[tuple[str, str]]:
    """The few numbers on top: what there was, and the run that validation chose."""
    cards = []
    if sessions:
        cards.append((f"{len({s.subject for s in sessions}):,}", "subjects"))
        cards.append((f"{len(sessions):,}", "sessions"))
        cards.append((str(len({s.rig for s in sessions})), "rigs"))
    cards.append(
        (
            str(max(run.metrics["counts"]["subjects"] for run in runs)),
            "of them test subjects" if sessions else "test subjects",
        )
    )
    names = comparison.get("chosen", {})
    for role in ("fusion", "best_single"):
        for run in runs:
            if run.name == names.get(role):
                auc = run.metrics["verification"]["auc"]["value"]
                cards.append((f"{auc:.3f}", f"AUC of {run.name}, chosen on validation"))
    return cards
