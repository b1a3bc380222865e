"""What lies behind the rates: tables of further rates, invariance, quality, differentials, and faces retrieved.

Tables by run show them all; those of one run's details show the run that validation chose, or the first.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from pipeline.files import check_regular
from stages.report.runs import Run

HYPHEN = "\N{NON-BREAKING HYPHEN}"
MORE = {
    "AUC, Euclidean": ("verification", "auc_euclidean"),
    "accuracy, ten folds": ("verification", "folds", "accuracy"),
    f"FNIR @ FPIR 1e{HYPHEN}1": ("identification", "open_set", "fnir@fpir=1e-1"),
    f"rank{HYPHEN}1, full gallery": ("identification", "overall_full", "rank1"),
    "same rig, full": ("identification", "same_rig_full", "rank1"),
    "across rigs, full": ("identification", "across_rigs_full", "rank1"),
    "macro AUC": ("macro", "verification", "auc"),
    f"macro TAR @ 1e{HYPHEN}2": ("macro", "verification", "tar@far=1e-2"),
    f"macro rank{HYPHEN}1": ("macro", "identification", "overall", "rank1"),
}
MOST_TRUSTING = 5  # faces shown for each modality
AGED = {
    "age error in years": ("age", "mean_absolute_error"),
    **{
        f"FNMR @ 1e{HYPHEN}{digit}, {words}": ("invariance", "split", "age", gap, f"fnmr@fmr=1e-{digit}")
        for digit in (2, 3)
        for gap, words in (("0_to_10", "0 to 10 years"), ("10_to_30", "10 to 30"), ("over_30", "over 30"))
    },
}
GROUP = {"auc": "AUC", "tmr": "TMR", "fmr": "FMR", "rank1": f"rank{HYPHEN}1"}
TEXTS = {
    "more": (
        "Full gallery: all other sessions of each subject. Open set: every subject in turn is unknown. Macro: each"
        " subject counts once, however many sessions he has."
    ),
    "invariance": (
        "What fresh probes, fitted on the frozen identity embeddings of training subjects, still read of test subjects"
        " (balanced accuracy; chance .5, of an age's seven groups .143), and what a change between two sessions costs."
    ),
    "quality": (
        "FNMR at one FMR before and after the fifth of the pairs with the lowest quality is dropped. A gain above 0:"
        " the quality knows which pairs fail."
    ),
    "trust": (
        "Which modality a fusion with a gate trusts, face by face: weights that sum to 1, over the test sessions."
    ),
    "differentials": (
        "Error rates by group at one threshold, that of all test pairs at a FAR of .01. Skin tones are thirds of the"
        " test subjects by reconstructed albedo. Few subjects make wide intervals."
    ),
    "retrieval": (
        "Probes with their five nearest test sessions: of the hits the clearest, the median and the narrowest, of the"
        " misses the narrowest, the median and the worst."
    ),
}

Cell = Any  # text, a number, a rate, or None where there is none


@dataclass(frozen=True)
class Table:
    """A table: its heads, and rows whose first cell is a name."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Section:
    """Tables and pictures under one head; each opens at its own name."""

    name: str
    title: str
    tables: Mapping[str, Table] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What it shows, in words."""
        return TEXTS[self.name]


def draw_sections(runs: Sequence[Run], comparison: Mapping[str, Any]) -> list[Section]:
    """The sections that have anything to show."""
    shown = chosen_run(runs, comparison)
    invariance = {
        "What probes read, by run": _probes(runs),
        f"Rank{HYPHEN}1 where it changed, less where it did not, by run": _gaps(runs),
        "Errors by the years between two sessions, at one threshold, and of the age, by run": _by_run(runs, AGED),
        f"Pairs by what they share, under {shown.name}": _splits(shown),
    }
    trust = {"Weight of each modality, by run": _trust(runs)} | {
        f"Faces that trust one modality the most, under {run.name}": _most_trusting(run, gate)
        for run, gate in _gates(runs)
    }
    found = [
        Section("more", "Further rates", {"Further rates by run": _by_run(runs, MORE)}),
        Section("invariance", "Invariance", invariance),
        Section("quality", "Quality and error", {"Error versus discard by run": _quality(runs)}),
        Section("differentials", "Differentials", {f"Groups under {shown.name}": _differentials(shown)}),
        Section("trust", "Trust", trust),
        Section("retrieval", "Retrieval", pictures=dict(_retrieval(shown))),
    ]
    kept = [Section(s.name, s.title, {n: t for n, t in s.tables.items() if t.rows}, s.pictures) for s in found]
    return [section for section in kept if section.tables or section.pictures]


def chosen_run(runs: Sequence[Run], comparison: Mapping[str, Any]) -> Run:
    """The fusion that validation chose, the single run that it chose, or the first."""
    names = comparison.get("chosen", {})
    order = [names.get("fusion"), names.get("best_single")]
    return next((run for name in order for run in runs if run.name == name), runs[0])


def _rate(metrics: Any, path: Sequence[str]) -> dict[str, Any] | None:
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, dict) else None
    return metrics if isinstance(metrics, dict) and {"value", "low", "high"} <= set(metrics) else None


def _by_run(runs: Sequence[Run], columns: Mapping[str, Sequence[str]]) -> Table:
    """A row a run; columns and rows that have nothing are left out."""
    cells = {run.name: {head: _rate(run.metrics, path) for head, path in columns.items()} for run in runs}
    heads = [head for head in columns if any(row[head] for row in cells.values())]
    rows = [[name, *(row[head] for head in heads)] for name, row in cells.items() if any(row[h] for h in heads)]
    return Table(["run", *heads], rows)


def _names(runs: Sequence[Run], *path: str) -> list[str]:
    """Keys of the parts of a place in metrics.json, over all runs."""
    found: dict[str, None] = {}
    for run in runs:
        part: Any = run.metrics
        for key in path:
            part = part.get(key, {}) if isinstance(part, dict) else {}
        found |= {name: None for name, value in part.items() if isinstance(value, dict)}
    return list(found)


def _probes(runs: Sequence[Run]) -> Table:
    names = _names(runs, "invariance", "probe")
    kinds = {"linear": "linear", "mlp": "MLP", "crossed": "crossed"}
    columns = {f"{_words(n)}: {word}": ("invariance", "probe", n, kind) for n in names for kind, word in kinds.items()}
    return _by_run(runs, columns)


def _gaps(runs: Sequence[Run]) -> Table:
    names = _names(runs, "invariance", "split")
    return _by_run(runs, {_words(n): ("invariance", "split", n, "gap", "rank1") for n in names})


def _splits(run: Run) -> Table:
    rows = [
        [f"{_words(name)}: {_words(condition)}", group["counts"]["genuine"], *(_rate(group, [key]) for key in GROUP)]
        for name, groups in run.metrics.get("invariance", {}).get("split", {}).items()
        if isinstance(groups, dict)
        for condition, group in groups.items()
        if isinstance(group, dict) and "counts" in group
    ]
    return Table(["pairs", "genuine", *GROUP.values()], rows)


def _quality(runs: Sequence[Run]) -> Table:
    columns: dict[str, Sequence[str]] = {"all pairs": ("quality", "start")}
    for name in _names(runs, "quality"):
        if name != "start":
            columns[f"by {_words(name)}"] = ("quality", name, "fnmr@discard=0.2")
            columns[f"gain, {_words(name)}"] = ("quality", name, "gain")
    return _by_run(runs, columns)


def _differentials(run: Run) -> Table:
    rows = []
    for trait, groups in run.metrics.get("differentials", {}).items():
        for name, group in groups.items() if isinstance(groups, dict) else ():
            if isinstance(group, dict) and {"fmr", "fnmr"} <= set(group):
                counts = group.get("counts", {})
                label = "highest over lowest" if name == "ratio" else _words(name)
                rates = (_rate(group, [key]) for key in ("fmr", "fnmr"))
                rows.append(
                    [f"{_words(trait)}: {label}", *(counts.get(k) for k in ("subjects", "genuine", "impostor")), *rates]
                )
    return Table(["group", "subjects", "genuine", "impostor", "FMR", "FNMR"], rows)


def _gates(runs: Sequence[Run]) -> Iterator[tuple[Run, np.ndarray]]:
    """The fusions with a gate, and their weights (N, modalities) of the test sessions."""
    for run in runs:
        if run.fused and "gate" in run.embeddings:
            yield run, run.embeddings["gate"].astype(float)


def _trust(runs: Sequence[Run]) -> Table:
    rows = []
    for run, gate in _gates(runs):
        most = np.bincount(gate.argmax(axis=1), minlength=len(run.modalities))
        for modality, weights, faces in zip(run.modalities, gate.T, most.tolist(), strict=True):
            spread = (weights.mean(), *np.quantile(weights, [0, 0.05, 0.5, 0.95, 1]))
            rows.append([f"{run.name}: {modality}", *(f"{x:.3f}" for x in spread), faces])
    return Table(["modality", "mean", "lowest", "5 %", "median", "95 %", "highest", "faces that trust it most"], rows)


def _most_trusting(run: Run, gate: np.ndarray) -> Table:
    rows = [
        [str(run.embeddings["session"][face]), modality, *(f"{x:.3f}" for x in gate[face])]
        for modality, weights in zip(run.modalities, gate.T, strict=True)
        for face in np.argsort(-weights, kind="stable")[:MOST_TRUSTING]
    ]
    return Table(["session", "trusts most", *run.modalities], rows)


def _retrieval(run: Run) -> Iterator[tuple[str, str]]:
    """The picture as a JPEG in a data URI, where there is one that can be read."""
    path = run.results / "retrieval.png"
    if not path.is_file():
        return
    check_regular(path)
    picture = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    if picture is not None:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        yield f"Probes of {run.name}", f"data:image/jpeg;base64,{base64.b64encode(coded).decode()}"


def _words(name: str) -> str:
    return name.replace("_", " ")
