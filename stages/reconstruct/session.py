"""A session's frames to its maps and their quality: register, solve, integrate."""

from __future__ import annotations

import json
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.errors import Rejected
from pipeline.lights import check_lights
from pipeline.maps import Maps
from pipeline.params import Reconstruct
from stages.reconstruct.fitting import fitted
from stages.reconstruct.integration import integrate
from stages.reconstruct.masking import foreground, pieces
from stages.reconstruct.order import disorder
from stages.reconstruct.quality import Quality, measure
from stages.reconstruct.registration import register
from stages.reconstruct.relight import modelled
from stages.reconstruct.solvers import choose
from stages.reconstruct.stack import Stack

LEAST_MEASURED = 0.1  # of the face, with three samples below saturation: the rest is a guess around it
MOST_RESIDUALS, LARGEST_RESIDUALS = 50, 1 << 29  # frames and bytes: `psface relight` does without more
UNLIT = 0.1  # a frame this much darker than the middle one of its session was taken without its flash


@dataclass(frozen=True, eq=False)
class Photographs:
    """What the rig gave.

    Attributes
    ----------
    frames : (k, H, W) linear: float32 in [0, 1], or uint8 or uint16, whose top is white.
    lights : (k, 3) towards the flashes, camera frame. strengths : (k,) > 0.
    ambient : (H, W) float32 photograph without flash, or none; one of another size is left out with a note.
    mask : (H, W) bool, or none: it is then found.
    """

    frames: np.ndarray
    lights: np.ndarray
    strengths: np.ndarray
    ambient: np.ndarray | None = None
    mask: np.ndarray | None = None


def reconstruct(photographs: Photographs, settings: Reconstruct, *, residuals: bool = False) -> tuple[Maps, Quality]:
    """Normals, albedo, depth and mask of one session; with ``residuals``, what they leave of each frame as well.

    Raises
    ------
    Rejected : fewer than three usable frames, lights that cannot give normals, nothing to be seen, shapes that differ.
    """
    checked, notes = _usable(photographs)
    lights, strengths = check_lights(checked.lights), checked.strengths
    stack = Stack(checked.frames, checked.ambient)
    if settings.registration:
        relative = (stack.flash(i) / np.float32(strength) for i, strength in enumerate(strengths))
        stack.shifts = register(relative, lights, largest=settings.largest_shift * max(stack.shape))
    mask = _found(stack, settings.mask_level) if checked.mask is None else checked.mask
    if not mask.any():
        raise Rejected("the mask is empty")
    method = settings.solver
    if method == "auto":
        method = choose(len(lights), masked=True)[0]
    fit = fitted(stack, lights, strengths, mask, method, settings)
    if fit.measured < LEAST_MEASURED:
        raise Rejected(f"overexposed: {1 - fit.measured:.0%} of the face has fewer than three samples below saturation")
    depth = integrate(fit.normal, mask, floor=settings.slope_floor)
    maps = Maps(fit.normal, fit.albedo, depth, mask, confidence=fit.confidence, visibility=fit.visibility)
    notes += [*pieces(mask), *disorder(fit.some, lights)]
    quality = measure(fit, lights, maps.normal, mask, stack.shifts, notes)
    if residuals:
        maps.residuals = _residuals(stack, lights, strengths, maps)
    maps.attributes = _attributes(lights, strengths, stack.shifts, quality, settings) | _solver(
        method, settings, len(lights)
    )
    return maps, quality


def _found(stack: Stack, level: float) -> np.ndarray:
    """The mask (H, W) of what stands out from the dark in the brightest of all frames."""
    brightest = np.empty(stack.shape, np.float32)
    for rows in stack.strips():
        brightest[rows] = stack.flash(0, rows)
        for i in range(1, len(stack)):
            np.maximum(brightest[rows], stack.flash(i, rows), out=brightest[rows])
    return foreground(brightest[None], level=level)


def _residuals(stack: Stack, lights: np.ndarray, strengths: np.ndarray, maps: Maps) -> np.ndarray | None:
    """(k, H, W) float16, as they are written; none where they would be too many for a file."""
    if len(lights) > MOST_RESIDUALS or 2 * len(lights) * maps.mask.size > LARGEST_RESIDUALS:
        return None
    residuals = np.empty((len(lights), *maps.shape), np.float16)
    for i, (light, strength) in enumerate(zip(lights, strengths, strict=True)):
        model = modelled(maps, light)
        for rows in stack.strips():
            residuals[i, rows] = stack.flash(i, rows) / np.float32(strength) - model[rows]
    return residuals


def _usable(given: Photographs) -> tuple[Photographs, list[str]]:
    """The photographs without frames whose flash did not fire or an ambient frame that does not fit; notes on those."""
    shape, notes, ambient = given.frames.shape[1:], [], given.ambient
    if given.mask is not None and given.mask.shape != shape:
        raise Rejected(f"the mask is {_size(given.mask.shape)}, the frames are {_size(shape)}")
    if ambient is not None and ambient.shape != shape:
        notes = [f"the ambient frame is {_size(ambient.shape)}, the frames are {_size(shape)}: not subtracted"]
        ambient = None
    white = 1 if given.frames.dtype.kind == "f" else np.iinfo(given.frames.dtype).max
    level = np.array([cv2.mean(frame)[0] / white for frame in given.frames])
    level -= 0 if ambient is None else ambient.mean()
    fired = level >= max(UNLIT * float(np.median(level)), 1e-6)
    if fired.sum() < 3:
        raise Rejected(f"only {fired.sum()} of {len(fired)} frames are lit by their flash")
    notes += [f"frame {i} is not lit by its flash and was left out" for i in np.flatnonzero(~fired)]
    frames = given.frames if fired.all() else given.frames[fired]
    return Photographs(frames, given.lights[fired], given.strengths[fired], ambient, given.mask), notes


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in reversed(shape))


def _solver(method: str, settings: Reconstruct, count: int) -> dict[str, str]:
    """Which solver it was, and why."""
    why = choose(count, masked=True)[1] if settings.solver == "auto" else "as the settings ask"
    return {"solver": method, "solver.why": why}


def _attributes(
    lights: np.ndarray, strengths: np.ndarray, shifts: np.ndarray, quality: Quality, settings: Reconstruct
) -> dict[str, str]:
    return {
        "integration": "masked least squares, orthographic, pixels",
        "lights": json.dumps(np.round(lights, 6).tolist()),
        "strengths": json.dumps(np.round(strengths, 6).tolist()),
        "shifts": json.dumps(np.round(shifts, 3).tolist()),
        "settings": settings.model_dump_json(),
        "quality": json.dumps(quality.row()),
        "notes": quality.notes,
    }
