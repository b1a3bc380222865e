"""What a face wears or hides behind: spectacles with lenses, a hand, a telephone, strands of hair, a scarf, a mask.

All are meshes fixed to the head at rest (mm, the bust's axes); `Bust.pose` moves them with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from stages.simulate import mesh
from stages.simulate.bust import Bust, topology
from stages.simulate.human import human
from stages.simulate.masks import wear
from stages.simulate.subject import Subject
from stages.simulate.visit import Visit, head_size

FRAME, HAND, TELEPHONE, STRANDS, SCARF, _SHEET, MASK = range(7)  # as `skin.REGIONS` has them
WRAP = 0.0028  # 1 / mm: spectacles curve back by this times the square of the way to the side


@dataclass(frozen=True)
class Prop:
    """One mesh: vertices (V, 3), quads (F, 4), and what it is made of.

    ``albedo`` is that of all of it, or (V,) of each vertex; ``shine`` and ``gloss`` are the strength and the exponent
    of its highlight. ``turns`` (V,) is how much of the head's rotation each vertex follows; None for all of it.
    """

    kind: int
    vertices: np.ndarray
    quads: np.ndarray
    albedo: float | np.ndarray
    shine: float
    gloss: float
    turns: np.ndarray | None = None


def build_props(subject: Subject, visit: Visit, bust: Bust) -> tuple[list[Prop], Prop | None]:
    """The opaque props of a session at rest, and the lenses of its spectacles (None without)."""
    rng = np.random.default_rng(visit.props)
    opaque: list[Prop] = []
    lenses = None
    if visit.spectacles == "yes":
        frame, lenses = _spectacles(rng, bust, head_size(subject, visit.age))
        opaque.append(frame)
    if "hand" in visit.occlusion:
        opaque.append(_hand(rng, subject, visit, bust))
    if "mobile" in visit.occlusion:
        opaque.append(_telephone(rng, bust))
    if "hair" in visit.occlusion:
        opaque.append(_strands(rng, subject, visit, bust))
    if "other" in visit.occlusion:
        opaque.append(_scarf(rng, bust))
    if visit.mask is not None:
        worn = wear(visit.mask, bust)
        opaque.append(Prop(MASK, worn.vertices, worn.quads, worn.albedo, worn.shine, worn.gloss, worn.turns))
    return opaque, lenses


def _surface(bust: Bust, points: np.ndarray) -> np.ndarray:
    """Height (N,) of the head's front at (N, 2) places across, from the nearest vertices."""
    shape = topology()
    front = np.flatnonzero(shape.skin & (shape.place[:, 2] > 40))
    rest = bust.rest[front]
    return np.array([rest[np.argsort(np.hypot(*(rest[:, :2] - p).T))[:6], 2].max() for p in points])


@dataclass(frozen=True)
class _Spectacles:
    """A pair of spectacles in front of a face, in mm.

    Attributes
    ----------
    middle : (3,) between the eyes.
    outline : (40, 2) of a rim about its centre.
    width, height : half of a rim's.
    thickness : radius of its tube.
    tilt, drop : slope of the rims, and how far below the eyes their centres are.
    apart : of a rim's centre from the middle.
    forward : of the bridge.
    """

    middle: np.ndarray
    outline: np.ndarray
    width: float
    height: float
    thickness: float
    tilt: float
    drop: float
    apart: float
    forward: float = 0.0

    def rim(self, side: int, scale: float = 1.0) -> np.ndarray:
        """(40, 3) of the rim on a side (-1 or 1), or of a smaller one within it, before it is moved forward."""
        across = side * self.apart + scale * self.outline[:, 0]
        up = scale * self.outline[:, 1] - self.drop
        wrap = -WRAP * across**2
        return np.stack([self.middle[0] + across, self.middle[1] + up, wrap + self.tilt * up], axis=1)


def _spectacles(rng: np.random.Generator, bust: Bust, size: float) -> tuple[Prop, Prop]:
    """Two rims, bridge and temples as tubes, and two lenses."""
    worn = _fitted(rng, bust, size)
    thickness, ahead = worn.thickness, np.array([0, 0, worn.forward])
    parts = [mesh.tube(worn.rim(side) + ahead, thickness, closed=True) for side in (-1, 1)]
    parts.append(mesh.tube(_bridge(worn), thickness, closed=False))
    for side in (-1, 1):
        parts.append(mesh.tube(_temple(bust, _hinge(worn, side), side), max(0.8, 0.8 * thickness), closed=False))
    vertices, quads = _join(parts)
    metal = thickness < 1.0
    frame = Prop(FRAME, vertices, quads, float(rng.uniform(0.2, 0.4) if metal else rng.uniform(0.02, 0.12)), 0.5, 40.0)
    vertices, quads = _join([_lens(worn, side) for side in (-1, 1)])
    return frame, Prop(FRAME, vertices, quads, 0.0, 1.0, 600.0)


