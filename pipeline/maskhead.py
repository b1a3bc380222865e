"""A mean head and how it is seen in a picture, found from landmarks of the face.

The head is turned, scaled and stretched in its height until its landmarks lie on those of the picture: a scaled
orthographic camera, least squares with priors, since five points alone do not tell a long nose from a raised chin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares

from pipeline.maskshape import Head

View = Literal["left", "frontal", "right"]
TURNED = 12.0  # degrees of yaw, from which a face counts as turned to a side of the image
EYE_TO_EYE = 62.7  # mm on the mean head

# Mean of 40 of the simulator's subjects at 30: mm from the axis through the head, every 8 mm from 16 above the eyes
# downwards, every 5 degrees from the front to the side. Eyes are closed.
HEIGHTS = np.arange(16.0, -129.0, -8.0)
RADII = np.array([
    [74, 74, 74, 74, 75, 77, 78, 79, 78, 77, 76, 75, 73, 72, 71, 70, 69, 70, 70],
    [71, 71, 69, 68, 69, 72, 74, 75, 75, 76, 75, 74, 74, 73, 72, 71, 70, 70, 71],
    [71, 69, 65, 64, 65, 66, 68, 70, 71, 72, 74, 74, 73, 73, 72, 71, 71, 71, 71],
    [74, 72, 67, 65, 65, 68, 70, 71, 71, 72, 73, 74, 73, 73, 72, 72, 71, 71, 72],
    [79, 77, 72, 68, 66, 67, 69, 71, 72, 73, 74, 74, 74, 73, 72, 72, 71, 71, 72],
    [84, 81, 75, 71, 69, 69, 70, 72, 73, 75, 75, 75, 74, 73, 72, 71, 71, 71, 71],
    [89, 87, 80, 71, 70, 70, 72, 73, 74, 75, 75, 75, 74, 73, 72, 71, 70, 70, 71],
    [93, 90, 84, 73, 70, 71, 72, 73, 74, 74, 74, 73, 72, 71, 70, 69, 69, 69, 69],
    [89, 79, 75, 72, 71, 71, 72, 73, 73, 72, 72, 71, 70, 69, 68, 68, 67, 68, 68],
    [80, 79, 77, 75, 73, 72, 72, 71, 71, 70, 70, 69, 68, 67, 66, 66, 66, 66, 67],
    [83, 82, 80, 77, 74, 72, 71, 70, 69, 68, 67, 67, 66, 65, 64, 64, 64, 65, 65],
    [79, 78, 77, 75, 73, 71, 70, 69, 68, 66, 65, 64, 63, 63, 62, 62, 62, 63, 63],
    [79, 78, 76, 74, 72, 70, 68, 67, 65, 64, 63, 61, 61, 60, 60, 60, 60, 60, 60],
    [75, 74, 73, 71, 69, 67, 66, 64, 63, 61, 60, 59, 58, 57, 57, 57, 57, 57, 57],
    [70, 70, 69, 68, 66, 65, 63, 61, 60, 58, 57, 55, 54, 53, 53, 52, 52, 52, 52],
    [70, 70, 68, 66, 64, 62, 60, 58, 56, 54, 52, 50, 49, 48, 47, 46, 46, 45, 46],
    [67, 66, 65, 63, 60, 57, 54, 51, 48, 45, 43, 41, 39, 38, 37, 37, 37, 38, 39],
    [52, 51, 49, 46, 43, 39, 36, 34, 32, 31, 30, 29, 29, 29, 29, 29, 30, 31, 32],
    [30, 30, 30, 30, 29, 28, 27, 26, 26, 25, 25, 25, 25, 25, 25, 25, 26, 27, 28],
], float)  # fmt: skip
POINTS = {  # of the mean head, mm; the five landmarks, and others of Photoface's eleven
    "left_eye": (-31.3, 0.0, 58.5), "right_eye": (31.3, 0.0, 58.5), "nose": (0.0, -38.5, 93.1),
    "mouth_left": (-25.9, -75.1, 66.3), "mouth_right": (25.9, -75.1, 66.3),
    "between_brows": (0.0, 13.6, 73.0), "nose_left": (-19.0, -40.4, 70.5), "nose_right": (19.0, -40.4, 70.5),
    "chin": (0.0, -111.9, 66.7),
}  # fmt: skip
MOUTH = POINTS["mouth_left"][1]
FIVE = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
USUAL = np.array([35.0, 8.0, 12.0, 0.08])  # sd of yaw, pitch, roll (degrees) and of the face's length (log)
LEAST_AREA = 0.01  # of landmarks seen, as a share of the frontal face's; at a yaw of 85 degrees it is .03 to .2
TRUST = 2.0  # mm by which landmarks are usually off


class MeanHead(Head):
    """The mean head: its axis is the origin, its eyes are at height 0."""

    eyes, nose, mouth, chin = 0.0, -38.5, -75.1, -111.9
    axis = np.zeros(3)

    def radius(self, azimuth: np.ndarray, height: np.ndarray) -> np.ndarray:
        """As of `maskshape.Head`; beyond the table its border goes on."""
        rows = (HEIGHTS[0] - height) / 8.0
        columns = np.rad2deg(np.abs(azimuth)) / 5.0
        return np.asarray(map_coordinates(RADII, [rows, columns], order=1, mode="nearest"))


@dataclass(frozen=True)
class Pose:
    """How the mean head is seen in a picture: its height stretched (below the mouth it is never made shorter), turned
    by a rotation (3, 3), then scaled orthographically by ``scale`` pixels a mm around ``origin`` (x, y), where its own
    origin lies."""

    rotation: np.ndarray
    stretch: float
    scale: float
    origin: np.ndarray
    yaw: float

    @property
    def view(self) -> View:
        """The side of the image that the face is turned to."""
        return "frontal" if abs(self.yaw) < TURNED else "right" if self.yaw > 0 else "left"

    def turn(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the head in the camera's frame, mm."""
        x, y, z = np.moveaxis(np.asarray(points, float), -1, 0)
        # who smiles has a mouth nearer to the eyes, and the chin where it was
        y = self.stretch * np.maximum(y, MOUTH) + max(self.stretch, 1.0) * np.minimum(y - MOUTH, 0)
        turned: np.ndarray = np.stack([x, y, z], axis=-1) @ self.rotation.T
        return turned

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) of the head."""
        placed: np.ndarray = self.turn(points)[..., :2] * [self.scale, -self.scale] + self.origin
        return placed


def fit_pose(landmarks: np.ndarray | Mapping[str, np.ndarray]) -> Pose:
    """The pose in which the mean head's landmarks lie on those of a picture.

    Parameters
    ----------
    landmarks : (5, 2) pixels (x, y) of the eyes, the nose and the corners of the mouth, the image's left first; or by
        name, any four or more of `POINTS`: a chin and nostrils tell more of how long and how turned a face is.

    Raises
    ------
    ValueError
        Too few are given, an unknown one, all in one place or on one line, or left for right.
    """
    named = landmarks if isinstance(landmarks, Mapping) else dict(zip(FIVE, np.asarray(landmarks), strict=True))
    unknown = [name for name in named if name not in POINTS]
    if unknown or len(named) < 4:
        what = f"no landmark `{unknown[0]}`" if unknown else f"{len(named)} landmarks"
        raise ValueError(f"{what}; expected four or more of {', '.join(POINTS)}")
    model, seen = np.array([POINTS[name] for name in named]), np.array([named[name] for name in named], float)
    spread = float(np.sqrt(((seen - seen.mean(0)) ** 2).sum() / ((model - model.mean(0))[:, :2] ** 2).sum()))
    if not np.isfinite(spread) or spread < 1e-6:
        raise ValueError("the landmarks lie in one place")
    roll, area = _turn_in_plane(model, (seen - seen.mean(0)) / spread)
    if area < LEAST_AREA:
        raise ValueError("the landmarks are left for right, or on one line; left is the image's left")
    start = np.array([0, 0, roll if abs(roll) > 90 else 0, 0, 0])  # from 0 it does not reach who is upside down

    def pose_of(values: np.ndarray) -> Pose:
        scale = spread * np.exp(values[4])
        made = Pose(_rotation(values[:3]), float(np.exp(values[3])), float(scale), np.zeros(2), float(values[0]))
        return replace(made, origin=(seen - made.project(model)).mean(0))

    def misfit(values: np.ndarray) -> np.ndarray:
        pose = pose_of(values)
        return np.concatenate([((pose.project(model) - seen) / (spread * TRUST)).ravel(), values[:4] / USUAL])

    return pose_of(least_squares(misfit, start, x_scale=[10, 10, 10, 0.1, 0.1]).x)


def _turn_in_plane(model: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """Roll in degrees of the affine map from points (N, 3) to centred pixels (N, 2), and its determinant: below 0 where
    they are mirrored, about 0 where they lie on a line."""
    flat = model[:, :2] - model[:, :2].mean(0)
    linear = np.linalg.lstsq(flat, seen * [1, -1], rcond=None)[0]
    roll = np.arctan2(linear[0, 1] - linear[1, 0], linear[0, 0] + linear[1, 1])
    return float(np.rad2deg(roll)), float(np.linalg.det(linear))


def _rotation(angles: np.ndarray) -> np.ndarray:
    """(3, 3), by yaw (about y, to the image's right), pitch (about x, down) and roll (about z), in degrees."""
    yaw, pitch, roll = np.deg2rad(angles)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)
