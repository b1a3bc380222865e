"""What balancing did, as tables and a figure: classes before and after, and what other minimum shares would cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.attributes import ATTRIBUTES, told
from pipeline.tables import write_atomic
from stages.balance.methods import balance
from stages.balance.program import Problem

SHARES = (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5)


def before_after(table: pd.DataFrame) -> pd.DataFrame:
    """A row an attribute and binary class: training sessions before and after (weighted), and in the other splits.

    ``table`` has a row a session: split, keep, weight and the attributes' codes. Shares are of the labelled sessions.
    """
    rows = []
    train = (table["split"] == "train").to_numpy()
    weight = table["weight"].to_numpy() * table["keep"].to_numpy() * train
    for name in told({name: table[name].to_numpy() for name in ATTRIBUTES}):
        attribute = ATTRIBUTES[name]
        codes = attribute.to_binary(table[name].to_numpy())
        for value, label in enumerate(attribute.binary_classes):
            of = codes == value
            rows.append(
                {
                    "attribute": name,
                    "class": label,
                    "before": int((of & train).sum()),
                    "after": round(float(weight[of].sum()), 3),
                    "before_share": _share((of & train).sum(), ((codes >= 0) & train).sum()),
                    "after_share": _share(weight[of].sum(), weight[codes >= 0].sum()),
                    "validation": int((of & (table["split"] == "validation")).sum()),
                    "test": int((of & (table["split"] == "test")).sum()),
                }
            )
    return pd.DataFrame(rows)


def cost(problem: Problem, *, seed: int, time_limit: float) -> pd.DataFrame:
    """A row a minimum share: sessions and subjects that the program keeps, sessions that random undersampling keeps."""
    rows = []
    for share in SHARES if len(problem.subjects) else ():
        best, rand = (balance(problem, m, share, seed=seed, time_limit=time_limit) for m in ("milp", "random"))
        rows.append(
            {
                "minimum_share": share,
                "sessions": int(best.keep.sum()),
                "subjects": len(np.unique(problem.subjects[best.keep])),
                "sessions_random": int(rand.keep.sum()),
                "subjects_random": len(np.unique(problem.subjects[rand.keep])),
                "of_sessions": len(problem.subjects),
                "of_subjects": len(np.unique(problem.subjects)),
            }
        )
    columns = [
        "minimum_share",
        "sessions",
        "subjects",
        "sessions_random",
        "subjects_random",
        "of_sessions",
        "of_subjects",
    ]
    return pd.DataFrame(rows, columns=columns)


def draw_before_after(path: str | Path, table: pd.DataFrame, minimum_share: float) -> Path:
    """Draw the share of each attribute's rarer class in training before and after, and the minimum, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    rows = table.sort_values("before", kind="stable").drop_duplicates("attribute").sort_index().to_dict("records")
    at = np.arange(len(rows))
    for offset, column, colour in ((-0.2, "before", "#b8c4d6"), (0.2, "after", "#2f5d8a")):
        heights = [row[f"{column}_share"] for row in rows]
        bars = axes.bar(at + offset, np.nan_to_num(heights), width=0.38, color=colour, label=column)
        axes.bar_label(bars, [f"{row[column]:.0f}" for row in rows], fontsize=8, padding=1)
    axes.axhline(
        minimum_share, color="#a33", linewidth=1, linestyle="--", zorder=0, label=f"minimum share {minimum_share:g}"
    )
    axes.set_xticks(at, [f"{row['attribute'].replace('_', ' ')}\n{row['class']}" for row in rows])
    axes.set_ylim(0, max(0.56, *(np.nan_to_num(row["after_share"]) + 0.06 for row in rows)))
    axes.set_ylabel("share of training sessions")
    axes.set_title("The rarer class of each attribute, with its sessions", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    return write_atomic(path, lambda p: figure.savefig(p, metadata={"Software": None}))


def _share(part: float, whole: float) -> float:
    return round(float(part) / float(whole), 4) if whole else float("nan")
