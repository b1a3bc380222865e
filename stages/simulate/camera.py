"""The camera as a grid of rays, `FINE` times as fine as the frame, and its sensor.

A picture of light is rendered on the fine grid, moved by the head's drift, averaged down, blurred and read with noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

FINE = 2  # fine points across a pixel
FAR = 1500.0  # mm; where the rays of an orthographic camera begin
READ_NOISE, SHOT_NOISE = 0.0025, 1.2e-4  # standard deviation; variance a unit of light (1: white at strength 1)


@dataclass(frozen=True)
class Camera:
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


def expose(image: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """A fine picture averaged down to the frame, moved by ``drift`` (x, y) pixels of the frame."""
    if drift.any():
        shift = np.array([[1, 0, FINE * drift[0]], [0, 1, FINE * drift[1]]])
        image = cv2.warpAffine(image, shift, image.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(image, None, fx=1 / FINE, fy=1 / FINE, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Sensor:
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
