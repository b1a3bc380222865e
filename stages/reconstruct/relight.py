"""`psface relight`: a session under a flash that it was not photographed under.

The picture is Lambert's, with the shadows that the flash casts over the depth (:mod:`stages.reconstruct.shadows`), plus
what that model left of the session's own photographs: their residuals, interpolated over the directions of the flashes
by a Gaussian process (kriging). Skin is not Lambertian, and what the model misses changes smoothly with the light:
highlights, light from one part of the face to another, soft shadow. Outside the mask there is no model, so the process
has Lambert's linear kernel too and interpolates the photographs themselves.

References: C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, chapter 2. The
constants were chosen on 22 subjects of Extended Yale B.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image

from pipeline.errors import Rejected, UserError
from pipeline.images import write_picture
from pipeline.lights import MAX_STRENGTH
from pipeline.maps import Maps, read_maps
from pipeline.progress import wrote
from pipeline.shading import render
from pipeline.tables import write_atomic
from stages.reconstruct.shadows import extent, raised, visible

REACH = 0.45  # radians over which residuals of two flashes are alike
NOISE = 0.3  # variance of a residual that no other flash shares, in parts of what they share
LINEAR = 3.0  # variance of a linear part beside it, outside the mask
TURN, TILT = 36, 40.0  # pictures of an orbit, and its angle off the axis in degrees


@click.command("relight")
@click.argument("session", metavar="SESSION.EXR")
@click.option("--light", help="x,y,z towards the flash: x to the right of the image, y up, z to the camera.")
@click.option("--strength", type=float, default=1.0, show_default=True, help="Of the flash, as in lights.csv.")
@click.option("-o", "--out", help="The picture to write (.png), in the frames' own units.")
@click.option("--orbit", help="Write a flash that goes around the face, as an animation (.gif).")
def command(session: str, light: str | None, strength: float, out: str | None, orbit: str | None) -> None:
    """Photograph a session's maps under a new flash, with the shadows that it casts."""
    if bool(light) != bool(out) or not (out or orbit):
        raise UserError("give --light x,y,z with -o picture.png, or --orbit picture.gif, or both")
    if not 1 / MAX_STRENGTH <= strength <= MAX_STRENGTH:
        raise UserError(f"--strength must be between 0.001 and 1000, got {strength:g}")
    direction = _direction(light) if light else None
    if orbit and Path(orbit).suffix.lower() != ".gif":
        raise UserError(f"{orbit}: an orbit is written as an animation; give a name that ends in .gif")
    try:
        maps = read_maps(session)
    except Rejected as reason:
        raise UserError(str(reason)) from reason
    written = []
    if out and direction is not None:
        write_picture(out, levels(relit(maps, direction) * strength))
        written.append(out)
    if orbit:
        _write_orbit(orbit, [levels(picture * strength) for picture in around(maps)])
        written.append(orbit)
    wrote(*written)


def modelled(maps: Maps, light: np.ndarray, each: np.ndarray | None = None) -> np.ndarray:
    """(H, W) float32 of the maps under a flash of strength 1 from ``light`` (3,), unit: Lambert and cast shadows; one
    that is near has its own light at each pixel, ``each`` (H, W, 3).
    """
    reached = visible(raised(maps.depth, maps.mask), light, extent(maps.mask))
    shaded = render(maps.normal, maps.albedo, (light if each is None else each).astype(np.float32))
    return np.where(maps.mask, shaded * reached, 0).astype(np.float32)


def relit(maps: Maps, light: np.ndarray) -> np.ndarray:
    """(H, W) float32, >= 0, of the maps under a flash of strength 1: the model and, where kept, its residuals."""
    picture = modelled(maps, light)
    if maps.residuals is not None:
        lights = np.array(json.loads(maps.attributes["lights"]))
        inside, outside = (kriging(lights, light, linear=part) for part in (0.0, LINEAR))
        for i, residual in enumerate(maps.residuals):
            picture += residual * np.where(maps.mask, np.float32(inside[i]), np.float32(outside[i]))
    return np.maximum(picture, 0)


def kriging(lights: np.ndarray, light: np.ndarray, *, linear: float) -> np.ndarray:
    """(k,) weights of the values at lights (k, 3) for the value at ``light`` (3,), all unit.

    Zero-mean Gaussian process of covariance ``exp(-a^2 / (2 REACH^2)) + linear l . l'``, a the angle between l and l'.
    """

    def alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        cosine = np.clip(one @ other.T, -1, 1)
        kernel: np.ndarray = np.exp(-(np.arccos(cosine) ** 2) / (2 * REACH**2)) + linear * cosine
        return kernel

    weights: np.ndarray = np.linalg.solve(alike(lights, lights) + NOISE * np.eye(len(lights)), alike(lights, light))
    return weights


def around(maps: Maps) -> Iterator[np.ndarray]:
    """The maps under a flash on a circle about the camera's axis."""
    tilt = np.deg2rad(TILT)
    for turn in np.linspace(0, 2 * np.pi, TURN, endpoint=False):
        yield relit(maps, np.array([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)]))


def levels(picture: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of a linear picture, 255 at the top of the camera's range."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _direction(text: str) -> np.ndarray:
    try:
        light = np.array([float(value) for value in text.split(",")])
    except ValueError:
        light = np.zeros(0)
    if light.shape != (3,) or not np.isfinite(light).all() or not light.any():
        raise UserError(f"--light {text}: give x,y,z, three numbers that are not all zero, such as -0.3,0.4,0.87")
    if light[2] <= 0:
        raise UserError(f"--light {text}: the flash is behind the face; z points to the camera")
    light = light / np.abs(light).max()  # so that no square overflows
    unit: np.ndarray = light / np.linalg.norm(light)
    return unit


def _write_orbit(path: str, pictures: list[np.ndarray]) -> None:
    first, *rest = (Image.fromarray(picture) for picture in pictures)
    write_atomic(
        Path(path), lambda beside: first.save(beside, "GIF", save_all=True, append_images=rest, duration=60, loop=0)
    )
