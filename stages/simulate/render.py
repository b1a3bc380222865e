"""From a posed bust to photographs: rays, shadows, shading, lenses, the sensor; and the truth that belongs to them.

The picture is rendered on a grid twice as fine as the frame and averaged down. From flash to flash only the light
differs, so rays are cast once and shaded k times. Shadow rays are cast for one of four fine points and shared with its
neighbours, which also makes their edges as soft as a flash of a few centimetres would.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.maps import Maps
from pipeline.params import Effects
from pipeline.shading import highlight, render
from stages.simulate import mesh, skin
from stages.simulate.bust import Bust, build_bust, topology
from stages.simulate.props import Prop, build_props
from stages.simulate.raycast import Scene
from stages.simulate.subject import Subject
from stages.simulate.visit import Visit, groomed

FINE = 2  # fine points across a pixel
BASE_WIDTH = 256  # the frame for which pixels of blur and drift are stated
FAR = 1500.0  # mm; where the rays of an orthographic camera begin
FACE_BELOW = -20.0  # mm, the face's middle from the frame's centre, so that the top of the head fits
SHADOW_BIAS = 0.8  # mm above the surface at which shadow rays begin
EDGE = 2.5  # mm between neighbouring fine points that makes them two surfaces
READ_NOISE, SHOT_NOISE = 0.0025, 1.2e-4  # standard deviation; variance a unit of light (1: white at strength 1)
LENS_SHARE = 0.90  # of the light passes a lens, each way together


@dataclass(frozen=True)
class Shot:
    """What one session leaves: frames (k, H, W) float32 before quantisation, ambient (H, W), truth, regions, landmarks.

    ``regions`` (H, W) uint8 indexes `skin.REGIONS`; ``landmarks`` (11, 2) are (x, y) in pixels of the first frame.
    """

    frames: np.ndarray
    ambient: np.ndarray
    truth: Maps
    regions: np.ndarray
    landmarks: np.ndarray


@dataclass
class _Points:
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
class _Camera:
    """A grid of rays; ``step`` mm of the plane z = 0 a fine point, ``distance`` mm of the camera (0: orthographic)."""

    width: int
    step: float
    distance: float

    def rays(self) -> np.ndarray:
        """(width, width, 6) float32 origins and directions, rows down; directions have z = -1."""
        across = (np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) * np.float32(self.step)
        rays = np.zeros((self.width, self.width, 6), np.float32)
        if self.distance > 0:
            rays[..., 2] = self.distance
            rays[..., 3], rays[..., 4] = across / self.distance, -across[:, None] / self.distance
        else:
            rays[..., 0], rays[..., 1], rays[..., 2] = across, -across[:, None], FAR
        rays[..., 5] = -1
        return rays

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of the frame (x, y), centres at integers, of points (N, 3)."""
        scale = self.distance / (self.distance - points[:, 2:]) if self.distance > 0 else 1.0
        fine = points[:, :2] * [1, -1] * scale / self.step + self.width / 2
        return fine / FINE - 0.5


def photograph(subject: Subject, visit: Visit, size: int, effects: Effects, seed: int) -> Shot:
    """Render one session.

    Parameters
    ----------
    size : width and height of the frames in pixels.
    seed : of the sensor's noise.
    """
    subject = groomed(subject, visit)
    bust = build_bust(subject, visit)
    props, lenses = build_props(subject, visit, bust)
    offset = np.array([visit.place[0], visit.place[1] + FACE_BELOW, 0.0])
    camera = _Camera(size * FINE, visit.field / (size * FINE), effects.distance)
    solid, numbers = _solid(subject, bust, props, offset)
    scene = Scene(solid.vertices, solid.triangles)
    points = _meet(scene, camera, solid, numbers, props, subject, visit)
    glass = None if lenses is None else _glass(lenses, bust, offset, camera, points)

    shade = _Shader(scene, camera, points, glass, effects)
    ambient = shade.ambient() * visit.exposure
    pictures = [
        _expose(ambient + visit.exposure * shade.flash(light * gain), drift * size / BASE_WIDTH)
        for light, gain, drift in zip(visit.lights, visit.gains, visit.drift, strict=True)
    ]
    sensor = _Sensor(
        np.random.default_rng(np.random.SeedSequence([seed, visit.subject, visit.number, 1])), effects.noise
    )
    blur = visit.blur * size / BASE_WIDTH
    frames = np.stack([sensor.read(picture, blur) for picture in pictures])
    truth, regions = _truth(points, camera, visit)
    return Shot(
        frames=frames,
        ambient=sensor.read(_expose(ambient, np.zeros(2)), blur),
        truth=truth,
        regions=regions,
        landmarks=camera.project(bust.landmarks + offset),
    )


