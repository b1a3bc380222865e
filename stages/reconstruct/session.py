"""A session's frames to its maps and their quality: register, solve, integrate."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.errors import Rejected
from pipeline.lights import check_lights
from pipeline.maps import Maps
from pipeline.params import Reconstruct
from pipeline.rig import Camera
from stages.reconstruct.calibration.near import Surface, near_lights
from stages.reconstruct.fitting import Fit, Task, fitted
from stages.reconstruct.integration import integrate
from stages.reconstruct.masking import foreground, pieces
from stages.reconstruct.order import disorder
from stages.reconstruct.quality import Quality, measure
from stages.reconstruct.registration import register
from stages.reconstruct.relight import modelled
from stages.reconstruct.shadows import extent
from stages.reconstruct.solvers import Method, choose
from stages.reconstruct.stack import Stack
from stages.reconstruct.uncalibrated import estimate_lights

if TYPE_CHECKING:
    import torch

LEAST_MEASURED = 0.1  # of the face, with three samples below saturation: the rest is a guess around it
MOST_RESIDUALS, LARGEST_RESIDUALS = 50, 1 << 28  # frames and bytes: `psface relight` does without more
ROUNDS = 3  # of near light: on a plane, on the depth that comes out, and on that of it
ENOUGH = 512  # px of a side, to estimate lights from
SIZES = 40.0, 2000.0  # mm: a mask that is smaller or larger holds no face
FARTHEST = 40.0  # times the face's size: from there on a flash's light falls off by a twentieth over the face
UNLIT = 0.1  # a frame this much darker than the middle one of its session was taken without its flash


@dataclass(frozen=True, eq=False)
class Photographs:
    """What the rig gave.

    Attributes
    ----------
    frames : (k, H, W) linear: float32 in [0, 1], or uint8 or uint16, whose top is white.
    lights : (k, 3) towards the flashes, camera frame, or none: they are then estimated. strengths : (k,) > 0.
    ambient : (H, W) float32 photograph without flash, or none; of the frames' size.
    mask : (H, W) bool, or none: it is then found.
    positions : (k, 3) mm from where the camera's axis meets the face, of flashes that are near, or none.
    camera : what is known of it.
    clipped : (k, H, W / 8) of `np.packbits`, samples that count as saturated although their grey is not, or none.
    """

    frames: np.ndarray
    lights: np.ndarray | None
    strengths: np.ndarray
    ambient: np.ndarray | None = None
    mask: np.ndarray | None = None
    positions: np.ndarray | None = None
    camera: Camera = field(default_factory=Camera)
    clipped: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.dtype != bool:
            raise ValueError(f"the mask is of {self.mask.dtype}; expected bool")


def reconstruct(
    photographs: Photographs, settings: Reconstruct, *, residuals: bool = False, device: torch.device | None = None
) -> tuple[Maps, Quality]:
    """Normals, albedo, depth and mask of one session; with ``residuals``, what they leave of each frame as well.

    Pixels are solved and integrated by numpy, or by torch on a ``device``: the same to 1e-4 (confidence and visibility
    to 2e-3).

    Raises
    ------
    Rejected : fewer than three usable frames, lights that cannot give normals, nothing to be seen, shapes that differ.
    """
    checked, notes = _usable(photographs)
    stack = Stack(checked.frames, checked.ambient, checked.clipped)
    lights, strengths, told = _lit(checked, stack, settings.saturation)
    notes += told
    if settings.registration and _near(checked):
        notes.append("the flashes are near: frames are not registered, since their fall-off would pass for motion")
    elif settings.registration:
        relative = (stack.flash(i) / np.float32(strength) for i, strength in enumerate(strengths))
        stack.shifts = register(relative, lights, largest=settings.largest_shift * max(stack.shape))
    mask = _found(stack, settings.mask_level) if checked.mask is None else checked.mask
    if not mask.any():
        raise Rejected("the mask is empty")
    method: Method = settings.solver
    if method == "auto":
        method = choose(len(lights), masked=True)[0]
    unit = np.float32(strengths.mean())  # floors and holds of the solvers are in samples of a flash of strength 1
    task = Task(stack, lights, strengths / unit, mask, settings)
    fit, depth, surface = _shape(task, method, checked, device)
    maps = Maps(fit.normal, fit.albedo / unit, depth, mask, confidence=fit.confidence, visibility=fit.visibility)
    notes += [*pieces(mask), *disorder(fit.some, lights), *_unplaced(checked, mask)]
    if residuals and (len(lights) > MOST_RESIDUALS or 2 * len(lights) * mask.size > LARGEST_RESIDUALS):
        residuals = False
        notes.append("what the maps leave of so many frames is not kept: `psface relight` goes by the maps alone")
    quality = measure(fit, lights, maps.normal, mask, stack.shifts, notes)
    if residuals:
        maps.residuals = _residuals(stack, lights, strengths, maps, _towards(checked, surface))
    maps.attributes = (
        _attributes(lights, strengths, stack.shifts, quality, settings)
        | _solver(method, settings, len(lights))
        | _geometry(checked)
    )
    if checked.lights is None:
        maps.attributes["lights.estimated"] = "from the frames and a model of faces"
    return maps, quality


def _lit(checked: Photographs, stack: Stack, saturation: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Lights (k, 3), strengths (k,) and notes: as given, else estimated from the frames."""
    if checked.lights is not None:
        return check_lights(checked.lights), checked.strengths, []
    frames, saturated = _small(stack, saturation)
    found = estimate_lights(frames, saturated=saturated)
    return check_lights(found.lights), found.strengths, list(found.notes)


