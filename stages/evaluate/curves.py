"""ROC, CMC and error versus discard as tables for plots, and the figures of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from pipeline.identification import LONGEST, Ranks
from pipeline.tables import write_atomic
from pipeline.verification import PairScores, roc
from stages.evaluate.scoring import Recognition

FULL = ("overall_full", "-.", "all other sessions as gallery")
NETWORK, RAW, IMPOSTOR = "#2563a8", "#9a9a9a", "#c2571a"
COLOURS = (NETWORK, IMPOSTOR, "#2b8a4f", "#7a4bb0")


def roc_table(network: PairScores, raw: PairScores) -> pd.DataFrame:
    """TMR over FMR at a few hundred FMRs, even and log-spaced: columns fmr, tmr, and raw_pixels (its TMR).

    Each row is the best TMR of the exact ROC whose FMR does not exceed the row's.
    """
    lowest = 1 / len(network.impostor)
    grid = np.unique(np.concatenate([[0.0], np.geomspace(lowest, 1, 200), np.linspace(0, 1, 101)]).round(9))
    columns = {"fmr": grid}
    for name, scores in (("tmr", network), ("raw_pixels", raw)):
        fmr, tmr = roc(scores)
        columns[name] = tmr[np.searchsorted(fmr, grid + 1e-9, side="right") - 1].round(9)
    return pd.DataFrame(columns)


def cmc_table(found: Recognition, weights: np.ndarray) -> pd.DataFrame:
    """Identification rate by rank over all sessions with its interval, then the rates at one rig and across rigs."""
    overall = found.ranks["overall"]
    if not isinstance(overall, Ranks):
        return pd.DataFrame(columns=["rank", "rate", "low", "high"])
    rates = overall.intervals(weights)[:LONGEST]
    table = pd.DataFrame(
        {
            "rank": np.arange(1, len(rates) + 1),
            "rate": [r["value"] for r in rates],
            "low": [r["low"] for r in rates],
            "high": [r["high"] for r in rates],
        }
    )
    for name in ("same_rig", "across_rigs", "overall_full"):
        ranks = found.ranks[name]
        if isinstance(ranks, Ranks):
            table[name] = pd.Series(ranks.cmc()[:LONGEST])
    return table.round(9)


def draw_roc(path: Path, run: str, table: pd.DataFrame) -> Path:
    """ROC of the network and of raw pixels, FMR on a log axis."""
    figure, axes = _axes(f"{run}: verification of unseen subjects", "false match rate", "true match rate")
    seen = table[table["fmr"] > 0]
    axes.semilogx(seen["fmr"], seen["tmr"], color=NETWORK, label=run)
    axes.semilogx(seen["fmr"], seen["raw_pixels"], color=RAW, label="raw pixels")
    axes.semilogx(seen["fmr"], seen["fmr"], color=RAW, linestyle=":", linewidth=1, label="chance")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="upper left", frameon=False)
    return _save(figure, path)


def draw_det(path: Path, run: str, table: pd.DataFrame) -> Path:
    """DET of the network and of raw pixels: FNMR over FMR, both on the scale on which normal scores make a line."""
    figure, axes = _axes(f"{run}: detection error trade-off", "false match rate", "false non-match rate")
    least = table["fmr"][table["fmr"] > 0].min()
    for column, colour, label in (("tmr", NETWORK, run), ("raw_pixels", RAW, "raw pixels")):
        fmr, fnmr = table["fmr"], 1 - table[column]
        seen = (fmr > 0) & (fmr < 1) & (fnmr > 0) & (fnmr < 1)
        axes.plot(norm.ppf(fmr[seen]), norm.ppf(fnmr[seen]), color=colour, label=label)
    marks = [m for m in (1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99) if m >= least]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(norm.ppf(marks), [f"{m:g}" for m in marks])
    axes.tick_params(axis="x", labelrotation=45)
    axes.legend(loc="upper right", frameon=False)
    return _save(figure, path)


def draw_discard(path: Path, run: str, table: pd.DataFrame, fmr: float | None) -> Path:
    """FNMR over the share of pairs dropped, by quality; dashed at the threshold of the start."""
    at = "" if fmr is None else f" at FMR {fmr:g}"
    figure, axes = _axes(f"{run}: error versus discard{at}", "share of pairs dropped", "false non-match rate")
    names = [name for name in table if name != "discard" and not str(name).endswith("_fixed")]
    for name, colour in zip(names, COLOURS, strict=False):
        axes.plot(table["discard"], table[name], color=colour, label=name)
        axes.plot(table["discard"], table[f"{name}_fixed"], color=colour, linestyle=":", linewidth=1)
    if names:
        axes.axhline(table[names[0]].iloc[0], color=RAW, linewidth=1, label="dropped at random")
        axes.legend(frameon=False, fontsize=8)
    axes.set_ylim(bottom=0)
    return _save(figure, path)


def draw_confusions(path: Path, run: str, tables: dict[str, tuple[tuple[str, ...], np.ndarray]]) -> Path:
    """A matrix an attribute: sessions by true class (rows) and most probable class, shaded by the share of the row."""
    figure = Figure(figsize=(2.6 * max(1, len(tables)), 2.9), layout="constrained")
    grid = figure.subplots(1, max(1, len(tables)), squeeze=False)[0]
    for axes in grid:
        axes.set_axis_off()
    for axes, (name, (classes, counts)) in zip(grid, tables.items(), strict=False):
        axes.set_axis_on()
        axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1.4)
        for (row, column), count in np.ndenumerate(counts):
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8)
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=7)
        axes.set_yticks(range(len(classes)), classes, fontsize=7)
        axes.set_title(name.replace("_", " "), fontsize=9)
    figure.suptitle(f"{run}:\ntrue class by row, said by column", fontsize=9)
    return _save(figure, path)


def draw_cmc(path: Path, run: str, table: pd.DataFrame, raw: pd.DataFrame) -> Path:
    """CMC of the network with its interval, and of raw pixels."""
    figure, axes = _axes(f"{run}: identification of unseen subjects", "rank", "share of probes found")
    axes.fill_between(table["rank"], table["low"].astype(float), table["high"].astype(float), color=NETWORK, alpha=0.15)
    axes.plot(table["rank"], table["rate"], color=NETWORK, label=run)
    for name, style, label in (
        ("same_rig", "--", "gallery at the same rig"),
        ("across_rigs", ":", "at another rig"),
        FULL,
    ):
        if name in table:
            axes.plot(table["rank"], table[name], color=NETWORK, linestyle=style, linewidth=1, label=label)
    axes.plot(raw["rank"], raw["rate"], color=RAW, label="raw pixels")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower right", frameon=False)
    return _save(figure, path)


def draw_scores(path: Path, run: str, scores: PairScores) -> Path:
    """Histograms of genuine and impostor scores, each of unit area."""
    figure, axes = _axes(f"{run}: scores of all test pairs", "cosine of two sessions", "density")
    bins = np.linspace(min(scores.impostor[-1], scores.genuine[-1]), max(scores.impostor[0], scores.genuine[0]), 60)
    for values, colour, name in ((scores.genuine, NETWORK, "genuine"), (scores.impostor, IMPOSTOR, "impostor")):
        label = f"{name} ({len(values):,})"
        axes.hist(values, bins=bins.tolist(), density=True, color=colour, alpha=0.6, label=label)
    axes.legend(frameon=False)
    return _save(figure, path)


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _save(figure: Figure, path: Path) -> Path:
    """Without the version of the library, which would make other bytes of the same figure."""
    return write_atomic(path, lambda p: figure.savefig(p, dpi=120, metadata={"Software": None}))
