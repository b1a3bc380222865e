"""What the camera's rays meet: bust and props as one mesh, their materials point by point, lenses in front of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.shading import lengths
from stages.simulate import mesh, skin
from stages.simulate.bust import Bust, topology
from stages.simulate.camera import Camera
from stages.simulate.props import Prop
from stages.simulate.raycast import Scene
from stages.simulate.subject import Subject
from stages.simulate.visit import Visit

EDGE = 2.5  # mm between neighbouring fine points that makes them two surfaces


@dataclass
class Points:
    """Where the rays of the fine grid met something; arrays over N points.

    ``index`` (N,) into the flattened fine grid, ``position`` and ``normal`` (N, 3), ``view`` (N, 3) towards the camera.
    """

    index: np.ndarray
    position: np.ndarray
    normal: np.ndarray
    view: np.ndarray
    albedo: np.ndarray
    shine: np.ndarray
    gloss: np.ndarray
    region: np.ndarray


@dataclass(frozen=True)
class Solid:
    """All opaque meshes as one: vertices, normals (V, 3), triangles (T, 3), and the part of each triangle."""

    vertices: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray


def one_mesh(subject: Subject, bust: Bust, props: list[Prop], offset: np.ndarray) -> tuple[Solid, np.ndarray]:
    """The scene's triangles, and (T,) the number of the prop that each belongs to (-1: the bust)."""
    shape = topology()
    own = shape.triangles if subject.looks.long_hair else shape.triangles[: shape.without_long_hair]
    vertices, normals, triangles = [bust.vertices], [bust.normals], [own]
    numbers = [np.full(len(own), -1)]
    start = len(bust.vertices)
    for number, prop in enumerate(props):
        posed = bust.pose(prop.vertices, prop.turns)
        vertices.append(posed)
        normals.append(mesh.vertex_normals(posed, prop.quads))
        triangles.append(mesh.triangles(prop.quads) + start)
        numbers.append(np.full(2 * len(prop.quads), number))
        start += len(posed)
    solid = Solid(
        (np.concatenate(vertices) + offset).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        np.concatenate(triangles),
    )
    return solid, np.concatenate(numbers)


def meet(
    scene: Scene, camera: Camera, solid: Solid, numbers: np.ndarray, props: list[Prop],
    subject: Subject, visit: Visit,
) -> Points:  # fmt: skip
    """Cast the camera's rays and give what they meet its material."""
    rays = camera.rays().reshape(-1, 6)
    hits = scene.cast(rays)
    index, face, weights = hits.index, hits.triangle, hits.weights
    corners = solid.triangles[face]
    normal = mesh.blend(weights, solid.normals, corners)
    met = np.ascontiguousarray(np.take(rays, index, axis=0).T)
    view = -met[3:].T
    view /= lengths(view)[:, None]
    normal /= lengths(normal)[:, None]
    position = (met[:3] + hits.far[index] * met[3:]).T
    points = Points(
        index, position, normal, view,
        albedo=np.zeros(len(index), np.float32),
        shine=np.zeros(len(index), np.float32),
        gloss=np.full(len(index), 10.0, np.float32),
        region=np.zeros(len(index), np.uint8),
    )  # fmt: skip
    bump = np.zeros(len(index), np.float32)
    number = numbers[face]
    own = np.flatnonzero(number < 0)
    shape = topology()
    shares, face = skin.rows_of(weights, own), face[own]
    place = mesh.blend(shares, shape.place, np.take(corners, own, axis=0))
    texture = mesh.blend(shares, shape.uv, 3 * face[:, None] + np.arange(3))
    surface = skin.paint(place, texture, shape.part[face], subject, visit)
    points.albedo[own], points.shine[own], points.gloss[own] = surface.albedo, surface.shine, surface.gloss
    points.region[own], bump[own] = surface.region, surface.bump
    start = len(shape.place)
    for i, prop in enumerate(props):
        its = number == i
        points.shine[its], points.gloss[its] = prop.shine, prop.gloss
        if isinstance(prop.albedo, np.ndarray):
            points.albedo[its] = mesh.blend(weights[its], prop.albedo[:, None], corners[its] - start)[:, 0]
        else:
            points.albedo[its] = prop.albedo
        start += len(prop.vertices)
        points.region[its] = skin.R_PROPS + prop.kind
    _emboss(points, bump, camera)
    return points


def _emboss(points: Points, bump: np.ndarray, camera: Camera) -> None:
    """Raise the surface by ``bump`` mm: depth and normals together, so that they agree to the pixel.

    Slopes are central differences on the fine grid; they stop at the edges of a surface. Bumps fade where the surface
    turns away from the camera, as their height is measured along the camera's axis.
    """
    width = camera.width
    height = np.zeros((width, width), np.float32)
    depth = np.full((width, width), np.inf, np.float32)
    facing = np.clip(points.normal[:, 2], 0, 1)
    height.ravel()[points.index], depth.ravel()[points.index] = bump * facing, points.position[:, 2]
    slopes = []
    for axis, sign in ((1, 1.0), (0, -1.0)):
        ahead, behind = np.roll(height, -1, axis), np.roll(height, 1, axis)
        with np.errstate(invalid="ignore"):
            whole = np.abs(np.roll(depth, -1, axis) - np.roll(depth, 1, axis)) < EDGE
        slopes.append((sign * np.where(whole, ahead - behind, 0) / (2 * camera.step)).ravel()[points.index])
    points.normal[:, 0] -= facing * slopes[0]
    points.normal[:, 1] -= facing * slopes[1]
    points.normal /= lengths(points.normal)[:, None]
    points.position[:, 2] += bump * facing


@dataclass(frozen=True)
class Glass:
    """Lenses in front of some points: ``at`` (M,) indexes the fine grid; normals and view (M, 3)."""

    at: np.ndarray
    normal: np.ndarray
    view: np.ndarray


def see_lenses(lenses: Prop, bust: Bust, offset: np.ndarray, camera: Camera, points: Points) -> Glass:
    """Where a ray passes a lens before it meets anything opaque."""
    vertices = bust.pose(lenses.vertices) + offset
    normals = mesh.vertex_normals(vertices, lenses.quads)
    triangles = mesh.triangles(lenses.quads)
    rays = camera.rays().reshape(-1, 6)
    hits = Scene(vertices, triangles).cast(rays)
    behind = np.full(len(rays), np.inf, np.float32)
    behind[points.index] = rays[points.index, 2] - points.position[:, 2]
    front = hits.far[hits.index] < behind[hits.index]
    at = hits.index[front]
    normal = np.einsum("nk,nkc->nc", hits.weights[front], normals[triangles[hits.triangle[front]]])
    normal *= np.where(normal[:, 2:] < 0, -1, 1) / np.linalg.norm(normal, axis=1, keepdims=True)
    view = -rays[at, 3:]
    return Glass(at, normal.astype(np.float32), view / np.linalg.norm(view, axis=1, keepdims=True))
