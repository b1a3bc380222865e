"""Line charts as inline SVG, coloured by the page's style sheet so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike

WIDTH, HEIGHT = 440, 320
LEFT, RIGHT, TOP, BOTTOM = 60, 10, 10, 44


@dataclass(frozen=True)
class Line:
    """A line of a chart: name, points, and the number of its colour; a thin one is a baseline."""

    name: str
    x: ArrayLike
    y: ArrayLike
    colour: int
    dashed: bool = False
    thin: bool = False


def line_chart(
    lines: Sequence[Line], *, x: str, y: str, log_x: bool = False, y_range: tuple[float, float] | None = None
) -> Markup:
    """An SVG of the lines with axes, ticks and the names of the axes.

    Parameters
    ----------
    lines
        With finite points; on a log axis those with x <= 0 are left out.
    x, y
        Names of the axes.
    log_x
        Powers of ten on the x axis.
    y_range
        Ends of the y axis; those of the data where None.
    """
    points = [_points(line, log_x) for line in lines]
    everything = np.concatenate([p for p in points if len(p)] or [np.array([[0.0, 0.0], [1.0, 1.0]])])
    x_low, x_high = everything[:, 0].min(), everything[:, 0].max()
    y_low, y_high = y_range or (everything[:, 1].min(), everything[:, 1].max())
    x_high, y_high = max(x_high, x_low + 1e-9), max(y_high, y_low + 1e-9)
    x_ticks = [(t, f"10{_superscript(t)}" if t else "1") for t in _decades(x_low)] if log_x else _ticks(x_low, x_high)

    def across(value: float) -> float:
        return LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y)} over {escape(x)}">']
    for value, text in x_ticks:
        at = f"{across(value):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{at}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{text}</text>')
    for value, text in _ticks(y_low, y_high):
        at = f"{down(value):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at}" dy=".35em" text-anchor="end">{text}</text>')
    for line, at_points in zip(lines, points, strict=True):
        path = " ".join(f"{across(a):.1f},{down(min(max(b, y_low), y_high)):.1f}" for a, b in at_points)
        kind = f"line c{line.colour}" + (" dashed" if line.dashed else "") + (" thin" if line.thin else "")
        parts.append(f'<polyline class="{kind}" data-run="{escape(line.name)}" points="{path}"/>')
    return Markup("".join([*parts, _names(x, y), "</svg>"]))


def _names(x: str, y: str) -> str:
    """The names of the axes."""
    middle = (LEFT + WIDTH - RIGHT) / 2
    turned = f"rotate(-90) translate({-(TOP + HEIGHT - BOTTOM) / 2},12)"
    return (
        f'<text class="axis" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>'
        f'<text class="axis" transform="{turned}" text-anchor="middle">{escape(y)}</text>'
    )


def _points(line: Line, log_x: bool) -> np.ndarray:
    points = np.stack([np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)], axis=1)
    points = points[np.isfinite(points).all(axis=1)]
    if log_x:
        points = points[points[:, 0] > 0]
        points[:, 0] = np.log10(points[:, 0])
    return points


def _decades(low: float) -> list[int]:
    return list(range(math.ceil(low - 1e-9), 1))


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Round values between two ends, at most about `most`."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [(i * step, f"{i * step:.{digits}f}") for i in range(first, math.floor(high / step + 1e-9) + 1)]
