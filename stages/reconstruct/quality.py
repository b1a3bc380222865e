"""Numbers that say how far the maps of a session can be trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from pipeline.lights import condition
from stages.reconstruct.fitting import Fit
from stages.reconstruct.flatness import largest_disc

FACING = 0.3  # below minus this correlation an axis is wrong: a bowed head with its neck reaches -.2 along y by itself
LEANING = 0.8  # of the radius of the largest disc in the mask: where the lean is measured
ENOUGH = 1 << 16  # pixels for a correlation
FLAT = 1e-6  # spread of a component of the normals below which there is no slope to speak of, only rounding


@dataclass(frozen=True)
class Quality:
    """A row of data/quality.parquet.

    Attributes
    ----------
    residual : weighted RMS of what Lambert's model leaves, as a share of the weighted RMS brightness; 0 for 3 lights.
    shadowed, saturated : shares of the samples inside the mask.
    condition : ratio of the lights' singular values; errors of the frames grow by up to as much.
    integrability : mean absolute curl of the slopes inside the mask, pixels around a 2x2 loop; 0 for a true surface.
    shift : px, how far the frame that moved most was moved.
    notes : what a person should look at, in words; empty where nothing is wrong.
    """

    residual: float
    shadowed: float
    saturated: float
    condition: float
    integrability: float
    shift: float
    notes: str = ""

    def row(self) -> dict[str, float | str]:
        """The numbers by their names."""
        return asdict(self)


def measure(
    fit: Fit, lights: np.ndarray, normal: np.ndarray, mask: np.ndarray, shifts: np.ndarray, notes: list[str]
) -> Quality:
    """Quality of the maps (H, W) that ``fit`` is part of, under lights (k, 3); shifts (k, 2) in px."""
    return Quality(
        residual=float(np.sqrt(fit.lost / fit.power)) if fit.power > 0 else 0.0,
        shadowed=fit.shadowed,
        saturated=fit.saturated,
        condition=condition(lights),
        integrability=curl(normal, mask),
        shift=float(np.linalg.norm(shifts, axis=1).max()),
        notes="; ".join([*notes, *orientation(normal, mask)]),
    )


def curl(normal: np.ndarray, mask: np.ndarray, *, floor: float = 0.05) -> float:
    """Mean absolute rise (px) on the way around 2x2 pixels inside the mask; 0 where normals belong to a surface."""
    nx, ny, nz = normal[..., 0], normal[..., 1], np.maximum(normal[..., 2], floor)
    right = -(nx[:, 1:] + nx[:, :-1]) / (nz[:, 1:] + nz[:, :-1])
    below = (ny[1:] + ny[:-1]) / (nz[1:] + nz[:-1])
    around = right[:-1] + below[:, 1:] - right[1:] - below[:, :-1]
    whole = mask[1:, 1:] & mask[1:, :-1] & mask[:-1, 1:] & mask[:-1, :-1]
    return float(np.abs(around[whole]).mean()) if whole.any() else 0.0


def orientation(normal: np.ndarray, mask: np.ndarray) -> list[str]:
    """Notes on an axis whose sign looks wrong.

    A face bulges towards the camera: on its right normals lean right, above its middle they lean up. Where the
    correlation of n_x with x, or of n_y with y, is clearly negative, the lights were given in another frame.
    """
    at = np.flatnonzero(mask)
    if len(at) < 16:
        return []
    at = at[:: max(1, len(at) // ENOUGH)]
    rows, columns = np.divmod(at, mask.shape[1])
    inside = normal.reshape(-1, 3)[at]
    flipped = [
        axis
        for axis, slope, place in (("x", inside[:, 0], columns), ("y", inside[:, 1], -rows))
        if slope.std() > FLAT and place.std() > 0 and np.corrcoef(slope, place)[0, 1] < -FACING
    ]
    if len(flipped) == 2:
        return ["the face is hollow: the lights' x and y point the wrong way"]
    return [f"the face is hollow along {axis}: the lights' {axis} axis points the wrong way" for axis in flipped]


def lean(depth: np.ndarray, mask: np.ndarray) -> float:
    """How far a face leans: the rise, upwards, of the best plane through its depth; negative where the chin is nearer.

    The plane is fitted over `LEANING` of the largest disc inside the mask. 0 for a face seen from the front, the
    tangent of the pitch for a head that nods; more than heads nod is the work of wrong strengths or elevations of the
    lights, which tilt the whole depth and leave no residual.
    """
    row, column, unit = largest_disc(mask)
    down, right = np.ogrid[: mask.shape[0], : mask.shape[1]]
    near = mask & (np.hypot(down - row, right - column) < LEANING * unit)
    if np.count_nonzero(near) < 16:
        return float("nan")
    rows, columns = np.nonzero(near)
    plane = np.stack([np.ones(len(rows)), columns - column, row - rows], axis=1)
    return float(np.linalg.lstsq(plane, depth[near].astype(float), rcond=None)[0][2])
