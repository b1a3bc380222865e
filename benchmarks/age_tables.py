"""The tables of docs/age.md, from docs/results/age.csv.

    python benchmarks/age_tables.py

Each stands between `<!-- NAME -->` and `<!-- /NAME -->` in the page and is written anew. A cell is the mean over the
trainings that are done, with the mean of their intervals' ends; what has no row yet is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.recognition_tables import Results, filled, markdown
from benchmarks.synthesis_tables import WORDS, selective, synthesis
from pipeline.tables import write_atomic
from stages.evaluate.splits import GAPS

DOCS = Path(__file__).resolve().parent.parent / "docs"
MODALITIES = ("normal", "albedo", "depth", "frame", "frames")
PARTS = ("published", "no-cross-age", "no-adversary", "no-erasure")
SPANS = {"25 years": "", "all their years": "all-years-"}  # of a training subject; how its runs' names begin
ERRORS = {"fnmr@fmr=1e-2": "FNMR at FMR 1e-2", "fnmr@fmr=1e-3": "at 1e-3", "eer": "EER"}
PROBES = ("linear", "mlp", "crossed")


def named(modality: str, entry: str) -> str:
    """The run of an entry on a modality; the headline's, on normals, is the entry itself."""
    return entry if modality == "normal" else f"{modality}-{entry}"


def gap_metric(gap: str, rate: str) -> str:
    """As in metrics.json."""
    return f"invariance.split.age.{gap}.{rate}"


def gaps(found: Results) -> str:
    """Errors by the years between two sessions, of either network and of their difference."""
    head = ["years", "rate", "`plain`", "`decomposed`", "`decomposed` less `plain`", "told apart"]
    rows = [
        [WORDS[gap], words, *(found.cell(run, gap_metric(gap, rate)) for run in ("plain", "decomposed")),
         found.cell("decomposed - plain", gap_metric(gap, rate), signed=True),
         found.told_apart("decomposed - plain", gap_metric(gap, rate))]
        for gap in GAPS for rate, words in (*ERRORS.items(), ("auc", "AUC"))
    ]  # fmt: skip
    return markdown(head, [row for row in rows if any(row[2:])])


def probed(found: Results) -> str:
    """What fresh probes read of the age, and the share of the plain network's distance from chance."""
    head = ["probe", "`plain`", "`decomposed`", "share of `plain`'s distance from chance", "`published`"]
    rows = []
    for probe in PROBES:
        metric = f"invariance.probe.age.{probe}"
        rows.append([probe, *(found.cell(run, metric) for run in ("plain", "decomposed")),
                     share(found, "decomposed", probe), found.cell("published", metric)])  # fmt: skip
    return markdown(head, rows)


def share(found: Results, run: str, probe: str) -> str:
    """How far above chance a probe gets, over how far it gets on the plain network of the same seed."""
    name = "invariance.probe.age"
    return found.shares(run, "plain", f"{name}.{probe}", f"{name}.chance")


def ages(found: Results) -> str:
    """Errors of the age in years, and of the constant, by what the network sees."""
    rows = []
    for modality in MODALITIES:
        run, name = named(modality, "decomposed"), "age.mean_absolute_error"
        years = [found.means.loc[(run, each)] for each in (name, "age.bias") if (run, each) in found.means.index]
        if years:
            cells = [f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in (each.tolist() for each in years)]
            rows.append([f"`{modality}`", *cells, f"{found.value(run, 'age.constant'):.1f}", found.done(run)])
    return markdown(["sees", "mean absolute error", "bias", "of the median age", "trainings"], rows)


def seen(found: Results) -> str:
    """Each modality: errors by gap, plain and decomposed."""
    head = ["sees", "run", *(f"{WORDS[gap]} years: FNMR at FMR 1e-2" for gap in GAPS), "AUC of all pairs",
            "raw pixels: AUC", "minutes", "trainings"]  # fmt: skip
    rows = []
    for modality in MODALITIES:
        for entry in ("plain", "decomposed"):
            run = named(modality, entry)
            cells = [found.cell(run, gap_metric(gap, "fnmr@fmr=1e-2")) for gap in GAPS]
            if any(cells):
                minutes = found.value(run, "training.minutes")
                rates = [found.cell(run, "verification.auc"),
                         found.cell(run, "raw_pixels.verification.auc", bounds=False)]  # fmt: skip
                took = "" if minutes is None else f"{minutes:.1f}"
                rows.append([f"`{modality}`", f"`{entry}`", *cells, *rates, took, found.done(run)])
    return markdown(head, rows)


def spans(found: Results) -> str:
    """Errors by gap of both networks, by the years over which a training subject is seen."""
    errors = [f"{WORDS[gap]} years: FNMR at FMR 1e-2" for gap in GAPS]
    head = ["training subjects are seen over", "run", *errors, "age error", "trainings"]
    rows = []
    for words, prefix in SPANS.items():
        plain, decomposed = f"{prefix}plain", f"{prefix}decomposed"
        for run, signed in ((plain, False), (decomposed, False), (f"{decomposed} - {plain}", True)):
            cells = [found.cell(run, gap_metric(gap, "fnmr@fmr=1e-2"), signed=signed) for gap in GAPS]
            if any(cells):
                error = found.value(run, "age.mean_absolute_error")
                rows.append([words, f"`{run}`", *cells, "" if error is None else f"{error:.1f}", found.done(run)])
    return markdown(head, rows)


def parts(found: Results) -> str:
    """The decomposed network with a part less, each beside the plain one."""
    head = ["run", *(f"{WORDS[gap]} years: FNMR at FMR 1e-2, less `plain`" for gap in GAPS),
            *(f"age read, {probe}: share" for probe in PROBES), "age error", "trainings"]  # fmt: skip
    rows = []
    for run in ("decomposed", *PARTS):
        cells = [found.cell(f"{run} - plain", gap_metric(gap, "fnmr@fmr=1e-2"), signed=True) for gap in GAPS]
        if any(cells):
            shares = [share(found, run, probe) for probe in PROBES]
            error = found.value(run, "age.mean_absolute_error")
            rows.append([f"`{run}`", *cells, *shares, "" if error is None else f"{error:.1f}", found.done(run)])
    return markdown(head, rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "age-gaps": gaps, "age-probes": probed, "age-errors": ages, "age-modalities": seen, "age-parts": parts,
    "age-spans": spans, "age-synthesis": synthesis, "age-selective": selective,
}  # fmt: skip


def main() -> None:
    page, results = DOCS / "age.md", DOCS / "results" / "age.csv"
    text = filled(page.read_text(), Results(pd.read_csv(results)), TABLES)
    write_atomic(page, lambda path: path.write_text(text))
    print(f"wrote the tables of {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
