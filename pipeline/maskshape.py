"""The shape of a mask on a head: a cloth laid over nose and mouth, what it carries, and what holds it.

    s  -1 .. 1 from one side of the face to the other: azimuth about the head's vertical axis, over the type's reach
    t   0 .. 1 from the upper edge to the lower one

At each (s, t) the cloth has a radius from the axis. It is a membrane over the face: where it touches nothing, the mean
of its neighbours (the obstacle problem, by relaxation); its border lies where the type's borders do, close at the
nose and, for a surgical mask, with the well-known gap at the cheeks. What makes the type is added: pleats (surgical),
a cup (N95), a fold with a ridge (KN95), a seam (cloth), a half-mask with one or two filter cartridges (gas). All in mm.
The simulator lays it on its heads, `maskpaint` on a mean one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from pipeline.maskdesigns import Design, figure

ROWS, COLUMNS = 73, 111
STEPS = 500  # of the relaxation
LIFT = 1.0  # mm between skin and cloth at least
STRAP = 26  # points of a strap's path
ROUND = 48  # points of a cartridge's ring


class Head:
    """A head about its vertical axis: heights of eyes, nose (its tip), mouth and chin, and the axis' place (3,)."""

    eyes: float
    nose: float
    mouth: float
    chin: float
    axis: np.ndarray

    def radius(self, azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Distance of the skin from the axis at azimuths (rad, 0 in front, positive to the image's right) and heights,
        of one shape; 0 where there is none."""
        raise NotImplementedError

    def point(self, azimuth: np.ndarray, height: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Places (..., 3): x to the image's right, y up, z to the front."""
        return np.stack([radius * np.sin(azimuth), height, radius * np.cos(azimuth)], axis=-1) + self.axis


@dataclass(frozen=True)
class Cut:
    """How a type is cut.

    Attributes
    ----------
    reach : degrees of azimuth from the middle to a side.
    top, side_top : its upper edge in the middle and at the sides, as shares of the way from the nose's tip to the eyes.
    side_bottom : its lower edge at the sides, as a share of the way from the mouth to the chin.
    below : mm by which its lower edge in the middle is below the chin.
    bow : exponent of |s| by which its edges go from the middle to the sides.
    gap : mm between face and border at the nose, at the cheeks, at the sides, at the chin.
    fall : mm by which the cloth stands off in its middle, as a range.
    """

    reach: float
    top: float
    side_top: float
    side_bottom: float
    below: float
    bow: float
    gap: tuple[float, float, float, float]
    fall: tuple[float, float]


CUTS = {
    "surgical": Cut(66, 0.62, 0.18, 0.25, 8, 2.0, (1.0, 2.5, 6.0, 4.0), (3, 7)),
    "n95": Cut(52, 0.60, -0.15, 0.25, 5, 2.4, (1.0, 1.0, 1.0, 1.0), (13, 18)),
    "kn95": Cut(68, 0.62, -0.15, -0.05, 8, 1.6, (1.0, 1.3, 2.0, 1.5), (14, 20)),
    "cloth": Cut(64, 0.55, 0.02, 0.35, 7, 2.0, (1.0, 1.5, 3.0, 2.0), (2, 5)),
    "gas": Cut(40, 0.52, -0.30, 0.40, 2, 2.6, (1.0, 1.0, 1.0, 1.0), (9, 13)),
}


@dataclass(frozen=True)
class Patch:
    """A part of a mask: a grid of places (R, C, 3), rows down and columns to the image's right, and albedo (R, C).

    ``closed``: the columns go around, the last beside the first.
    """

    places: np.ndarray
    albedo: np.ndarray
    closed: bool = False


@dataclass(frozen=True)
class Strap:
    """A round band along a path (N, 3) of a radius in mm."""

    path: np.ndarray
    radius: float
    albedo: float


def lay(design: Design, head: Head) -> tuple[list[Patch], list[Strap]]:
    """A mask on a head: its cloth, then its cartridges; and its straps."""
    rng = np.random.default_rng(design.seed)
    cut = CUTS[design.type]
    s, t = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(0, 1, ROWS))
    azimuth, height = _outline(head, cut, s, t, rng)
    radius = _form(design.type, _drape(head, cut, azimuth, height, s, t), cut, s, t, rng)
    across = np.deg2rad(cut.reach) * s * 95.0
    radius = radius + 0.25 * _lumps(rng, across, height) * _window(s, t)
    cloth = head.point(azimuth, height, radius)
    albedo = _colours(design, across, height[0, COLUMNS // 2] - height, s, t)
    patches = [Patch(cloth, albedo)]
    if design.type == "gas":
        tone = design.ink if rng.random() < 0.5 else design.ground
        patches += [
            Patch(rings, np.full(rings.shape[:2], tone), closed=True) for rings in _cartridges(head, cloth, rng)
        ]
    tone = 0.08 if design.ground < 0.15 else 0.7
    return patches, [Strap(path, thick, tone) for path, thick in _straps(design.type, head, azimuth, height, radius)]


def _outline(
    head: Head, cut: Cut, s: np.ndarray, t: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth (rad) and height of the cloth's places: how the type is cut, and that nobody wears it quite straight."""
    to_side = np.abs(s) ** cut.bow
    top = head.nose + (cut.top + (cut.side_top - cut.top) * to_side) * (head.eyes - head.nose)
    middle = head.chin - cut.below
    bottom = middle + (head.mouth + cut.side_bottom * (head.chin - head.mouth) - middle) * to_side
    lift, tilt, size = rng.uniform(-2, 1.5), rng.uniform(-0.03, 0.03), rng.uniform(0.95, 1.05)
    azimuth = np.deg2rad(cut.reach) * size * s + rng.uniform(-0.02, 0.02)
    return azimuth, top + (bottom - top) * t + lift + tilt * 95.0 * azimuth


def _drape(head: Head, cut: Cut, azimuth: np.ndarray, height: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The membrane's radius: on the face, or the mean of its neighbours, whichever is farther out."""
    face = head.radius(azimuth, height)
    chin = head.radius(azimuth[:1], np.full_like(azimuth[:1], head.chin))
    face = np.maximum(face, 0.88 * chin * (t > 0.5))  # below the chin it goes on, and not back to the neck
    at_nose, at_cheek, at_side, at_chin = cut.gap
    side = np.abs(s)
    edge = at_nose + (at_cheek - at_nose) * _ramp(side, 0.1, 0.5) + (at_side - at_cheek) * _ramp(side, 0.6, 1.0)
    gap = np.where(t < 0.5, edge, at_chin + (at_side - at_chin) * _ramp(side, 0.3, 1.0))
    border = (side > 1 - 1e-9) | (t < 1e-9) | (t > 1 - 1e-9)
    radius, floor = face + gap, face + LIFT
    for _ in range(STEPS):
        mean = radius.copy()
        mean[1:-1, 1:-1] = (radius[:-2, 1:-1] + radius[2:, 1:-1] + radius[1:-1, :-2] + radius[1:-1, 2:]) / 4
        radius = np.where(border, face + gap, np.maximum(mean, floor))
    return radius


def _form(
    kind: str, radius: np.ndarray, cut: Cut, s: np.ndarray, t: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """What the type adds to the membrane."""
    fall, window = rng.uniform(*cut.fall), _window(s, t)
    if kind == "surgical":
        pleats = 3 * (t - 0.2) / 0.6
        folded = np.where((t > 0.2) & (t < 0.8), 1 - pleats % 1.0, 0.0)
        return radius + fall * (1 - s**2) * np.sin(np.pi * t) ** 1.5 + 1.3 * folded * window
    if kind in ("n95", "gas"):  # a stiff cup: it stands off the face all around its edge, and shows nothing of the nose
        cup = radius + fall * (1 - np.abs(s) ** 2.5) ** 0.7 * np.sin(np.pi * np.clip(t, 0, 1)) ** 0.6
        smooth = gaussian_filter(cup, (5, 7), mode="nearest")
        return np.maximum(cup + window * (smooth - cup), radius)
    if kind == "kn95":
        ridge = np.clip(1 - np.abs(s) / 0.85, 0, 1)
        return radius + fall * ridge * np.sin(np.pi * np.clip(t, 0, 1)) ** 0.7
    seam = np.exp(-((s / 0.015) ** 2)) * window
    return radius + fall * (1 - np.abs(s)) * np.sin(np.pi * t) + 0.5 * seam


def _window(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """1 in the middle of the cloth, 0 at its border."""
    return _ramp(1 - np.abs(s), 0.0, 0.12) * _ramp(np.minimum(t, 1 - t), 0.0, 0.1)


def _lumps(rng: np.random.Generator, across: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Creases: a few plane waves of some centimetres, of about unit variance."""
    waves = rng.normal(size=(6, 2))
    waves *= 2 * np.pi / rng.uniform(14, 34, (6, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)
    return np.asarray(np.sin(across[..., None] * waves[:, 0] + height[..., None] * waves[:, 1]).sum(-1) / 1.7)


def _colours(design: Design, across: np.ndarray, down: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Albedo of the cloth: its pattern, a hem, and the weave's unevenness."""
    ink = figure(design, across, down)
    albedo = design.ground + (design.ink - design.ground) * ink
    hem = (np.abs(s) > 0.95) | (t < 0.035) | (t > 0.965)
    rng = np.random.default_rng(design.seed + 1)
    return np.clip(albedo * np.where(hem, 0.88, 1.0) * (1 + 0.02 * rng.normal(size=s.shape)), 0.02, 0.9)


def _straps(
    kind: str, head: Head, azimuth: np.ndarray, height: np.ndarray, radius: np.ndarray
) -> list[tuple[np.ndarray, float]]:
    """Loops to the ears from the corners, or bands around the head from the middle of the sides."""
    around = kind in ("n95", "gas")
    rows = (ROWS // 2, ROWS // 2) if around else (3, ROWS - 4)
    ends = (head.eyes + 40, head.mouth - 12) if around else (head.eyes + 8, head.nose - 12)
    reach = np.deg2rad(118.0 if around else 88.0)
    thickness = (2.6 if kind == "gas" else 1.8) if around else 1.2
    found = []
    for column, side in ((0, -1), (COLUMNS - 1, 1)):
        for row, end in zip(rows, ends, strict=True):
            share = np.linspace(0, 1, STRAP)
            angles = azimuth[row, column] * (1 - share) + side * reach * share
            heights = height[row, column] * (1 - share) + end * share
            bare = _taut(head.radius(angles, heights)) + 0.6 * thickness
            begin = radius[row, column]
            path = head.point(angles, heights, np.maximum(bare, begin + (bare[-1] - begin) * share))
            found.append((path, thickness))
    return found


def _taut(radius: np.ndarray) -> np.ndarray:
    """A strip (N,) over what lies below it, pulled tight."""
    pulled = radius.copy()
    for _ in range(200):
        pulled[1:-1] = np.maximum(radius[1:-1], (pulled[:-2] + pulled[2:]) / 2)
    return pulled


def _cartridges(head: Head, cloth: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """One filter in front of the mouth, or two at its sides: short cylinders with a rim and a grid."""
    wide, deep = rng.uniform(19, 25), rng.uniform(14, 22)
    row = int(0.62 * ROWS)
    columns: Sequence[int] = (COLUMNS // 2,) if rng.random() < 0.5 else (COLUMNS // 5, COLUMNS - 1 - COLUMNS // 5)
    found = []
    for column in columns:
        centre = cloth[row, column]
        out = centre - head.axis
        out = np.array([out[0], -0.12 * np.linalg.norm(out[[0, 2]]), out[2]])
        out /= np.linalg.norm(out)
        right = np.cross([0.0, 1.0, 0.0], out)
        right /= np.linalg.norm(right)
        up = np.cross(out, right)
        turn = 2 * np.pi * np.arange(ROUND) / ROUND
        ring = np.cos(turn)[:, None] * right + np.sin(turn)[:, None] * up
        # from the back along the side to the front, over a rim and the rings of a grid to the middle
        radii = wide * np.array([1.0, 1.0, 1.0, 0.98, 0.9, 0.86, 0.7, 0.68, 0.5, 0.48, 0.3, 0.28, 0.02])
        heights = np.array([-12.0, 0.5 * deep, deep - 1.5, deep, deep, deep - 2, *([deep - 2, deep - 3] * 3), deep - 2])
        rings = centre + radii[:, None, None] * ring + heights[:, None, None] * out
        found.append(rings)
    return found


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))
