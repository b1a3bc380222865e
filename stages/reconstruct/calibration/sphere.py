"""A light from a photograph of a mirror ball: the ball's circle, its highlight, and the law of reflection.

A camera far away on the z axis sees the point of a ball at (u, v) of its radius, u right and v up, with the normal
``n = (u, v, sqrt(1 - u^2 - v^2))``. A mirror there shows what lies in the direction ``l = 2 (n . z) n - z``: THE LIGHT
is twice as far from the axis as the normal at its highlight, which is not the light.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import Rejected
from pipeline.images import read_frame

SMALLEST = 12.0  # px of a ball's radius: below it a pixel of the highlight is several degrees
TOP = 0.8  # of the brightest pixel of the ball: the highlight's own
LARGEST_HIGHLIGHT = 0.05  # of the ball's area: beyond it the ball is matt, or the picture overexposed
SMOOTH = 0.04  # rms distance of the outline from its circle, in radii
TURNS = 200  # random circles through three points of the outline


@dataclass(frozen=True, eq=False)
class Ball:
    """Centre (x, y) and radius in pixels, highlight (x, y), and the light (3,) unit, towards the flash."""

    centre: np.ndarray
    radius: float
    highlight: np.ndarray
    light: np.ndarray


def light_of_ball(path: str | Path) -> Ball:
    """The light in a photograph of a mirror ball.

    Raises
    ------
    Rejected : the file cannot be read, no round outline stands out, or the ball shows no single small highlight.
    """
    try:
        return find_light(read_frame(path))
    except ValueError as error:
        raise Rejected(f"{path}: {error}") from error


def find_light(image: np.ndarray) -> Ball:
    """The ball and its light in an (H, W) float image, linear.

    Raises
    ------
    ValueError : no round outline stands out, or there is no single small highlight inside it.
    """
    centre, radius = find_circle(image)
    rows, columns = np.indices(image.shape)
    inside = np.hypot(columns - centre[0], rows - centre[1]) < 0.98 * radius
    level = float(image[inside].max())
    if level <= 3 * float(np.median(image[inside])) + 1e-3:
        raise ValueError("the ball shows no highlight; a mirror ball is dark but for the flash")
    _, labels = cv2.connectedComponents(((image >= TOP * level) & inside).astype(np.uint8), connectivity=8)
    sums = np.bincount(labels.ravel(), weights=image.ravel())[1:]
    spot = labels == 1 + int(np.argmax(sums))
    if spot.sum() > LARGEST_HIGHLIGHT * np.pi * radius**2:
        raise ValueError(f"the highlight covers {spot.sum() / (np.pi * radius**2):.0%} of the ball; expose it shorter")
    if np.sort(sums)[-2:].sum() > 1.5 * sums.max():
        raise ValueError("the ball shows two highlights alike; photograph it with one flash at a time")
    weights = image * spot
    highlight = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
    return Ball(centre, radius, highlight, reflected((highlight - centre) / radius))


def reflected(at: np.ndarray) -> np.ndarray:
    """The light (3,) that a highlight shows at (x right, y DOWN) radii from the centre.

    >>> reflected(np.array([0.5 ** 0.5, 0.0])).round(6).tolist()  # a normal at 45 degrees mirrors the horizon
    [1.0, 0.0, 0.0]
    """
    u, v = float(at[0]), -float(at[1])
    w = np.sqrt(max(0.0, 1 - u * u - v * v))
    return np.array([2 * w * u, 2 * w * v, 2 * w * w - 1])


def find_circle(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (x, y) and radius of the largest round thing that stands out from the background, in pixels.

    Raises
    ------
    ValueError : there is none, it leaves the picture, or it is not round.
    """
    levels = np.rint(255 * np.sqrt(np.clip(image / max(float(np.percentile(image, 99)), 1e-6), 0, 1))).astype(np.uint8)
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    apart = np.abs(levels.astype(int) - int(np.median(border))).astype(np.uint8)
    threshold = max(8.0, cv2.threshold(apart, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0] / 2)
    contours, _ = cv2.findContours((apart > threshold).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        raise ValueError("no ball stands out from the background")
    outline = max(contours, key=cv2.contourArea)[:, 0].astype(float)
    centre, radius = _circle(outline)
    height, width = image.shape
    if radius < SMALLEST:
        raise ValueError(f"the ball has a radius of {radius:.0f} px; at least {SMALLEST:.0f} are needed")
    off = np.abs(np.hypot(*(outline - centre).T) / radius - 1)
    if np.sqrt(np.median(off**2)) > SMOOTH or (off > 3 * SMOOTH).mean() > 0.3:
        raise ValueError("what stands out is not round; photograph the ball alone before a plain background")
    if not (radius / 2 < centre[0] < width - radius / 2 and radius / 2 < centre[1] < height - radius / 2):
        raise ValueError("the ball leaves the picture")
    return centre, radius


def _circle(outline: np.ndarray) -> tuple[np.ndarray, float]:
    """The circle that most of an outline (n, 2) lies on: the best of random triples, refitted to what it explains."""
    rng = np.random.default_rng(0)
    best, most = np.ones(len(outline), bool), -1
    for _ in range(TURNS if len(outline) > 3 else 0):
        centre, radius = _fitted(outline[rng.choice(len(outline), 3, replace=False)])
        near = np.abs(np.hypot(*(outline - centre).T) - radius) < 1.5
        if near.sum() > most and radius < 2 * np.ptp(outline, axis=0).max():
            best, most = near, int(near.sum())
    return _fitted(outline[best])


def _fitted(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Algebraic least-squares circle (Kasa 1976): x^2 + y^2 = 2 a x + 2 b y + c; outlines run on pixels inside it."""
    matrix = np.column_stack([2 * points, np.ones(len(points))])
    a, b, c = np.linalg.lstsq(matrix, (points**2).sum(axis=1), rcond=None)[0]
    return np.array([a, b]), float(np.sqrt(max(c + a * a + b * b, 0.0)))
