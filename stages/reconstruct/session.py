"""A session's frames to its maps and their quality: register, solve, integrate."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from pipeline.errors import Rejected
from pipeline.lights import check_lights
from pipeline.maps import Maps
from pipeline.params import Reconstruct
from stages.reconstruct.integration import integrate
from stages.reconstruct.masking import foreground, pieces
from stages.reconstruct.order import disorder
from stages.reconstruct.quality import Quality, measure
from stages.reconstruct.registration import register, shifted
from stages.reconstruct.relight import modelled
from stages.reconstruct.solvers import Solution, choose, solve, split
from stages.reconstruct.uncalibrated import NOTE, estimate_lights

LEAST_MEASURED = 0.1  # of the face, with three samples below saturation: the rest is a guess around it
UNLIT = 0.1  # a frame this much darker than the middle one of its session was taken without its flash


@dataclass(frozen=True, eq=False)
class Photographs:
    """What the rig gave.

    Attributes
    ----------
    frames : (k, H, W) float32 in [0, 1], linear.
    lights : (k, 3) towards the flashes, camera frame, or none: they are then estimated. strengths : (k,) > 0.
    ambient : (H, W) float32 photograph without flash, or none; one of another size is left out with a note.
    mask : (H, W) bool, or none: it is then found.
    """

    frames: np.ndarray
    lights: np.ndarray | None
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
    flash = checked.frames
    if checked.ambient is not None:
        flash = np.maximum(flash - checked.ambient, 0)
    lights, strengths = checked.lights, checked.strengths
    if lights is None:
        found = estimate_lights(flash, ceiling=settings.saturation)
        lights, strengths, notes = found.lights, found.strengths, [*notes, NOTE]
    lights = check_lights(lights)
    per_strength = flash / strengths.astype(np.float32)[:, None, None]
    shifts = np.zeros((len(lights), 2))
    if settings.registration:
        shifts = register(per_strength, lights, largest=settings.largest_shift * max(flash.shape[1:]))
    raw = checked.frames
    if shifts.any():
        flash = np.maximum(_moved(flash, shifts), 0)
        raw = _moved(raw, shifts)
    mask = foreground(flash, level=settings.mask_level) if checked.mask is None else checked.mask
    if not mask.any():
        raise Rejected("the mask is empty")
    samples, saturated = flash[:, mask], raw[:, mask] >= settings.saturation
    measured = float(((~saturated).sum(axis=0) >= 3).mean())
    if measured < LEAST_MEASURED:
        raise Rejected(f"overexposed: {1 - measured:.0%} of the face has fewer than three samples below saturation")
    solution = solve(
        samples,
        lights,
        strengths,
        mask=mask,
        method=settings.solver,
        saturated=saturated,
        shadow=settings.shadow,
        shadow_weight=settings.shadow_weight,
        floor=settings.slope_floor,
    )
    maps = _maps(solution, mask, settings)
    notes += [*pieces(mask), *disorder(samples / strengths.astype(np.float32)[:, None], lights)]
    quality = measure(samples, solution, lights, maps.normal, mask, shifts, notes)
    if residuals:
        maps.residuals = flash / strengths.astype(np.float32)[:, None, None]
        maps.residuals -= np.stack([modelled(maps, light) for light in lights])
    maps.attributes = _attributes(lights, strengths, shifts, quality, settings) | _solver(
        solution, settings, len(lights)
    )
    if checked.lights is None:
        maps.attributes["lights.estimated"] = "from the frames and a model of faces"
    return maps, quality


def _usable(given: Photographs) -> tuple[Photographs, list[str]]:
    """The photographs without frames whose flash did not fire or an ambient frame that does not fit; notes on those."""
    shape, notes, ambient = given.frames.shape[1:], [], given.ambient
    if given.mask is not None and given.mask.shape != shape:
        raise Rejected(f"the mask is {_size(given.mask.shape)}, the frames are {_size(shape)}")
    if ambient is not None and ambient.shape != shape:
        notes = [f"the ambient frame is {_size(ambient.shape)}, the frames are {_size(shape)}: not subtracted"]
        ambient = None
    level = given.frames.mean(axis=(1, 2)) - (0 if ambient is None else ambient.mean())
    fired = level >= max(UNLIT * float(np.median(level)), 1e-6)
    if fired.sum() < 3:
        raise Rejected(f"only {fired.sum()} of {len(fired)} frames are lit by their flash")
    notes += [f"frame {i} is not lit by its flash and was left out" for i in np.flatnonzero(~fired)]
    lights = None if given.lights is None else given.lights[fired]
    return Photographs(given.frames[fired], lights, given.strengths[fired], ambient, given.mask), notes


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in reversed(shape))


def _moved(frames: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    return np.stack([shifted(frame, shift) for frame, shift in zip(frames, shifts, strict=True)])


def _maps(solution: Solution, mask: np.ndarray, settings: Reconstruct) -> Maps:
    unit, length = split(solution.scaled)
    normal = np.zeros((*mask.shape, 3), np.float32)
    albedo = np.zeros(mask.shape, np.float32)
    normal[mask], albedo[mask] = unit.T, length
    depth = integrate(normal, mask, floor=settings.slope_floor)
    confidence, visibility = np.zeros((2, *mask.shape), np.float32)
    confidence[mask], visibility[mask] = solution.confidence, solution.visibility
    return Maps(normal, albedo, depth, mask, confidence=confidence, visibility=visibility)


def _solver(solution: Solution, settings: Reconstruct, count: int) -> dict[str, str]:
    """Which solver it was, and why."""
    why = choose(count, masked=True)[1] if settings.solver == "auto" else "as the settings ask"
    return {"solver": solution.method, "solver.why": why}


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
