"""The tables of docs/recognition.md, from docs/results/recognition.csv.

    python benchmarks/recognition_tables.py

Each table stands between `<!-- NAME -->` and `<!-- /NAME -->` in the page and is written anew. A cell is the mean over
the trainings that are done (a seed on a kind of device), with the mean of their intervals' ends; a row without any says
so. Minutes are those on a processor.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pipeline.tables import write_atomic

DOCS = Path(__file__).resolve().parent.parent / "docs"
SINGLE = ("normal", "albedo", "depth", "frame", "frames")
FUSED = ("albedo-depth", "normal-depth", "normal-albedo", "all", "early")
CANDIDATES = ("concatenation", "projection", "gate", "finetune")
ABLATIONS = (
    "no-adversary", "no-decomposition", "no-erasure", "plain", "arcface", "cosface", "triplet", "cross-entropy",
    "uncertainty", "unturned", "relu", "resnet18", "attention-channel", "attention-spatial", "attention-cbam",
    "class-weights", "no-balance",
)  # fmt: skip
THESIS = {"normal": "thesis-normal", "albedo": "thesis-albedo", "depth": "thesis-depth",
          "all": "thesis-normal+albedo+depth"}  # fmt: skip
ATTRIBUTES = ("spectacles", "facial_hair", "expression", "pose", "gender")
REAL = ("normal", "albedo", "depth", "frame", "frames", "normal-albedo", "all")
FRESH = (*REAL, "plain")
RANK1 = "identification.overall.rank1"
TAR = "verification.tar@far=1e-3"


class Results:
    """The rows of recognition.csv, looked up by run and metric."""

    def __init__(self, table: pd.DataFrame) -> None:
        table = table[(table["metric"] != "training.minutes") | (table["device"] == "cpu")]
        self.means = table.groupby(["run", "metric"])[["value", "low", "high"]].mean()
        self.trainings = table[["run", "seed", "device"]].drop_duplicates().groupby("run").size()
        self.table = table.set_index(["run", "metric"]).sort_index()

    def value(self, run: str, metric: str) -> float | None:
        """Mean over the trainings."""
        return float(self.means.loc[(run, metric), "value"]) if (run, metric) in self.means.index else None

    def cell(self, run: str, metric: str, *, signed: bool = False, bounds: bool = True, digits: int = 3) -> str:
        """``.985 [.979, .990]``."""
        if (run, metric) not in self.means.index:
            return ""
        value, low, high = self.means.loc[(run, metric)]
        text, *ends = (rate(each, signed, digits) for each in (value, low, high))
        return text if pd.isna(low) or not bounds else f"{text} [{', '.join(ends)}]"

    def told_apart(self, run: str, metric: str) -> str:
        """In how many of the trainings the interval of a difference leaves out 0: ``2 of 3``."""
        if (run, metric) not in self.means.index:
            return ""
        rows = self.table.loc[[(run, metric)]]
        return f"{int(((rows['low'] > 0) | (rows['high'] < 0)).sum())} of {len(rows)}"

    def shares(self, run: str, base: str, metric: str, chance: str) -> str:
        """How much of ``base``'s distance from chance a run has left, training by training: mean (least to most)."""
        wanted = {run: metric, base: metric, None: chance}
        found = {
            name: self.table.loc[[(name or run, each)]].set_index(["seed", "device"])["value"]
            for name, each in wanted.items()
            if (name or run, each) in self.means.index
        }
        if len(found) < len(wanted):
            return ""
        both = pd.DataFrame({"run": found[run], "base": found[base], "chance": found[None]}).dropna()
        left = ((both["run"] - both["chance"]) / (both["base"] - both["chance"]))[both["base"] > both["chance"]]
        spread = f" ({left.min():.2f} to {left.max():.2f} of {len(left)})" if len(left) > 1 else ""
        return "" if left.empty else f"{left.mean():.2f}{spread}"

    def done(self, run: str) -> str:
        """How many trainings."""
        return str(self.trainings.get(run, 0))

    def counted(self, run: str, metric: str) -> str:
        """How many trainings have a metric."""
        return str(len(self.table.loc[[(run, metric)]])) if (run, metric) in self.means.index else ""


