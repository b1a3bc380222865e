"""Masks as geometry: a cloth laid over nose and mouth, on the head at rest, with what holds it.

    s  -1 .. 1 from one side of the face to the other: azimuth about the head's axis, over the type's reach
    t   0 .. 1 from the upper edge to the lower one

At each (s, t) the cloth has a radius from the axis. It is a membrane over the face: where it touches nothing, the mean
of its neighbours (the obstacle problem, by relaxation); its border lies where the type's borders do, close at the
nose and, for a surgical mask, with the well-known gap at the cheeks. What makes the type is added: pleats (surgical),
a cup (N95), a fold with a ridge (KN95), a seam (cloth), a half-mask with one or two filter cartridges (gas). All in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from pipeline.maskdesigns import Design, figure
from stages.simulate import mesh
from stages.simulate.bust import Bust, topology
from stages.simulate.fields import ramp
from stages.simulate.human import SKIN
from stages.simulate.raycast import Scene

ROWS, COLUMNS = 73, 111
OUTSIDE = 220.0  # mm from the axis, where nothing of a head is
STEPS = 500  # of the relaxation
LIFT = 1.0  # mm between skin and cloth at least


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
MATERIALS = {"surgical": (0.02, 9.0), "n95": (0.0, 6.0), "kn95": (0.01, 8.0), "cloth": (0.0, 5.0), "gas": (0.12, 24.0)}


@dataclass(frozen=True)
class WornMask:
    """Vertices (V, 3) at rest, quads (F, 4), albedo (V,), and the strength and exponent of the highlight."""

    vertices: np.ndarray
    quads: np.ndarray
    albedo: np.ndarray
    shine: float
    gloss: float


class Skull:
    """The head at rest, seen from its own vertical axis."""

    def __init__(self, bust: Bust) -> None:
        shape = topology()
        own = shape.part[: shape.without_long_hair] == SKIN
        self._scene = Scene(bust.rest, shape.triangles[: shape.without_long_hair][own])
        points = bust.rest[shape.landmarks]
        self.eyes, self.nose = float(points[[0, 1, 3, 4], 1].mean()), float(points[6, 1])
        self.mouth, self.chin = float(points[[8, 9], 1].mean()), float(points[10, 1])
        self.axis = np.array([points[[2, 6, 10], 0].mean(), 0.0, points[[0, 4], 2].mean() - 55.0])

    def radius(self, azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
        """Distance of the skin from the axis; 0 where there is none."""
        out = np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], axis=-1).reshape(-1, 3)
        origin = OUTSIDE * out + self.axis + height.reshape(-1, 1) * [0.0, 1.0, 0.0]
        far = self._scene.cast(np.concatenate([origin, -out], axis=1).astype(np.float32)).far
        return np.where(np.isfinite(far), np.maximum(OUTSIDE - far, 0), 0.0).reshape(azimuth.shape)

    def point(self, azimuth: np.ndarray, height: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Places (..., 3)."""
        return np.stack([radius * np.sin(azimuth), height, radius * np.cos(azimuth)], axis=-1) + self.axis


