"""The page: what `page.html` is filled with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from stages.report.charts import Line, line_chart
from stages.report.failures import Losses, Quality
from stages.report.runs import Run
from stages.report.samples import Sample
from stages.report.sections import draw_sections

COLOURS = 10
NO_BREAK = "\N{NON-BREAKING HYPHEN}"
PROTOCOLS = {"overall": "all sessions", "same_rig": "same rig", "across_rigs": "across rigs"}


@dataclass(frozen=True)
class Column:
    """A column of the table of runs: its head, its explanation, and where metrics.json has the rate."""

    head: str
    title: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """All that the page shows; parts that a workspace does not have are empty."""

    runs: Sequence[Run]
    comparison: dict[str, Any]
    graph: Markup | None = None
    samples: Sequence[Sample] = ()
    balance: pd.DataFrame | None = None
    costs: pd.DataFrame | None = None
    losses: Sequence[Losses] = ()
    quality: Sequence[Quality] = ()
    params: str = ""
    cards: list[tuple[str, str]] = field(default_factory=list)


def render(content: Content) -> str:
    """The page as HTML that asks nothing of any server."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    runs = list(content.runs)
    return environment.get_template("page.html").render(
        content=content,
        columns=columns(runs),
        rows=[row for run in runs for row in _rows(run)],
        charts=_charts(runs),
        colour={run.name: place % COLOURS for place, run in enumerate(runs)},
        attributes=_attributes(runs),
        balance=_balance(content.balance, content.costs),
        sections=draw_sections(runs, content.comparison),
        relit=[sample.relit for sample in content.samples if sample.relit is not None],
        rate=_rate,
    )


def columns(runs: Sequence[Run]) -> list[Column]:
    """Columns that at least one run has."""
    explained = {
        "auc": ("AUC", "chance that a genuine pair scores above an impostor pair"),
        "eer": ("EER", "error rate where false matches and false non-matches are equally frequent"),
    }
    everything = dict.fromkeys(name for run in runs for name in run.metrics["verification"])
    names = [name for name in everything if name in explained or name.startswith("tar@far=")]
    found = []
    for name in names:
        far = name.removeprefix("tar@far=")
        head, title = explained.get(
            name, (f"TAR @ {far.replace('-', NO_BREAK)}", f"genuine pairs accepted where {far} of the impostors are")
        )
        found.append(Column(head, title, ("verification", name)))
    for protocol, words in PROTOCOLS.items():
        for rank in (1, 5):
            title = f"probes whose own gallery session is among the first {rank}: gallery and probes {words}"
            found.append(Column(f"rank{NO_BREAK}{rank} {words}", title, ("identification", protocol, f"rank{rank}")))
    return [c for c in found if any(_rate(run.metrics, c.path) is not None for run in runs)]


def _rate(metrics: dict[str, Any], path: Sequence[str]) -> dict[str, float] | None:
    """A rate of metrics.json, or None where it is absent."""
    value: Any = metrics
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) and "value" in value else None


def _rows(run: Run) -> list[dict[str, Any]]:
    """The run, and its raw pixels."""
    shared = {"run": run.name, "modalities": " + ".join(run.modalities)}
    return [
        {**shared, "raw": False, "metrics": run.metrics, "validation": run.validation_auc},
        {**shared, "raw": True, "metrics": run.metrics["raw_pixels"], "validation": None},
    ]


def _charts(runs: Sequence[Run]) -> list[tuple[str, Markup]]:
    """Title and drawing of each chart."""
    at = {run.name: place % COLOURS for place, run in enumerate(runs)}
    rocs = [Line(r.name, r.roc["fmr"], r.roc["raw_pixels"], at[r.name], thin=True) for r in runs]
    rocs += [Line(r.name, r.roc["fmr"], r.roc["tmr"], at[r.name], dashed=r.fused) for r in runs]
    cmcs = [Line(r.name, r.cmc["rank"], r.cmc["rate"], at[r.name], dashed=r.fused) for r in runs]
    charts = [
        ("ROC", line_chart(rocs, x="false match rate", y="true match rate", log_x=True, y_range=(0, 1))),
        ("CMC, all sessions", line_chart(cmcs, x="rank", y="share of probes found", y_range=(0, 1))),
    ]
    for column, title in (("validation_auc", "AUC on validation"), ("loss_identity", "Training loss of the identity")):
        having = [(r, r.history) for r in runs if r.history is not None and {"epoch", column} <= set(r.history)]
        lines = [Line(r.name, table["epoch"], table[column], at[r.name], dashed=r.fused) for r, table in having]
        if lines:
            charts.append((title, line_chart(lines, x="epoch", y=title)))
    return charts


def _balance(table: pd.DataFrame | None, costs: pd.DataFrame | None) -> dict[str, Any]:
    """Rows of the classes that have a session, attributes of which none has a label, and why there is no table."""
    if table is None or table.empty or (costs is not None and costs.empty):
        return {"rows": [], "unlabelled": [], "absent": "Nothing was trained in this workspace."}
    counts = table[["before", "validation", "test"]].sum(axis=1).groupby(table["attribute"], sort=False).sum()
    unlabelled = [str(name) for name in counts.index[counts == 0]]
    rows = table[~table["attribute"].isin(unlabelled)].to_dict("records")
    absent = "" if rows else "No session has a label of any attribute: there was nothing to balance."
    return {"rows": rows, "unlabelled": unlabelled, "absent": absent}


def _attributes(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """By attribute: the classes' counts on test, each run's rates, and the reason where there are none."""
    names = dict.fromkeys(name for run in runs for name in run.metrics["attributes"])
    return [
        {
            "name": name.replace("_", " "),
            "counts": runs[0].metrics["counts"]["attributes"].get(name, {}),
            "runs": (found := {r.name: r.metrics["attributes"][name] for r in runs if name in r.metrics["attributes"]}),
            "absent": next((each["absent"] for each in found.values() if "absent" in each), None),
            "scored": any("auroc" in each for each in found.values()),
        }
        for name in names
    ]
