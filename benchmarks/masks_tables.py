"""The tables of docs/masks.md, from docs/results/masks.csv.

    python benchmarks/masks_tables.py

Each stands between `<!-- NAME -->` and `<!-- /NAME -->` in the page and is written anew. A cell is the mean over the
trainings that are done, with the mean of their intervals' ends; what has no row yet is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.recognition_tables import Results, filled, markdown
from pipeline.tables import write_atomic

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "masks.md", ROOT / "docs" / "results" / "masks.csv"
KINDS = {"bare-bare": "bare and bare", "masked-bare": "masked and bare", "masked-masked": "masked and masked"}
LISTED = yaml.safe_load((ROOT / "recipes" / "mask" / "experiments.yaml").read_text())
RATIOS = {"eer": "EER", "fnmr@far=1e-2": "FNMR at FAR 1e-2"}


def verification(found: Results) -> str:
    """What each family makes of each pair of faces, by what it sees."""
    return _by_kind(found, "")


def yale(found: Results) -> str:
    """The same on real faces with painted masks."""
    return _by_kind(found, "yale.")


def _by_kind(found: Results, prefix: str) -> str:
    head = ["sees", "run", *(f"{kind}: {rate}" for kind in KINDS.values() for rate in ("EER", "rank-1"))]
    rows = []
    for what in LISTED["sees"]:
        for family in (*LISTED["families"], "pixels"):
            cells = [found.cell(f"{family}-{what}", f"{prefix}{kind}.{rate}")
                     for kind in KINDS for rate in ("verification.eer", "rank1")]  # fmt: skip
            if any(cells):
                rows.append([f"`{what}`", f"`{family}`", *cells])
    return markdown(head, rows)


def at_far(found: Results) -> str:
    """TAR at a FAR of 1e-2, where all kinds of pairs have enough impostors."""
    head = ["sees", "run", *KINDS.values(), "minutes of training", "trainings"]
    rows = []
    for what in LISTED["sees"]:
        for family in LISTED["families"]:
            run = f"{family}-{what}"
            cells = [found.cell(run, f"{kind}.verification.tar@far=1e-2") for kind in KINDS]
            minutes = found.value(run, "training.minutes")
            if any(cells):
                took = "" if minutes is None else f"{minutes:.1f}"
                rows.append([f"`{what}`", f"`{family}`", *cells, took, found.done(run)])
    return markdown(head, rows)


def errors(found: Results) -> str:
    """Errors of one family over those of another on masked faces."""
    head = ["sees", "errors of", *(f"{KINDS[kind]}: {name}" for kind in list(KINDS)[1:] for name in RATIOS.values())]
    return _compared(found, head, "/", lambda pair: [found.cell(pair, f"{kind}.{rate}")
                                                     for kind in list(KINDS)[1:] for rate in RATIOS])  # fmt: skip


def unmasked(found: Results) -> str:
    """What is won or lost on bare faces."""
    head = ["sees", "difference", "AUC", "told apart", "EER", "told apart", "rank-1", "told apart"]

    def cells(pair: str) -> list[str]:
        metrics = ("bare-bare.verification.auc", "bare-bare.verification.eer", "bare-bare.rank1")
        return [
            part for each in metrics for part in (found.cell(pair, each, signed=True), found.told_apart(pair, each))
        ]

    return _compared(found, head, "-", cells)


def _compared(found: Results, head: list[str], sign: str, cells: Callable[[str], Sequence[str]]) -> str:
    rows = []
    for what in LISTED["sees"]:
        for family, others in LISTED["compare"].items():
            for other in others:
                made = cells(f"{family}-{what} {sign} {other}-{what}")
                if any(made):
                    rows.append([f"`{what}`", f"`{family} {sign} {other}`", *made])
    return markdown(head, rows)


def told(found: Results) -> str:
    """Whether a mask is worn: by the run's own head, and by a fresh probe of its embedding."""
    head = [
        "sees",
        "run",
        "accuracy",
        "sessions",
        "balanced accuracy",
        "AUROC",
        "probes of the embedding: linear",
        "MLP",
    ]
    runs = {f"{family}-{what}": (what, family) for what in LISTED["sees"] for family in LISTED["families"]}
    runs |= {name: (run["modalities"][0], name) for name, run in LISTED["more"].items()}
    rows = []
    for run, (what, name) in runs.items():
        accuracy, count = found.value(run, "mask.accuracy"), ""
        if accuracy is not None:
            count = f"{found.table.loc[[(run, 'mask.accuracy')], 'n'].iloc[0]:.0f}"
        own = ["" if accuracy is None else f"{accuracy:.4f}".lstrip("0"), count,
               *(found.cell(run, f"mask.{rate}") for rate in ("balanced_accuracy", "auroc"))]  # fmt: skip
        probed = (found.cell(run, f"probe.mask.{by}") for by in ("linear", "mlp"))
        rows.append([f"`{what}`", f"`{name}`", *own, *probed])
    return markdown(head, [row for row in rows if any(row[2:])])


def pairs(found: Results) -> str:
    """How many pairs there are of each kind."""
    rows = []
    for prefix, faces in (("", "simulated"), ("yale.", "Extended Yale B, painted")):
        first = next(iter(LISTED["families"]))
        counts = [
            found.value(f"{first}-normal", f"{prefix}{kind}.{who}") for kind in KINDS for who in ("genuine", "impostor")
        ]
        rows.append([faces, *("" if count is None else f"{count:,.0f}" for count in counts)])
    head = ["faces", *(f"{kind}: {who}" for kind in KINDS.values() for who in ("genuine", "impostor"))]
    return markdown(head, rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "pairs": pairs, "verification": verification, "tar": at_far, "errors": errors, "unmasked": unmasked, "told": told,
    "yale": yale,
}  # fmt: skip


def main() -> None:
    text = filled(PAGE.read_text(), Results(pd.read_csv(RESULTS)), TABLES)
    write_atomic(PAGE, lambda path: path.write_text(text))
    print(f"wrote the tables of {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
