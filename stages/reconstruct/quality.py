"""Numbers that say how far the maps of a session can be trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from pipeline.lights import condition
from stages.reconstruct.fitting import Fit
from stages.reconstruct.flatness import largest_disc

FACING = 0.25  # below minus this sum of two correlations an axis is wrong: heads bowed by up to 50 degrees reach -.15
LEANING = 0.8  # of the radius of the largest disc in the mask: where the lean is measured
ENOUGH = 1 << 16  # pixels for a correlation
FLAT = 0.02  # spread of a component of the normals below which there is no relief to speak of, only noise


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

    A face bulges towards the camera: on its right normals lean right, above its middle they lean up. Where n_x falls
    with x, or n_y with y, the lights were given in another frame. Correlations are summed over the whole mask, and over
    the middle of the face: below the chin of a bowed head come a neck that leans down and shoulders that lean up, which
    turn the first along y, and not the second; mouth and sockets turn the second of some faces, and not the first.
    """
    if np.count_nonzero(mask) < 16:
        return []
    whole, middle = bulging(normal, mask), bulging(normal, _middle(mask))
    flipped = [axis for axis, one, other in zip("xy", whole, middle, strict=True) if one + other < -FACING]
    if len(flipped) == 2:
        return ["the face is hollow: the lights' x and y point the wrong way"]
    return [f"the face is hollow along {axis}: the lights' {axis} axis points the wrong way" for axis in flipped]


def bulging(normal: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Correlation of n_x with x, and of n_y with y (up), over a mask; 0 where there is no relief."""
    at = np.flatnonzero(mask)
    at = at[:: max(1, len(at) // ENOUGH)]
    rows, columns = np.divmod(at, mask.shape[1])
    inside = normal.reshape(-1, 3)[at]
    across, upwards = (
        float(np.corrcoef(slope, place)[0, 1]) if len(at) and slope.std() > FLAT and place.std() > 0 else 0.0
        for slope, place in ((inside[:, 0], columns), (inside[:, 1], -rows))
    )
    return across, upwards


def _middle(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask (H, W) within `LEANING` of its largest disc."""
    row, column, unit = largest_disc(mask)
    down, right = np.ogrid[: mask.shape[0], : mask.shape[1]]
    near: np.ndarray = mask & (np.hypot(down - row, right - column) < LEANING * unit)
    return near


def lean(depth: np.ndarray, mask: np.ndarray) -> float:
    """How far a face leans: the rise, upwards, of the best plane through its depth; negative where the chin is nearer.

    The plane is fitted over `LEANING` of the largest disc inside the mask. 0 for a face seen from the front, the
    tangent of the pitch for a head that nods; more than heads nod is the work of wrong strengths or elevations of the
    lights, which tilt the whole depth and leave no residual.
    """
    near = _middle(mask)
    if np.count_nonzero(near) < 16:
        return float("nan")
    rows, columns = np.nonzero(near)
    plane = np.stack([np.ones(len(rows)), columns - columns.mean(), rows.mean() - rows], axis=1)
    return float(np.linalg.lstsq(plane, depth[near].astype(float), rcond=None)[0][2])