def rate(value: float, signed: bool = False, digits: int = 3) -> str:
    """Digits without the zero before the point."""
    return re.sub(r"\b0\.", ".", f"{value:{'+' if signed else ''}.{digits}f}")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a row without any value says so."""
    told = [row if any(row[1:]) else [row[0], "not run yet", *[""] * (len(head) - 2)] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *told))


def modalities(found: Results) -> str:
    """What a network sees, over all sessions, on the first rig and across the rigs."""
    head = ["run", "AUC", "rank-1", "TAR at FAR 1e-3", "first rig: AUC", "rank-1", "TAR at 1e-3", "across rigs: rank-1",
            "raw pixels: rank-1", "minutes", "trainings"]  # fmt: skip
    metrics = ["verification.auc", RANK1, TAR, "first_rig.verification.auc", "first_rig.identification.rank1",
               f"first_rig.{TAR}", "identification.across_rigs.rank1"]  # fmt: skip
    rows = []
    for run in (*SINGLE, *FUSED, "triplet"):
        raw = found.cell(run, f"raw_pixels.{RANK1}", bounds=False)
        minutes = found.value(run, "training.minutes")
        last = (
            [raw, "" if minutes is None else f"{minutes:.1f}", found.done(run)] if run in found.trainings.index else []
        )
        rows.append([f"`{run}`", *(found.cell(run, metric) for metric in metrics), *(last or ["", "", ""])])
    return markdown(head, rows)


def paying(found: Results) -> str:
    """Fusions less raw photographs, paired."""
    head = ["difference", "sessions", "AUC", "told apart", "rank-1", "TAR at FAR 1e-3"]
    parts = {"": "all", "same_rig.": "same rig", "across_rigs.": "across rigs"}
    pairs = [f"{first} - {second}" for second in ("frames", "frame") for first in (*FUSED, "normal")]
    rows = [
        [f"`{pair}`", where, found.cell(pair, f"{part}verification.auc", signed=True),
         found.told_apart(pair, f"{part}verification.auc"),
         found.cell(pair, f"{part}identification.rank1", signed=True), found.cell(pair, f"{part}{TAR}", signed=True)]
        for pair in pairs for part, where in parts.items() if pair in found.trainings.index
    ]  # fmt: skip
    return markdown(head, rows)


def thesis(found: Results) -> str:
    """The thesis's recipe beside the corrected one."""
    head = [
        "faces",
        "recipe",
        "AUC",
        "rank-1",
        "TAR at FAR 1e-3",
        "AUC, best epoch on test",
        "norms below l_a",
        "trainings",
    ]
    rows = []
    for ours, theirs in THESIS.items():
        for run, name in ((theirs, "thesis"), (ours, "here")):
            own = [found.cell(run, f"thesis.{metric}") for metric in ("best_on_test_auc", "clamped")]
            rates = [found.cell(run, metric) for metric in ("verification.auc", RANK1, TAR)]
            rows.append([f"`{ours}`", *([name, *rates, *own, found.done(run)] if any(rates) else [""] * 7)])
    return markdown(head, rows)


def ablations(found: Results) -> str:
    """Each change of the network that sees normals, less that network."""
    return changes(found, "normal", ABLATIONS)


def fusions(found: Results) -> str:
    """Each way to fuse the three maps, less the one that validation chose among them."""
    return changes(found, "all", CANDIDATES)


def changes(found: Results, base: str, runs: Sequence[str]) -> str:
    """Runs beside the one that they are compared with."""
    head = ["run", "AUC", f"less `{base}`", "told apart", "rank-1", f"less `{base}`", "told apart", "trainings"]
    own = [found.cell(base, metric) for metric in ("verification.auc", RANK1)]
    rows = [[f"`{base}`", own[0], "", "", own[1], "", "", found.done(base) if any(own) else ""]]
    for run in runs:
        gap = f"{run} - {base}"
        cells = [found.cell(run, "verification.auc"), found.cell(gap, "verification.auc", signed=True),
                 found.told_apart(gap, "verification.auc"), found.cell(run, RANK1),
                 found.cell(gap, "identification.rank1", signed=True),
                 found.told_apart(gap, "identification.rank1")]  # fmt: skip
        rows.append([f"`{run}`", *cells, found.done(run) if any(cells) else ""])
    return markdown(head, rows)


