"""One session from a posed bust to photographs, and the truth that belongs to them.

The picture is rendered on a grid finer than the frame (`camera`), from what its rays meet (`scene`) under each flash
(`shader`), and averaged down.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.maps import Maps
from pipeline.params import Effects
from pipeline.shading import lengths
from stages.simulate.bust import build_bust
from stages.simulate.camera import FINE, Camera, Sensor, expose
from stages.simulate.colour import chroma
from stages.simulate.props import build_props
from stages.simulate.raycast import Scene
from stages.simulate.scene import Points, meet, one_mesh, see_lenses
from stages.simulate.shader import Shader
from stages.simulate.subject import Subject
from stages.simulate.visit import Visit, groomed

BASE_WIDTH = 256  # the frame for which pixels of blur and drift are stated
FACE_BELOW = -20.0  # mm, the face's middle from the frame's centre, so that the top of the head fits


@dataclass(frozen=True)
class Shot:
    """What one session leaves: frames (k, H, W) float32 before quantisation, ambient (H, W), truth, regions, landmarks.

    In colour, frames are (k, H, W, 3) and ambient (H, W, 3), red first.
    ``regions`` (H, W) uint8 indexes `skin.REGIONS`; ``landmarks`` (11, 2) are (x, y) in pixels of the first frame.
    """

    frames: np.ndarray
    ambient: np.ndarray
    truth: Maps
    regions: np.ndarray
    landmarks: np.ndarray


def photograph(subject: Subject, visit: Visit, size: int, effects: Effects, seed: int, *, colour: bool = False) -> Shot:
    """Render one session.

    Parameters
    ----------
    size : width and height of the frames in pixels.
    seed : of the sensor's noise.
    colour : whether frames are RGB.
    """
    subject = groomed(subject, visit)
    bust = build_bust(subject, visit)
    props, lenses = build_props(subject, visit, bust)
    offset = np.array([visit.place[0], visit.place[1] + FACE_BELOW, 0.0])
    camera = Camera(size * FINE, visit.field / (size * FINE), effects.distance)
    solid, numbers = one_mesh(subject, bust, props, offset)
    scene = Scene(solid.vertices, solid.triangles)
    points = meet(scene, camera, solid, numbers, props, subject, visit)
    glass = None if lenses is None else see_lenses(lenses, bust, offset, camera, points)

    shade = Shader(scene, camera, points, glass, effects)
    if colour:
        frames, ambient = develop_colour(shade, chroma(points, subject, visit), visit, size, seed)
    else:
        frames, ambient = develop(shade, shade.ambient(), visit, size, seed)
    truth, regions = true_maps(points, camera, visit)
    return Shot(
        frames=frames,
        ambient=ambient,
        truth=truth,
        regions=regions,
        landmarks=camera.project(bust.landmarks + offset),
    )


def develop(shade: Shader, glow: np.ndarray, visit: Visit, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (k, size, size) and the frame without a flash, from the flashes of ``shade`` and the light ``glow`` (fine
    grid) that is always there.
    """
    return _read(_exposed(shade, glow, visit, size), shade.effects, visit, size, seed)


def develop_colour(
    shade: Shader, chroma: np.ndarray, visit: Visit, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `develop`, frames (k, size, size, 3): one rendering a colour, of the albedo times its ``chroma`` (N, 3)."""
    points, grey = shade.points, shade.points.albedo
    colours = []
    for factor in chroma.T:
        points.albedo = grey * factor
        colours.append(_exposed(shade, shade.ambient(), visit, size))
    points.albedo = grey
    return _read(np.stack(colours, axis=-1), shade.effects, visit, size, seed)


def _exposed(shade: Shader, glow: np.ndarray, visit: Visit, size: int) -> np.ndarray:
    """Light (k + 1, size, size) on the sensor under each flash, last without one."""
    ambient = glow * visit.exposure
    pictures = [
        expose(ambient + visit.exposure * shade.flash(light * gain), drift * size / BASE_WIDTH)
        for light, gain, drift in zip(visit.lights, visit.gains, visit.drift, strict=True)
    ]
    return np.stack([*pictures, expose(ambient, np.zeros(2))])


def _read(pictures: np.ndarray, effects: Effects, visit: Visit, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the sensor makes of light: frames, and the last as the frame without a flash."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, visit.subject, visit.number, 1]))
    sensor, blur = Sensor(rng, effects.noise), visit.blur * size / BASE_WIDTH
    frames = np.stack([sensor.read(picture, blur) for picture in pictures])
    return frames[:-1], frames[-1]


def true_maps(points: Points, camera: Camera, visit: Visit) -> tuple[Maps, np.ndarray]:
    """The maps of the first frame: means over the fine points of each pixel, and its upper left fine point's region."""
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
    normal = np.where(mask[..., None], normal / np.maximum(lengths(normal), 1e-6)[..., None], 0)
    depth = (averaged(points.position[:, 2]) / share)[..., 0] / (camera.step * FINE)
    depth = np.where(mask, depth - depth[mask].mean(dtype=np.float64), 0)
    regions = np.zeros(fine * fine, np.uint8)
    regions[points.index] = points.region
    regions = np.where(mask, regions.reshape(fine, fine)[::FINE, ::FINE], 0).astype(np.uint8)
    albedo = np.where(mask, (averaged(points.albedo) / share)[..., 0] * visit.exposure, 0)
    return Maps(normal.astype(np.float32), albedo.astype(np.float32), depth.astype(np.float32), mask), regions