def wear(design: Design, bust: Bust) -> WornMask:
    """A mask on a head at rest."""
    rng = np.random.default_rng(design.seed)
    skull, cut = Skull(bust), CUTS[design.type]
    s, t = np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(0, 1, ROWS))
    azimuth, height = _outline(skull, cut, s, t, rng)
    radius = _form(design.type, _drape(skull, cut, azimuth, height, s, t), cut, s, t, rng)
    across = np.deg2rad(cut.reach) * s * 95.0
    radius = radius + 0.25 * _lumps(rng, across, height) * _window(s, t)
    cloth = skull.point(azimuth, height, radius)
    albedo = _colours(design, across, height[0, COLUMNS // 2] - height, s, t)
    parts = [(cloth.reshape(-1, 3), mesh.grid_quads(ROWS, COLUMNS)[:, ::-1])]
    tones = [albedo.ravel()]
    if design.type == "gas":
        for vertices, quads in _cartridges(skull, cloth, rng):
            parts.append((vertices, quads))
            tones.append(np.full(len(vertices), design.ink if rng.random() < 0.5 else design.ground))
    for vertices, quads in _straps(design.type, skull, azimuth, height, radius):
        parts.append((vertices, quads))
        tones.append(np.full(len(vertices), 0.08 if design.ground < 0.15 else 0.7))
    starts = np.cumsum([0, *(len(v) for v, _ in parts[:-1])])
    quads = np.concatenate([q + start for (_, q), start in zip(parts, starts, strict=True)])
    shine, gloss = MATERIALS[design.type]
    return WornMask(np.concatenate([v for v, _ in parts]), quads, np.concatenate(tones), shine, gloss)


def _outline(
    skull: Skull, cut: Cut, s: np.ndarray, t: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth (rad) and height of the cloth's places: how the type is cut, and that nobody wears it quite straight."""
    to_side = np.abs(s) ** cut.bow
    top = skull.nose + (cut.top + (cut.side_top - cut.top) * to_side) * (skull.eyes - skull.nose)
    middle = skull.chin - cut.below
    bottom = middle + (skull.mouth + cut.side_bottom * (skull.chin - skull.mouth) - middle) * to_side
    lift, tilt, size = rng.uniform(-2, 1.5), rng.uniform(-0.03, 0.03), rng.uniform(0.95, 1.05)
    azimuth = np.deg2rad(cut.reach) * size * s + rng.uniform(-0.02, 0.02)
    return azimuth, top + (bottom - top) * t + lift + tilt * 95.0 * azimuth


def _drape(skull: Skull, cut: Cut, azimuth: np.ndarray, height: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The membrane's radius: on the face, or the mean of its neighbours, whichever is farther out."""
    face = skull.radius(azimuth, height)
    chin = skull.radius(azimuth[:1], np.full_like(azimuth[:1], skull.chin))
    face = np.maximum(face, 0.88 * chin * (t > 0.5))  # below the chin it goes on, and not back to the neck
    at_nose, at_cheek, at_side, at_chin = cut.gap
    side = np.abs(s)
    edge = at_nose + (at_cheek - at_nose) * ramp(side, 0.1, 0.5) + (at_side - at_cheek) * ramp(side, 0.6, 1.0)
    gap = np.where(t < 0.5, edge, at_chin + (at_side - at_chin) * ramp(side, 0.3, 1.0))
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
    return ramp(1 - np.abs(s), 0.0, 0.12) * ramp(np.minimum(t, 1 - t), 0.0, 0.1)


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
    kind: str, skull: Skull, azimuth: np.ndarray, height: np.ndarray, radius: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Loops to the ears from the corners, or bands around the head from the middle of the sides."""
    around = kind in ("n95", "gas")
    rows = (ROWS // 2, ROWS // 2) if around else (3, ROWS - 4)
    ends = (skull.eyes + 40, skull.mouth - 12) if around else (skull.eyes + 8, skull.nose - 12)
    reach = np.deg2rad(118.0 if around else 88.0)
    thickness = (2.6 if kind == "gas" else 1.8) if around else 1.2
    found = []
    for column, side in ((0, -1), (COLUMNS - 1, 1)):
        for row, end in zip(rows, ends, strict=True):
            share = np.linspace(0, 1, 26)
            angles = azimuth[row, column] * (1 - share) + side * reach * share
            heights = height[row, column] * (1 - share) + end * share
            bare = _taut(skull.radius(angles, heights)) + 0.6 * thickness
            begin = radius[row, column]
            path = skull.point(angles, heights, np.maximum(bare, begin + (bare[-1] - begin) * share))
            found.append(mesh.tube(path, thickness, closed=False, sides=6))
    return found


def _taut(radius: np.ndarray) -> np.ndarray:
    """A strip (N,) over what lies below it, pulled tight."""
    pulled = radius.copy()
    for _ in range(200):
        pulled[1:-1] = np.maximum(radius[1:-1], (pulled[:-2] + pulled[2:]) / 2)
    return pulled


def _cartridges(skull: Skull, cloth: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """One filter in front of the mouth, or two at its sides: short cylinders with a rim and a grid."""
    wide, deep = rng.uniform(19, 25), rng.uniform(14, 22)
    row = int(0.62 * ROWS)
    columns: Sequence[int] = (COLUMNS // 2,) if rng.random() < 0.5 else (COLUMNS // 5, COLUMNS - 1 - COLUMNS // 5)
    found = []
    for column in columns:
        centre = cloth[row, column]
        out = centre - skull.axis
        out = np.array([out[0], -0.12 * np.linalg.norm(out[[0, 2]]), out[2]])
        out /= np.linalg.norm(out)
        right = np.cross([0.0, 1.0, 0.0], out)
        right /= np.linalg.norm(right)
        up = np.cross(out, right)
        turn = 2 * np.pi * np.arange(48) / 48
        ring = np.cos(turn)[:, None] * right + np.sin(turn)[:, None] * up
        # from the back along the side to the front, over a rim and the rings of a grid to the middle
        radii = wide * np.array([1.0, 1.0, 1.0, 0.98, 0.9, 0.86, 0.7, 0.68, 0.5, 0.48, 0.3, 0.28, 0.02])
        heights = np.array([-12.0, 0.5 * deep, deep - 1.5, deep, deep, deep - 2, *([deep - 2, deep - 3] * 3), deep - 2])
        rings = centre + radii[:, None, None] * ring + heights[:, None, None] * out
        found.append((rings.reshape(-1, 3), mesh.grid_quads(len(radii), 48, wrap_columns=True)))
    return found
