"""The stage graph of a dvc.yaml, drawn as SVG: which stage's outs another stage's deps lie in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from pipeline.errors import UserError
from pipeline.yamlfile import read_yaml

WIDTH, HEIGHT, GAP, ROW = 118, 56, 22, 80


@dataclass(frozen=True)
class Stage:
    """A stage: its name, how many items it is run for, the paths that it writes and reads (``*`` for what varies)."""

    name: str
    items: int
    outs: tuple[str, ...]
    deps: tuple[str, ...]


def read_stages(path: Path) -> list[Stage]:
    """The stages of a dvc.yaml in their order; a `matrix` or `foreach` is one stage with several items."""
    pipeline = read_yaml(path)
    try:
        return [_stage(name, spec, path.parent) for name, spec in pipeline.get("stages", {}).items()]
    except (AttributeError, TypeError, LookupError) as error:
        raise UserError(f"{path} has no stages as DVC writes them: see what `dvc dag` says") from error


def edges(stages: list[Stage]) -> list[tuple[str, str]]:
    """Pairs (before, after), without those that a longer way between the two implies."""
    after = {
        a.name: {b.name for b in stages if a is not b and any(_inside(d, o) for d in b.deps for o in a.outs)}
        for a in stages
    }
    reach = {name: _reachable(after, name) for name in after}
    return [(a, b) for a in after for b in sorted(after[a]) if not any(b in reach[via] for via in after[a] if via != b)]


def draw_graph(stages: list[Stage]) -> Markup:
    """An SVG with the stages from left to right by the longest way to them."""
    links = edges(stages)
    depth = {stage.name: 0 for stage in stages}
    for _ in stages:  # as many rounds as the longest way can have
        for a, b in links:
            depth[b] = max(depth[b], depth[a] + 1)
    columns: dict[int, list[Stage]] = {}
    for stage in stages:
        columns.setdefault(depth[stage.name], []).append(stage)
    place = {
        stage.name: (column * (WIDTH + GAP), row * ROW)
        for column, members in columns.items()
        for row, stage in enumerate(members)
    }
    width = max(x for x, _ in place.values()) + WIDTH + 2
    height = max(y for _, y in place.values()) + HEIGHT + 2
    parts = [_arrow(place[a], place[b]) for a, b in links] + [_box(stage, *place[stage.name]) for stage in stages]
    head = (
        f'<svg class="graph" viewBox="-1 -1 {width} {height}" style="min-width:{width * 0.85:.0f}px" role="img" '
        'aria-label="stage graph"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
    )
    return Markup(head + "".join(parts) + "</svg>")


def _stage(name: str, spec: dict[str, Any], folder: Path) -> Stage:
    body = spec.get("do", spec)
    matrix = spec.get("matrix", {})
    items = 1
    for values in matrix.values():
        items *= len(values) if isinstance(values, list) else 1
    if "foreach" in spec:
        items = _foreach(spec["foreach"], folder)
    outs = [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]
    tables = [each for each in body.get("params", []) if isinstance(each, dict)]  # files of their own, as code.yaml is
    paths = (tuple(_pattern(each) for each in group) for group in (outs, [*body.get("deps", []), *tables]))
    written, read = paths
    return Stage(name, items, written, read)


def _foreach(over: Any, folder: Path) -> int:
    """Entries of a `foreach`, which may name a section of params.yaml."""
    if isinstance(over, list | dict):
        return len(over)
    values: Any = read_yaml(folder / "params.yaml")
    for key in str(over).removeprefix("${").removesuffix("}").split("."):
        values = values[key]
    return len(values)


def _pattern(entry: str | dict[str, Any]) -> str:
    """A path whose ``${...}`` became ``*``."""
    path = entry if isinstance(entry, str) else next(iter(entry))
    return re.sub(r"\$\{[^}]*\}", "*", path).rstrip("/")


def _inside(dep: str, out: str) -> bool:
    """Whether one path is the other or lies in it; a dep's ``*`` means a name only among paths of its length."""
    read, written = dep.split("/"), out.split("/")
    loose = len(read) == len(written)
    return all(a == b or b == "*" or (loose and a == "*") for a, b in zip(read, written, strict=False))


def _reachable(after: dict[str, set[str]], name: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(after[name])
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += after[current]
    return seen


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x0, y0, x1, y1 = start[0] + WIDTH, start[1] + HEIGHT / 2, end[0] - 1, end[1] + HEIGHT / 2
    bend = (x1 - x0) / 2
    return f'<path class="arrow" d="M{x0} {y0}C{x0 + bend} {y0} {x1 - bend} {y1} {x1} {y1}" marker-end="url(#tip)"/>'


def _box(stage: Stage, x: int, y: int) -> str:
    times = f" × {stage.items}" if stage.items > 1 else ""
    shown = stage.outs[0] if stage.outs else ""
    shown = shown if len(shown) <= 19 else shown[:18] + "…"
    titles = escape("\n".join(stage.outs))
    return (
        f'<g><title>{titles}</title><rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        f'<text class="name" x="{x + WIDTH / 2}" y="{y + 25}">{escape(stage.name + times)}</text>'
        f'<text class="path" x="{x + WIDTH / 2}" y="{y + 43}">{escape(shown)}</text></g>'
    )