def invariance(found: Results) -> str:
    """What a fresh probe reads off the identity embedding, as a share of what the plain network gives away."""
    shown = ("plain", "no-adversary", "no-erasure", "normal")
    head = ["attribute", "probe", "chance", *(f"`{run}`" for run in shown), "left of `plain`'s distance"]
    rows = []
    for attribute in ATTRIBUTES:
        for probe in ("crossed", "mlp", "linear"):
            metric, chance = f"invariance.probe.{attribute}.{probe}", f"invariance.probe.{attribute}.chance"
            left = found.shares("normal", "plain", metric, chance)
            rows.append(
                [attribute, probe, found.cell("normal", chance), *(found.cell(run, metric) for run in shown), left]
            )
    return markdown(head, rows)


def changed(found: Results) -> str:
    """Rank-1 where an attribute changed between the two sessions, less where it did not."""
    head = ["attribute", "`plain`", "`normal`", "`all`"]
    rows = [
        [
            name,
            *(found.cell(run, f"invariance.split.{name}.gap.rank1", signed=True) for run in ("plain", "normal", "all")),
        ]
        for name in (*ATTRIBUTES[:-1], "rig")  # nobody's gender changes
    ]
    return markdown(head, rows)


def attributes(found: Results) -> str:
    """Balanced accuracy on subjects whom nobody has seen."""
    runs = ("normal", "albedo", "frame", "all")
    rows = [[name, *(found.cell(run, f"attributes.{name}.balanced_accuracy") for run in runs)] for name in ATTRIBUTES]
    return markdown(["attribute", *(f"`{run}`" for run in runs)], rows)


def real_faces(found: Results) -> str:
    """Trained on the simulator alone, tested on Extended Yale B: a gallery of any rig, and of another."""
    across = "identification.across_rigs.rank1"
    head = ["run", "AUC", "rank-1", "less raw pixels'", "less `frame`'s", "across rigs: rank-1", "less raw pixels'"]
    rows = [
        [f"`{run}`", found.cell(run, "yale.verification.auc"), found.cell(run, f"yale.{RANK1}"),
         found.cell(run, f"yale.over_raw_pixels.{RANK1}", signed=True),
         found.cell(f"{run} - frame", "yale.identification.rank1", signed=True),
         found.cell(run, f"yale.{across}"), found.cell(run, f"yale.over_raw_pixels.{across}", signed=True)]
        for run in REAL
    ]  # fmt: skip
    return markdown(head, rows)


def fresh(found: Results) -> str:
    """People who were simulated after all had been chosen."""
    head = ["run", "AUC", "rank-1", "TAR at FAR 1e-3", "rank-1 less `frames`'s", "less `frame`'s", "spectacles changed",
            "trainings"]  # fmt: skip
    changed = "fresh.invariance.split.spectacles.gap.rank1"
    rows = [
        [f"`{run}`", *(found.cell(run, f"fresh.{metric}") for metric in ("verification.auc", RANK1, TAR)),
         *(found.cell(f"{run} - {other}", "fresh.identification.rank1", signed=True) for other in ("frames", "frame")),
         found.cell(run, changed, signed=True), found.counted(run, "fresh.verification.auc")]
        for run in FRESH
    ]  # fmt: skip
    return markdown(head, rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "modalities": modalities, "paying": paying, "fusions": fusions, "thesis": thesis, "ablations": ablations,
    "invariance": invariance, "changed": changed, "attributes": attributes, "fresh": fresh, "real-faces": real_faces,
}  # fmt: skip


def filled(page: str, found: Results, tables: Mapping[str, Callable[[Results], str]] = TABLES) -> str:
    """The page with these tables written anew; each must have its place."""
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        page, places = re.subn(pattern, lambda at, table=table: f"{at[1]}\n{table(found)}\n\n{at[2]}", page, flags=re.S)
        if places != 1:
            raise ValueError(f"the page has {places} places for the table {name}")
    return page


def main() -> None:
    page, results = DOCS / "recognition.md", DOCS / "results" / "recognition.csv"
    text = filled(page.read_text(), Results(pd.read_csv(results)))
    write_atomic(page, lambda path: path.write_text(text))
    print(f"wrote the tables of {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