def _fitted(rng: np.random.Generator, bust: Bust, size: float) -> _Spectacles:
    """Spectacles drawn for a face, ``size`` times an adult's; they sit clear of brows and cheeks."""
    corners = bust.rest[topology().landmarks[[0, 1, 3, 4]]]
    left, right = corners[:2].mean(0), corners[2:].mean(0)
    width, height = rng.uniform(23, 28) * size, rng.uniform(13.5, 22) * size
    power, thickness = rng.uniform(2.0, 5.0), rng.choice([rng.uniform(0.5, 0.9), rng.uniform(1.0, 2.4)])
    angles = 2 * np.pi * np.arange(40) / 40
    rounded = [np.sign(side) * np.abs(side) ** (2 / power) for side in (np.cos(angles), np.sin(angles))]
    outline = np.stack([width * rounded[0], height * rounded[1]], axis=1)
    tilt, drop = np.tan(np.deg2rad(rng.uniform(3, 10))), rng.uniform(1, 5)
    apart = max((right - left)[0] / 2 + rng.uniform(-1, 2), width + 7 * size)
    worn = _Spectacles((left + right) / 2, outline, width, height, thickness, tilt, drop, apart)
    both = np.concatenate([worn.rim(-1), worn.rim(1)])
    forward = np.max(_surface(bust, both[::4, :2]) - both[::4, 2]) + thickness + 0.8
    return replace(worn, forward=max(forward, corners[:, 2].max() + 9.0))


def _bridge(worn: _Spectacles) -> np.ndarray:
    """(9, 3) from rim to rim."""
    inner = np.linspace(-1, 1, 9)[:, None]
    across = worn.middle[0] + inner * (worn.apart - worn.width)
    up = worn.middle[1] - worn.drop + 3 + 2.5 * (1 - inner**2)
    return np.concatenate([across, up, worn.forward + 1.5 * (1 - inner**2) + 0 * inner], axis=1)


def _hinge(worn: _Spectacles, side: int) -> np.ndarray:
    """(3,) where a temple begins."""
    out = worn.apart + worn.width
    up = worn.middle[1] - worn.drop + 0.45 * worn.height
    return np.array([worn.middle[0] + side * out, up, worn.forward - WRAP * out**2])


