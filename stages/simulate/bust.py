"""The bust of a session as a fine mesh: identity, expression, hair and clothes as volume, pose.

What stands out of the skin (hair, a beard, a collar) is moved in the mesh itself, so that normals, depth and shadows
know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stages.simulate import fields, mesh
from stages.simulate.human import LONG_HAIR, SKIN, human
from stages.simulate.subject import Subject, rest_shape
from stages.simulate.visit import Visit

NECK_PIVOT = np.array([0.0, 620.0, 20.0])  # mm of the template; the head turns about it


@dataclass(frozen=True)
class Topology:
    """What all busts share, one Catmull-Clark step below the base mesh.

    Attributes
    ----------
    triangles : (T, 3) int32.
    place : (V, 3) float32, each vertex's place on the template, mm.
    uv : (3T, 2) float32 texture coordinates of the corners, three a triangle.
    part : (T,) int8 index into `human.BODY_GROUPS`.
    skin, locks : (V,) bool, vertices of the body's surface and of long hair.
    turns : (V,) float64, how much of the head's rotation a vertex follows.
    landmarks : (11,) int, the vertices of Photoface's landmarks.
    neck : (200,) int, the vertices nearest to the height at which the head turns.
    without_long_hair : the number of triangles before those of long hair, which come last.
    """

    subdivision: mesh.Subdivision
    quads: np.ndarray
    triangles: np.ndarray
    place: np.ndarray
    uv: np.ndarray
    part: np.ndarray
    skin: np.ndarray
    locks: np.ndarray
    turns: np.ndarray
    landmarks: np.ndarray
    neck: np.ndarray
    without_long_hair: int


@lru_cache(maxsize=1)
def topology() -> Topology:
    """Built once a process."""
    base = human().mesh
    step = mesh.catmull_clark(base.quads, len(base.vertices))
    place = step.matrix @ base.vertices
    uv = mesh.subdivide_corners(base.uv)
    part = np.repeat(base.part, 8)
    triangles = mesh.triangles(step.quads)
    skin = np.zeros(len(place), bool)
    skin[triangles[part == SKIN]] = True
    locks = np.zeros(len(place), bool)
    locks[triangles[part == LONG_HAIR]] = True
    normals = mesh.vertex_normals(place, step.quads)
    placed = place.astype(np.float32)
    return Topology(
        subdivision=step,
        quads=step.quads,
        triangles=triangles,
        place=placed,
        uv=uv[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 2),
        part=part,
        skin=skin,
        locks=locks,
        turns=fields.ramp(place[:, 1], 560.0, 640.0),
        landmarks=_landmarks(place, normals, skin),
        neck=np.argsort(np.abs(placed[:, 1] - NECK_PIVOT[1]) + 1e3 * ~skin)[:200],
        without_long_hair=int(np.argmax(part == LONG_HAIR)),
    )


def _landmarks(place: np.ndarray, normals: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """The vertex in front of each landmark's (x, y)."""
    facing = np.flatnonzero(skin & (normals[:, 2] > 0.2) & (place[:, 2] > 95))
    front = place[facing]
    return np.array(
        [
            facing[np.argmin(np.hypot(front[:, 0] - x, front[:, 1] - y) - 0.05 * front[:, 2])]
            for x, y in fields.LANDMARKS.values()
        ]
    )


@dataclass(frozen=True)
class Bust:
    """A posed bust: vertices and normals (V, 3), the rest shape before the head turned, and its rigid motion.

    ``rest`` places props on the head; ``rotation`` (3, 3), ``pivot`` and ``shift`` (3,) take
    them to the pose.
    """

    vertices: np.ndarray
    normals: np.ndarray
    rest: np.ndarray
    rotation: np.ndarray
    pivot: np.ndarray
    shift: np.ndarray

    @property
    def landmarks(self) -> np.ndarray:
        """Photoface's eleven landmarks (11, 3), posed."""
        return self.vertices[topology().landmarks]

    def pose(self, points: np.ndarray, turns: np.ndarray | None = None) -> np.ndarray:
        """Points (N, 3) fixed to the head at rest, moved with it, or by ``turns`` (N,) of its rotation."""
        whole = (points - self.pivot) @ self.rotation.T + self.pivot
        return (whole if turns is None else points + turns[:, None] * (whole - points)) + self.shift


def build_bust(subject: Subject, visit: Visit) -> Bust:
    """The bust of one session, in mm, with the middle of the face near the origin."""
    shape = topology()
    coarse = human().act(rest_shape(subject, visit.age), visit.actions)
    rest = shape.subdivision.matrix @ coarse
    rest = rest - rest[shape.landmarks].mean(0)
    rest = _grow(rest, subject, visit)
    rotation = rotation_of(visit.angles)
    pivot = _pivot(rest)
    vertices = rest + shape.turns[:, None] * ((rest - pivot) @ (rotation.T - np.eye(3)))
    # the face's middle back to the origin: subjects are asked to sit where the camera looks
    vertices = vertices - vertices[shape.landmarks].mean(0) * [1, 1, 0]
    moved = vertices[shape.landmarks[0]] - (rotation @ (rest[shape.landmarks[0]] - pivot) + pivot)
    normals = mesh.vertex_normals(vertices, shape.quads)
    return Bust(vertices, normals, rest, rotation, pivot, moved)


def rotation_of(angles: np.ndarray) -> np.ndarray:
    """(3, 3) rotation by yaw (about y, to the image's right), pitch (about x, down) and roll (about z), in degrees."""
    yaw, pitch, roll = np.deg2rad(angles)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def _pivot(rest: np.ndarray) -> np.ndarray:
    """Where the head turns: the template's pivot carried to this shape by its nearest vertices."""
    return rest[topology().neck].mean(0)


def _grow(rest: np.ndarray, subject: Subject, visit: Visit) -> np.ndarray:
    """Hair, beard and clothes given their thickness."""
    shape = topology()
    normals = mesh.vertex_normals(rest, shape.quads).astype(float)
    looks = subject.looks
    scalp = looks.hair_length * fields.ramp(fields.hair(shape.place, looks), -1.0, 6.0 + looks.hair_length)
    rng = np.random.default_rng(visit.texture)
    clumps = 1 + 0.25 * _lumps(rng, shape.place, 28.0) + 0.15 * _lumps(rng, shape.place, 13.0)
    thick = {"beard": 4.0, "both": 4.0, "moustache": 3.0}.get(visit.facial_hair, 0.0) * (0.5 + visit.stubble)
    face = np.zeros(len(rest))
    if visit.facial_hair in ("beard", "both"):
        face = np.maximum(face, fields.ramp(fields.beard(shape.place, looks.beard_reach), 0.0, 10.0))
    if visit.facial_hair in ("moustache", "both"):
        face = np.maximum(face, fields.ramp(fields.moustache(shape.place), 0.0, 5.0))
    shirt = 3.0 * fields.ramp(fields.cloth(shape.place, visit.collar), -1.5, 1.5)
    out = np.where(shape.skin, scalp * clumps + thick * face + shirt, 2.5 * clumps * shape.locks)
    return rest + out[:, None] * normals


def _lumps(rng: np.random.Generator, place: np.ndarray, wavelength: float) -> np.ndarray:
    """Smooth noise (N,) of about unit variance: a few plane waves of one wavelength, mm."""
    directions = rng.normal(size=(8, 3))
    directions *= 2 * np.pi / wavelength / np.linalg.norm(directions, axis=1, keepdims=True)
    return np.sin(place @ directions.T + rng.uniform(0, 2 * np.pi, 8)).sum(1) / 2.0