def _shape(
    task: Task, method: Method, given: Photographs, device: torch.device | None
) -> tuple[Fit, np.ndarray, Surface | None]:
    """The pixels solved and integrated to depth (H, W) px; with near flashes on a plane first, then on that depth, and
    where the pixels are in the end."""
    solved, integrated = _engine(device)
    depth_of = partial(integrated, mask=task.mask, floor=task.settings.slope_floor, intrinsics=given.camera.matrix)
    positions = given.positions
    if positions is None or not _near(given):
        fit = _measured(solved(task, method))
        return fit, depth_of(fit.normal), None
    surface = Surface(task.mask, given.camera)
    near = partial(near_lights, positions, np.ones(len(positions)))
    task = replace(task, lights_at=lambda rows, at: near(surface.points(rows, at)))
    for _ in range(ROUNDS):
        fit = _measured(solved(task, method))
        depth = depth_of(fit.normal)
        surface.lay(depth)
    return fit, depth, surface


def _towards(given: Photographs, surface: Surface | None) -> Callable[[int, slice], np.ndarray] | None:
    """The light (n, W, 3) of one flash at each pixel of some rows of a surface that flashes are near to."""
    if surface is None or given.positions is None:
        return None
    positions, width = given.positions, surface.width

    def towards(flash: int, rows: slice) -> np.ndarray:
        count = (rows.stop - rows.start) * width
        light = near_lights(positions[flash : flash + 1], [1.0], surface.points(rows, np.arange(count)))
        return light[0].T.reshape(-1, width, 3)

    return towards


def _engine(device: torch.device | None) -> tuple[Callable[..., Fit], Callable[..., np.ndarray]]:
    """What solves and what integrates: numpy's, or their twins on a device."""
    if device is None:
        return fitted, integrate
    from stages.reconstruct import device as on  # here, since importing torch takes a second

    return partial(on.fitted, device=device), partial(on.integrated, device=device)


def _measured(fit: Fit) -> Fit:
    if fit.measured < LEAST_MEASURED:
        raise Rejected(f"overexposed: {1 - fit.measured:.0%} of the face has fewer than three samples below saturation")
    return fit


def _near(given: Photographs) -> bool:
    """Whether the flashes are near, at known places of a face of known size."""
    return given.positions is not None and given.camera.scale is not None


def _unplaced(given: Photographs, mask: np.ndarray) -> list[str]:
    """A note on positions that cannot be used, or are in another unit."""
    if given.positions is None:
        return []
    if given.camera.scale is None:
        return [
            "the flashes' positions count as directions: the rig's camera has neither a pitch nor intrinsics and "
            "distance"
        ]
    size, farthest = given.camera.scale * extent(mask), float(np.linalg.norm(given.positions, axis=1).max())
    if not SIZES[0] <= size <= SIZES[1]:
        return [f"by the rig's camera the face is {size:.3g} mm wide: its pitch and distance are in mm, not in m or cm"]
    if farthest > FARTHEST * size:
        return [
            f"a flash is {farthest / 1000:.3g} m from a face of {size:.0f} mm, where light is parallel: positions are "
            "in mm"
        ]
    return []