@dataclass(frozen=True)
class _Solid:
    """All opaque meshes as one: vertices, normals (V, 3), triangles (T, 3), and the part of each triangle."""

    vertices: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray


def _solid(subject: Subject, bust: Bust, props: list[Prop], offset: np.ndarray) -> tuple[_Solid, np.ndarray]:
    """The scene's triangles, and (T,) the number of the prop that each belongs to (-1: the bust)."""
    shape = topology()
    own = shape.triangles if subject.looks.long_hair else shape.triangles[: shape.without_long_hair]
    vertices, normals, triangles = [bust.vertices], [bust.normals], [own]
    numbers = [np.full(len(own), -1)]
    start = len(bust.vertices)
    for number, prop in enumerate(props):
        posed = bust.pose(prop.vertices)
        vertices.append(posed)
        normals.append(mesh.vertex_normals(posed, prop.quads))
        triangles.append(mesh.triangles(prop.quads) + start)
        numbers.append(np.full(2 * len(prop.quads), number))
        start += len(posed)
    solid = _Solid(
        (np.concatenate(vertices) + offset).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        np.concatenate(triangles),
    )
    return solid, np.concatenate(numbers)


def _meet(
    scene: Scene, camera: _Camera, solid: _Solid, numbers: np.ndarray, props: list[Prop],
    subject: Subject, visit: Visit,
) -> _Points:  # fmt: skip
    """Cast the camera's rays and give what they meet its material."""
    rays = camera.rays().reshape(-1, 6)
    hits = scene.cast(rays)
    index, face, weights = hits.index, hits.triangle, hits.weights
    corners = solid.triangles[face]
    normal = np.einsum("nk,nkc->nc", weights, solid.normals[corners])
    view = -rays[index, 3:]
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    position = rays[index, :3] + hits.far[index, None] * rays[index, 3:]
    points = _Points(
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
    place = np.einsum("nk,nkc->nc", weights[own], shape.place[corners[own]])
    texture = np.einsum("nk,nkc->nc", weights[own], shape.uv[face[own]])
    surface = skin.paint(place, texture, shape.part[face[own]], subject, visit)
    points.albedo[own], points.shine[own], points.gloss[own] = surface.albedo, surface.shine, surface.gloss
    points.region[own], bump[own] = surface.region, surface.bump
    for i, prop in enumerate(props):
        its = number == i
        points.albedo[its], points.shine[its], points.gloss[its] = prop.albedo, prop.shine, prop.gloss
        points.region[its] = skin.R_PROPS + prop.kind
    _emboss(points, bump, camera)
    return points


def _emboss(points: _Points, bump: np.ndarray, camera: _Camera) -> None:
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
    points.normal /= np.linalg.norm(points.normal, axis=1, keepdims=True)
    points.position[:, 2] += bump * facing


@dataclass(frozen=True)
class _Glass:
    """Lenses in front of some points: ``at`` (M,) indexes the fine grid; normals and view (M, 3)."""

    at: np.ndarray
    normal: np.ndarray
    view: np.ndarray


def _glass(lenses: Prop, bust: Bust, offset: np.ndarray, camera: _Camera, points: _Points) -> _Glass:
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
    return _Glass(at, normal.astype(np.float32), view / np.linalg.norm(view, axis=1, keepdims=True))


class _Shader:
    """Shades the met points for one flash after the other."""

    def __init__(
        self,
        scene: Scene,
        camera: _Camera,
        points: _Points,
        glass: _Glass | None,
        effects: Effects,
    ) -> None:
        self.scene, self.camera, self.points, self.glass, self.effects = scene, camera, points, glass, effects
        rows, columns = np.divmod(points.index, camera.width)
        self.probes = np.flatnonzero((rows % FINE == 0) & (columns % FINE == 0))
        self.cells = (rows // FINE) * (camera.width // FINE) + columns // FINE

    def ambient(self) -> np.ndarray:
        """(width, width) light from everywhere, a little more of it from above."""
        points = self.points
        image = np.zeros(self.camera.width**2, np.float32)
        image[points.index] = self.effects.ambient * points.albedo * (0.75 + 0.25 * points.normal[:, 1])
        return image.reshape(self.camera.width, -1)

    def flash(self, light: np.ndarray) -> np.ndarray:
        """(width, width) light of one flash (3,), whose length is its strength."""
        points, effects = self.points, self.effects
        towards = self._towards(points.position, light)
        radiance = render(points.normal, points.albedo, towards, attached_shadows=effects.attached_shadows)
        if effects.specular > 0:
            shiny = np.flatnonzero(points.shine > 0)
            its_light = towards if towards.ndim == 1 else towards[shiny]
            lobe = highlight(points.normal[shiny], its_light, points.view[shiny], points.gloss[shiny])
            radiance[shiny] += effects.specular * points.shine[shiny] * lobe
        if effects.cast_shadows:
            radiance *= self._lit(towards)
        image = np.zeros(self.camera.width**2, np.float32)
        image[points.index] = radiance
        if self.glass is not None:
            image[self.glass.at] *= LENS_SHARE
            if effects.specular > 0:
                unit = (light / np.linalg.norm(light)).astype(np.float32)
                glint = highlight(self.glass.normal, unit, self.glass.view, 700.0)
                image[self.glass.at] += effects.specular * 0.04 * np.linalg.norm(light) * glint
        return image.reshape(self.camera.width, -1)

    def _towards(self, position: np.ndarray, light: np.ndarray) -> np.ndarray:
        """The flash as seen from each point: one vector (3,) from infinity, (N, 3) with fall-off when it is near."""
        if self.effects.falloff == 0:
            return light.astype(np.float32)
        strength = np.linalg.norm(light)
        to_flash = (light / strength * self.effects.falloff).astype(np.float32) - position
        distance = np.linalg.norm(to_flash, axis=1, keepdims=True)
        return strength * to_flash / distance * (self.effects.falloff / distance) ** 2

    def _lit(self, towards: np.ndarray) -> np.ndarray:
        """(N,) share of a flash that reaches each point past the rest of the scene."""
        points, probes = self.points, self.probes
        direction = np.broadcast_to(towards if towards.ndim == 1 else towards[probes], (len(probes), 3))
        direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
        origin = points.position[probes] + SHADOW_BIAS * (points.normal[probes] + direction)
        reach = self.effects.falloff if self.effects.falloff > 0 else np.inf
        blocked = self.scene.blocked(np.concatenate([origin, direction], axis=1), reach)
        coarse = self.camera.width // FINE
        seen, lit = np.zeros((2, coarse, coarse), np.float32)
        seen.ravel()[self.cells[probes]] = 1
        lit.ravel()[self.cells[probes]] = ~blocked
        seen, lit = np.asarray(cv2.blur(seen, (3, 3))), np.asarray(cv2.blur(lit, (3, 3)))
        share = np.divide(lit, seen, out=np.ones_like(lit), where=seen > 0)
        return cv2.resize(share, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR).ravel()[points.index]


def _expose(image: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """A fine picture averaged down to the frame, moved by ``drift`` (x, y) pixels of the frame."""
    if drift.any():
        shift = np.array([[1, 0, FINE * drift[0]], [0, 1, FINE * drift[1]]])
        image = cv2.warpAffine(image, shift, image.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(image, None, fx=1 / FINE, fy=1 / FINE, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class _Sensor:
    """Blur of the optics, then shot and read noise."""

    rng: np.random.Generator
    scale: float

    def read(self, image: np.ndarray, blur: float) -> np.ndarray:
        """The frame (H, W) float32 that a picture of light leaves."""
        if blur > 0:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        if self.scale == 0:
            return image
        spread = np.sqrt(READ_NOISE**2 + SHOT_NOISE * np.maximum(image, 0))
        return image + self.scale * spread * self.rng.standard_normal(image.shape, dtype=np.float32)


def _truth(points: _Points, camera: _Camera, visit: Visit) -> tuple[Maps, np.ndarray]:
    """The maps of the first frame: means over the fine points of each pixel, and its commonest region."""
    fine, size = camera.width, camera.width // FINE

    def averaged(values: np.ndarray) -> np.ndarray:
        image = np.zeros((fine * fine, *values.shape[1:]), np.float32)
        image[points.index] = values
        return cv2.resize(image.reshape(fine, fine, -1), (size, size), interpolation=cv2.INTER_AREA).reshape(
            size, size, -1
        )

    covered = averaged(np.ones(len(points.index), np.float32))
    mask = covered[..., 0] > 0.5
    share = np.where(mask[..., None], covered, 1)
    normal = averaged(points.normal)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.where(mask[..., None], normal / np.maximum(length, 1e-6), 0)
    depth = (averaged(points.position[:, 2]) / share)[..., 0] / (camera.step * FINE)
    depth = np.where(mask, depth - depth[mask].mean(dtype=np.float64), 0)
    regions = np.zeros(fine * fine, np.uint8)
    regions[points.index] = points.region
    regions = np.where(mask, regions.reshape(fine, fine)[::FINE, ::FINE], 0).astype(np.uint8)
    albedo = np.where(mask, (averaged(points.albedo) / share)[..., 0] * visit.exposure, 0)
    return Maps(normal.astype(np.float32), albedo.astype(np.float32), depth.astype(np.float32), mask), regions
