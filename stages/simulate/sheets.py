"""A picture of a face on a sheet: paper or glass, flat, a little curled, or bent over a cylinder.

    u runs right, v down, both 0 to 1 over the picture      x = (u - 1/2) side, y = (1/2 - v) side     (mm, at rest)

The sheet is rolled about one axis in its own plane (an isometry: paper does not stretch), turned, and put before the
camera. What is not covered is cut away from the mesh itself, so that it neither hides nor shades what is behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from stages.simulate import mesh
from stages.simulate.bust import rotation_of
from stages.simulate.camera import Camera
from stages.simulate.raycast import Scene
from stages.simulate.scene import Points

CELLS = 96  # of the mesh along a side
STEEPEST = 1.35  # rad from the crest of a roll, beyond which a sheet is cut off: nobody would see it


@dataclass(frozen=True)
class Sheet:
    """A square sheet before it is cut.

    Attributes
    ----------
    side : mm.
    radius : mm of the roll, positive where it bulges towards the camera; inf is flat.
    axis : rad, the direction in the sheet along which it stays straight, from y.
    angles : (3,) yaw, pitch, roll in degrees, as a head's.
    centre : (3,) mm.
    """

    side: float
    radius: float
    axis: float
    angles: np.ndarray
    centre: np.ndarray

    def place(self, uv: np.ndarray) -> np.ndarray:
        """Points (N, 3) mm of the picture's places (N, 2)."""
        x, y = ((uv - 0.5) * [self.side, -self.side]).T
        along = np.array([-np.sin(self.axis), np.cos(self.axis)])
        across = np.array([np.cos(self.axis), np.sin(self.axis)])
        s, t = x * across[0] + y * across[1], x * along[0] + y * along[1]
        height = np.zeros_like(s)
        if np.isfinite(self.radius):
            turn = s / self.radius
            s, height = self.radius * np.sin(turn), self.radius * (np.cos(turn) - 1)
        rolled = np.stack([s * across[0] + t * along[0], s * across[1] + t * along[1], height], axis=1)
        return rolled @ rotation_of(self.angles).T + self.centre

    def seen(self, uv: np.ndarray) -> np.ndarray:
        """(N,) bool: what is not rolled out of sight."""
        x, y = ((uv - 0.5) * [self.side, -self.side]).T
        return np.abs(x * np.cos(self.axis) + y * np.sin(self.axis)) < STEEPEST * abs(self.radius)


@dataclass(frozen=True)
class Cut:
    """A sheet as a mesh: vertices, normals (V, 3), their uv (V, 2), triangles (T, 3)."""

    vertices: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray


def cut(sheet: Sheet, cover: np.ndarray) -> Cut:
    """The mesh of what ``cover`` (H, W) in [0, 1], a picture over the whole sheet, keeps."""
    at = np.linspace(0, 1, CELLS + 1)
    uv = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    quads = mesh.grid_quads(CELLS + 1, CELLS + 1)
    middle = uv[quads].mean(axis=1)
    kept = quads[(sample(cover, middle) > 0.5) & sheet.seen(middle)][:, ::-1]
    vertices = sheet.place(uv)
    normals = mesh.vertex_normals(vertices, kept)
    return Cut(vertices, normals, uv, mesh.triangles(kept))


def meet_sheet(shape: Cut, camera: Camera) -> tuple[Points, np.ndarray]:
    """Where the camera's rays meet a sheet, without its material, and (N, 2) the places of the picture there."""
    rays = camera.rays().reshape(-1, 6)
    hits = Scene(shape.vertices, shape.triangles).cast(rays)
    corners = shape.triangles[hits.triangle]
    normal = np.einsum("nk,nkc->nc", hits.weights, shape.normals[corners]).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    view = -rays[hits.index, 3:]
    count = len(hits.index)
    points = Points(
        hits.index,
        rays[hits.index, :3] + hits.far[hits.index, None] * rays[hits.index, 3:],
        normal,
        view / np.linalg.norm(view, axis=1, keepdims=True),
        np.zeros(count, np.float32),
        np.zeros(count, np.float32),
        np.zeros(count, np.float32),
        np.zeros(count, np.uint8),
    )
    return points, np.einsum("nk,nkc->nc", hits.weights, shape.uv[corners])


def sample(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear values (N,) float32 of a picture (H, W) at places (N, 2)."""
    count, width = len(uv), 4096
    grid = np.zeros((2, -(-max(count, 1) // width) * width), np.float32)
    grid[0, :count] = uv[:, 0] * picture.shape[1] - 0.5
    grid[1, :count] = uv[:, 1] * picture.shape[0] - 0.5
    x, y = grid.reshape(2, -1, width)
    values = cv2.remap(picture.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values).ravel()[:count]