def _small(stack: Stack, saturation: float) -> tuple[np.ndarray, np.ndarray]:
    """(k, h, w) float32 of the flashes, no side longer than `ENOUGH`: what directions can be estimated from; and bool,
    where any of what was averaged is saturated in the frame as it was taken."""
    height, width = stack.shape
    shrink = max(1.0, max(stack.shape) / ENOUGH)
    size = round(width / shrink), round(height / shrink)
    frames, saturated = [], []
    for i in range(len(stack)):
        flash, top = stack.pair(i, slice(None), saturation)
        frames.append(cv2.resize(flash, size, interpolation=cv2.INTER_AREA))
        saturated.append(cv2.resize(top.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0)
    return np.stack(frames), np.stack(saturated)


def _found(stack: Stack, level: float) -> np.ndarray:
    """The mask (H, W) of what stands out from the dark in the brightest of all frames."""
    return foreground(stack.brightest()[None], level=level)


def _residuals(
    stack: Stack,
    lights: np.ndarray,
    strengths: np.ndarray,
    maps: Maps,
    towards: Callable[[int, slice], np.ndarray] | None,
) -> np.ndarray:
    """(k, H, W) float16, as they are written."""
    residuals = np.empty((len(lights), *maps.shape), np.float16)
    for i, (light, strength) in enumerate(zip(lights, strengths, strict=True)):
        each = None if towards is None else np.concatenate([towards(i, rows) for rows in stack.strips()])
        model = modelled(maps, light, each)
        for rows in stack.strips():
            residuals[i, rows] = stack.flash(i, rows) / np.float32(strength) - model[rows]
    return residuals


def _usable(given: Photographs) -> tuple[Photographs, list[str]]:
    """The photographs without frames whose flash did not fire; notes on those."""
    shape, ambient = given.frames.shape[1:], given.ambient
    if given.mask is not None and given.mask.shape != shape:
        raise Rejected(f"the mask is {_size(given.mask.shape)}, the frames are {_size(shape)}")
    if ambient is not None and ambient.shape != shape:
        raise Rejected(f"the ambient frame is {_size(ambient.shape)}, the frames are {_size(shape)}")
    white = 1 if given.frames.dtype.kind == "f" else np.iinfo(given.frames.dtype).max
    level = np.array([cv2.mean(frame)[0] / white for frame in given.frames])
    level -= 0 if ambient is None else ambient.mean()
    level /= given.strengths / given.strengths.mean()  # a weak flash is no dead one
    if not np.isfinite(level).all():
        raise Rejected(f"frame {int(np.argmin(np.isfinite(level)))} holds values that are not finite")
    fired = level >= max(UNLIT * float(np.median(level)), 1e-6)
    if fired.sum() < 3:
        raise Rejected(f"only {fired.sum()} of {len(fired)} frames are lit by their flash")
    notes = [f"frame {i} is not lit by its flash and was left out" for i in np.flatnonzero(~fired)]
    if twice := _twice(given.frames, np.flatnonzero(fired)):
        if given.lights is None:
            raise Rejected(f"{twice}, and lights are estimated from frames under different ones; give each frame once")
        notes.append(f"{twice}: one of them may be the wrong file")
    frames, clipped = given.frames, given.clipped
    if not fired.all():
        frames, clipped = frames[fired], None if clipped is None else clipped[fired]
    lights = None if given.lights is None else given.lights[fired]
    positions = None if given.positions is None else given.positions[fired]
    strengths = given.strengths[fired]
    return replace(
        given,
        frames=frames, lights=lights, strengths=strengths, positions=positions, clipped=clipped,
    ), notes  # fmt: skip


def _twice(frames: np.ndarray, which: np.ndarray) -> str:
    """Words on the first of some frames that is another's picture to the last level, "" where none is."""
    known: dict[int, int] = {}
    for i in which:
        first = known.setdefault(zlib.crc32(np.ascontiguousarray(frames[i]).data), i)
        if first != i and np.array_equal(frames[first], frames[i]):
            return f"frames {first} and {i} are the same picture"
    return ""


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in reversed(shape))


def _geometry(given: Photographs) -> dict[str, str]:
    """What the camera was taken for, and how the depth was made; ``pitch`` is mm a pixel, also of its depth, and
    ``intrinsics`` say through which pinhole that is seen."""
    projection = "orthographic" if given.camera.intrinsics is None else "perspective"
    found = {"integration": f"masked least squares, {projection}, pixels"}
    if given.camera.transfer not in (None, "linear"):
        found["transfer"] = json.dumps(given.camera.transfer)
    if given.camera.intrinsics is not None:
        found["intrinsics"] = json.dumps(given.camera.intrinsics)
    if given.camera.scale is not None:
        found["pitch"] = f"{given.camera.scale:.6g}"
        if given.positions is not None:
            found["positions"] = json.dumps(np.round(given.positions, 3).tolist())
    return found


def _solver(method: str, settings: Reconstruct, count: int) -> dict[str, str]:
    """Which solver it was, and why."""
    why = choose(count, masked=True)[1] if settings.solver == "auto" else "as the settings ask"
    return {"solver": method, "solver.why": why}


def _attributes(
    lights: np.ndarray, strengths: np.ndarray, shifts: np.ndarray, quality: Quality, settings: Reconstruct
) -> dict[str, str]:
    return {
        "lights": json.dumps(np.round(lights, 6).tolist()),
        "strengths": json.dumps(np.round(strengths, 6).tolist()),
        "shifts": json.dumps(np.round(shifts, 3).tolist()),
        "settings": settings.model_dump_json(),
        "quality": json.dumps(quality.row()),
        "notes": quality.notes,
    }
