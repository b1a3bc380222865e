"""Masks that are worn at the rig: the shapes of `pipeline.maskshape` on a simulated head, as a mesh with its albedo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from pipeline.maskdesigns import Design
from pipeline.maskshape import Head, lay
from stages.simulate import mesh
from stages.simulate.bust import Bust, topology
from stages.simulate.human import SKIN
from stages.simulate.raycast import Scene

OUTSIDE = 220.0  # mm from the axis, where nothing of a head is
MATERIALS = {"surgical": (0.02, 9.0), "n95": (0.0, 6.0), "kn95": (0.01, 8.0), "cloth": (0.0, 5.0), "gas": (0.12, 24.0)}


@dataclass(frozen=True)
class WornMask:
    """Vertices (V, 3) at rest, quads (F, 4), albedo (V,), and the strength and exponent of the highlight.

    ``turns`` (V,): how much of the head's rotation each follows, as the skin below it does: at the throat not all.
    """

    vertices: np.ndarray
    quads: np.ndarray
    albedo: np.ndarray
    turns: np.ndarray
    shine: float
    gloss: float


class Skull(Head):
    """A simulated head at rest."""

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


def wear(design: Design, bust: Bust) -> WornMask:
    """A mask on a head at rest."""
    patches, straps = lay(design, Skull(bust))
    parts, tones = [], []
    for patch in patches:
        quads = mesh.grid_quads(*patch.albedo.shape, wrap_columns=patch.closed)
        parts.append((patch.places.reshape(-1, 3), quads if patch.closed else quads[:, ::-1]))
        tones.append(patch.albedo.ravel())
    for strap in straps:
        parts.append(mesh.tube(strap.path, strap.radius, closed=False, sides=6))
        tones.append(np.full(len(parts[-1][0]), strap.albedo))
    starts = np.cumsum([0, *(len(v) for v, _ in parts[:-1])])
    quads = np.concatenate([q + start for (_, q), start in zip(parts, starts, strict=True)])
    shine, gloss = MATERIALS[design.type]
    vertices = np.concatenate([v for v, _ in parts])
    return WornMask(vertices, quads, np.concatenate(tones), _turns(vertices, bust), shine, gloss)


def _turns(vertices: np.ndarray, bust: Bust) -> np.ndarray:
    """The share of the head's rotation that the skin nearest to each of (V, 3) places follows."""
    shape = topology()
    skin = np.flatnonzero(shape.skin)
    return np.asarray(shape.turns[skin[cKDTree(bust.rest[skin]).query(vertices)[1]]])
