"""Probes with their five nearest, hits and misses chosen by rule.

Every test session is a probe among all others. Its margin is the score of its own subject's best session less that of
the best of anybody else. Shown are, of the hits (margin above zero), the clearest, the median and the narrowest; of
the misses the narrowest, the median and the worst; ties go to the first session by id. No one picks examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.faces import Faces
from pipeline.identification import nearest
from pipeline.tables import write_atomic

NEAREST = 5
LONGEST = 26  # characters of a caption that fit above a face
WIDTH, TITLE, LINE, CAPTION = 8.4, 0.35, 1.66, 0.34  # inches: the page, its title, an example, the words above a face
HIT, MISS = "#2b8a4f", "#c2571a"


@dataclass(frozen=True)
class Example:
    """A probe's row, its nearest rows and their scores, what it is an example of, and its margin."""

    probe: int
    found: np.ndarray
    scores: np.ndarray
    kind: str
    margin: float


def choose_examples(similarity: np.ndarray, subjects: np.ndarray) -> list[Example]:
    """Three hits and three misses at most, by the rule above.

    Parameters
    ----------
    similarity
        (N, N) scores; the diagonal is not looked at.
    subjects
        (N,) labels, sorted as the sessions are.
    """
    codes = np.unique(subjects, return_inverse=True)[1]
    own, others = nearest(similarity, codes, np.ones(len(codes), dtype=bool))
    margin = own - others.max(axis=1)
    rows = np.flatnonzero(np.isfinite(margin))
    order = rows[np.argsort(-margin[rows], kind="stable")]
    hits, misses = order[margin[order] > 0], order[margin[order] <= 0]
    chosen = [
        (group[place], f"{name} {kind}")
        for kind, group, names in (
            ("hit", hits, ("clearest", "median", "narrowest")),
            ("miss", misses, ("narrowest", "median", "worst")),
        )
        for place, name in _places(len(group), names)
    ]
    return [_example(similarity, int(probe), kind, float(margin[probe])) for probe, kind in chosen]


def _places(size: int, names: tuple[str, ...]) -> list[tuple[int, str]]:
    """First, middle and last of a group; of fewer than three those that are there, each once."""
    places = dict(zip((0, size // 2, size - 1), names, strict=True)) if size else {}
    return sorted(places.items())


def _example(similarity: np.ndarray, probe: int, kind: str, margin: float) -> Example:
    order = np.argsort(-similarity[probe], kind="stable")
    found = order[(order != probe) & ~np.isnan(similarity[probe, order])][:NEAREST]
    return Example(probe, found, similarity[probe, found], kind, margin)


def face_pictures(faces: Faces, modality: str, rows: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) in [0, 1]: normals as colours, the rest grey between its 1 % and 99 % quantiles inside the mask."""
    values = np.asarray(faces.array(modality)[rows], dtype=np.float32)
    inside = np.asarray(faces.mask()[rows], dtype=bool)
    if modality == "normal":
        return np.where(inside[..., None], np.clip(values / 2 + 0.5, 0, 1), 0)
    grey = values[..., 0]
    shown = np.zeros((*grey.shape, 3), dtype=np.float32)
    for picture, one, mask in zip(shown, grey, inside, strict=True):
        low, high = np.quantile(one[mask], [0.01, 0.99]) if mask.any() else (0, 1)
        picture[:] = (np.clip((one - low) / max(high - low, 1e-6), 0, 1) * mask)[..., None]
    return shown


def draw_retrieval(
    path: Path,
    run: str,
    examples: list[Example],
    pictures: dict[int, np.ndarray],
    sessions: np.ndarray,
    subjects: np.ndarray,
) -> Path:
    """A row an example: the probe, then its nearest with their scores, framed by whether the subject is right."""
    figure = retrieval_figure(run, examples, pictures, sessions, subjects)
    return write_atomic(path, lambda p: figure.savefig(p, dpi=90, metadata={"Software": None}))


def retrieval_figure(
    run: str, examples: list[Example], pictures: dict[int, np.ndarray], sessions: np.ndarray, subjects: np.ndarray
) -> Figure:
    """The page of `draw_retrieval`."""
    lines = max(1, len(examples))
    height = TITLE + lines * LINE
    # by hand: a layout that measures all texts takes longer than the rest of the page
    layout = {"left": 0.01, "right": 0.99, "bottom": 0.05 / height, "top": 1 - (TITLE + CAPTION) / height}
    figure = Figure(figsize=(WIDTH, height))
    grid = figure.subplots(
        lines, NEAREST + 1, squeeze=False, gridspec_kw={**layout, "wspace": 0.04, "hspace": CAPTION / (LINE - CAPTION)}
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for line, example in zip(grid, examples, strict=False):
        line[0].imshow(pictures[example.probe])
        line[0].set_title(_caption(example.kind, sessions[example.probe]), fontsize=6, y=1)
        for axes, row, score in zip(line[1:], example.found, example.scores, strict=False):
            right = subjects[row] == subjects[example.probe]
            axes.imshow(pictures[row])
            caption = _caption(f"{score:.2f}", sessions[row])
            axes.set_title(caption, fontsize=6, y=1, color=HIT if right else MISS)
            size = pictures[row].shape[0] - 1
            axes.add_patch(Rectangle((0, 0), size, size, fill=False, edgecolor=HIT if right else MISS, linewidth=3))
    figure.suptitle(f"{run}: probes and their nearest test sessions", fontsize=10, y=1 - 0.1 / height)
    return figure


def _caption(what: str, session: str) -> str:
    """Two lines that fit above a face: what is said and the subject, then the session."""
    subject, _, name = session.rpartition("/")
    return f"{what}, {subject}\n{name if len(name) <= LONGEST else name[: LONGEST - 1] + '…'}"