def _lens(worn: _Spectacles, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and quads of a lens: rings that bulge to a front of 110 mm radius."""
    rings = np.stack([worn.rim(side, s) for s in (0.02, 0.35, 0.7, 0.97)])
    centre = rings[0].mean(0)
    bulge = -np.sum((rings[..., :2] - centre[:2]) ** 2, axis=-1) / (2 * 110.0)
    rings[..., 2] += bulge - bulge[-1] + worn.forward
    return rings.reshape(-1, 3), mesh.grid_quads(4, len(worn.outline), wrap_columns=True)


def _temple(bust: Bust, hinge: np.ndarray, side: int) -> np.ndarray:
    """The path of a temple from its hinge to above the ear, outside the head."""
    shape = topology()
    above_ear = shape.skin & (np.abs(shape.place[:, 1] - 740) < 6) & (np.abs(shape.place[:, 2] - 55) < 12)
    above_ear &= side * shape.place[:, 0] > 0
    ear = bust.rest[above_ear].mean(0) + np.array([3.0 * side, 4.0, 0.0])
    share = np.linspace(0, 1, 12)[:, None]
    path = hinge * (1 - share) + ear * share
    beside = np.flatnonzero(shape.skin & (side * shape.place[:, 0] > 30) & (np.abs(shape.place[:, 2] - 80) < 60))
    for i in range(2, len(path)):
        near = beside[np.argsort(np.hypot(*(bust.rest[beside][:, 1:] - path[i, 1:]).T))[:4]]
        path[i, 0] = side * max(side * path[i, 0], (side * bust.rest[near, 0]).mean() + 1.5)
    return path


@lru_cache(maxsize=1)
def _hand_template() -> tuple[np.ndarray, np.ndarray]:
    """The right hand of the base mesh: vertices with the fingers along +y and the palm along -z, mm, and quads."""
    vertices, quads = human().hand
    centred = vertices - vertices.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    fingers, palm = axes[0], axes[2]
    tip = centred @ fingers
    if np.abs(np.percentile(tip, 98)) < np.abs(np.percentile(tip, 2)):
        fingers = -fingers
    frame = np.stack([np.cross(fingers, palm), fingers, palm], axis=1)
    if np.linalg.det(frame) < 0:
        frame[:, 0] *= -1
    return centred @ frame, quads


def _hand(rng: np.random.Generator, subject: Subject, visit: Visit, bust: Bust) -> Prop:
    """A hand over the mouth, the chin or a cheek."""
    vertices, quads = _hand_template()
    step = mesh.catmull_clark(quads, len(vertices))
    side = rng.choice([-1, 1])
    turn = np.deg2rad(rng.uniform(10, 60)) * side
    spin = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    placed = (step.matrix @ vertices) * [side, -1, -1] @ spin.T  # fingers up, palm to the face
    target = bust.rest[topology().landmarks[[8, 9, 10]]].mean(0)
    target = target + np.array([rng.uniform(-25, 25), rng.uniform(-25, 5), 0])
    placed += [target[0], target[1], 0]
    under = placed[::9]
    placed[:, 2] += np.max(_surface(bust, under[:, :2]) - under[:, 2]) - rng.uniform(4, 9)
    quads = step.quads if side > 0 else step.quads[:, ::-1]  # a mirror turns a mesh inside out
    return Prop(HAND, placed, quads, subject.looks.skin * visit.tint[0], 0.05, 12.0)


def _telephone(rng: np.random.Generator, bust: Bust) -> Prop:
    """A telephone held to a cheek or before the mouth."""
    u, v = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 13))
    bulge = (1 - np.abs(u) ** 8) * (1 - np.abs(v) ** 8)
    front = np.stack([24 * u, 52 * v, 5 * np.sqrt(np.clip(bulge, 0, 1))], axis=-1).reshape(-1, 3)
    quads = mesh.grid_quads(13, 9)
    vertices, quads = _join([(front, quads), (front * [1, 1, -1], quads[:, ::-1])])
    side = rng.choice([-1, 1])
    roll, yaw = np.deg2rad(rng.uniform(-35, 35)), np.deg2rad(rng.uniform(20, 50)) * side
    spin = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    swing = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    placed = vertices @ spin.T @ swing.T
    target = bust.rest[topology().landmarks[9 if side > 0 else 8]]
    placed += [target[0] + side * rng.uniform(5, 30), target[1] + rng.uniform(-10, 30), 0]
    placed[:, 2] += np.max(_surface(bust, placed[::3, :2]) - placed[::3, 2]) + 2
    return Prop(TELEPHONE, placed, quads, float(rng.uniform(0.03, 0.4)), 0.4, 80.0)


def _strands(rng: np.random.Generator, subject: Subject, visit: Visit, bust: Bust) -> Prop:
    """Strands of hair that fall over the brow and an eye."""
    brows = bust.rest[topology().landmarks[2]]
    side = rng.choice([-1, 1])
    share = np.linspace(0, 1, 10)
    parts = []
    for _ in range(70):
        x = side * rng.uniform(-8, 42)
        length = rng.uniform(45, 85)
        sway = rng.normal(0, 5) + side * 12
        path = np.stack(
            [brows[0] + x + sway * share**2, brows[1] + 46 + rng.normal(0, 5) - length * share, 0 * share], axis=1
        )
        path[:, 2] = _surface(bust, path[:, :2]) + 2.5 + rng.uniform(0, 4) + 3 * np.sin(np.pi * share)
        parts.append(mesh.tube(path, 0.9 * (1 - 0.8 * share**2), closed=False, sides=4))
    vertices, quads = _join(parts)
    return Prop(STRANDS, vertices, quads, subject.looks.hair * visit.tint[1], 0.10, 20.0)


def _scarf(rng: np.random.Generator, bust: Bust) -> Prop:
    """A scarf in two turns around the neck, up to the chin or the mouth."""
    chin = bust.rest[topology().landmarks[10]]
    around = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    parts = []
    lift = rng.uniform(-18, 24)
    for turn in range(2):
        radius = 78 + 6 * turn + 3 * np.sin(3 * around + rng.uniform(0, 6)) + rng.normal(0, 1.2, 48)
        height = chin[1] + lift - 12 - 26 * turn + 6 * np.sin(around + rng.uniform(0, 6)) - 10 * np.cos(around + np.pi)
        path = np.stack([radius * np.sin(around), height, chin[2] - 62 + radius * np.cos(around)], axis=1)
        thick = 17 + 2.0 * np.sin(9 * around + rng.uniform(0, 6)) + rng.normal(0, 0.5, 48)
        parts.append(mesh.tube(path, thick, closed=True, sides=20))
    vertices, quads = _join(parts)
    return Prop(SCARF, vertices, quads, float(rng.uniform(0.1, 0.7)), 0.0, 5.0)


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(v) for v, _ in parts[:-1])])
    return np.concatenate([v for v, _ in parts]), np.concatenate(
        [q + s for (_, q), s in zip(parts, starts, strict=True)]
    )
