"""A smooth face-like surface with brows, eyes and moles, in closed form: depth, normals, albedo, and frames of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.lights import from_angles


@dataclass
class Scene:
    """Closed-form truth on an (S, S) grid and frames (k, S, S) under lights (k, 3)."""

    normal: np.ndarray
    albedo: np.ndarray
    depth: np.ndarray
    mask: np.ndarray
    lights: np.ndarray
    frames: np.ndarray


def ring(zenith: float, count: int) -> np.ndarray:
    """(count, 3) lights around the axis."""
    return from_angles(zenith, 45 + 360 * np.arange(count) / count)


def surface(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the face in units of half its size; x right, y up, in the same units."""
    head = 0.55 * np.sqrt(np.maximum(1.3 - (x / 0.85) ** 2 - 0.9 * y**2, 0.05))
    nose = 0.14 * np.exp(-((x / 0.12) ** 2) - ((y + 0.02) / 0.22) ** 2)
    sockets = sum(-0.05 * np.exp(-(((x - side) / 0.15) ** 2) - ((y - 0.25) / 0.09) ** 2) for side in (-0.3, 0.3))
    return head + nose + sockets + 0.03 * np.exp(-((x / 0.25) ** 2) - ((y + 0.42) / 0.06) ** 2)


def colour(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Albedo: brows, eyes, mouth, and moles at fixed places."""
    albedo = 0.55 + 0.05 * np.cos(3 * x) * np.sin(2 * y)
    for side in (-0.3, 0.3):
        albedo = albedo - 0.3 * np.exp(-(((x - side) / 0.16) ** 4) - ((y - 0.38) / 0.03) ** 4)
        albedo = albedo - 0.35 * np.exp(-(((x - side) / 0.06) ** 4) - ((y - 0.25) / 0.05) ** 4)
    albedo = albedo - 0.15 * np.exp(-((x / 0.22) ** 4) - ((y + 0.45) / 0.06) ** 4)
    places = np.random.default_rng(5).uniform([-0.6, -0.8, 0.008, 0.03], [0.6, 0.8, 0.02, 0.15], (60, 4))
    for cx, cy, radius, darker in places:
        albedo = albedo - darker * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / radius**2)
    return np.maximum(albedo, 0.05)


def photograph(size: int, lights: np.ndarray, shifts: np.ndarray | None = None) -> Scene:
    """The scene at rest, and noiseless Lambertian frames of it; in frame i it has moved by shifts[i] (dx, dy) px."""
    unit, step = 0.46 * size, 1e-5
    rows, columns = np.mgrid[:size, :size].astype(float)

    def at(dx: float, dy: float) -> tuple[np.ndarray, ...]:
        x, y = (columns - dx - size / 2) / unit, -(rows - dy - size / 2) / unit
        slope_x = (surface(x + step, y) - surface(x - step, y)) / (2 * step)
        slope_y = (surface(x, y + step) - surface(x, y - step)) / (2 * step)
        normal = np.stack([-slope_x, -slope_y, np.ones_like(x)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        return normal, colour(x, y), unit * surface(x, y), (x / 0.8) ** 2 + y**2 < 0.95

    frames = []
    for light, shift in zip(lights, np.zeros((len(lights), 2)) if shifts is None else shifts, strict=True):
        normal, albedo, _, mask = at(*shift)
        frames.append(albedo * np.maximum(normal @ light, 0) * mask)
    normal, albedo, depth, mask = at(0.0, 0.0)
    return Scene(normal, albedo, depth, mask, lights, np.stack(frames).astype(np.float32))


def sensor(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames with noise of one grey level, in 8 bits."""
    noisy = frames + rng.normal(0, 1 / 255, frames.shape)
    return (np.rint(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32)


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between unit vectors (..., 3)."""
    return np.rad2deg(np.arccos(np.clip((a * b).sum(axis=-1), -1, 1)))
