"""The pixels of a session solved on a device, some rows at a time; what is kept of them comes back at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import PsfaceError
from stages.reconstruct.device.integration import integrate
from stages.reconstruct.device.pictures import Frames, smoothed, visible
from stages.reconstruct.device.solvers import Around, Pixels, Solved, marching, split, thresholding, weighted
from stages.reconstruct.fitting import SOME, Fit, Task
from stages.reconstruct.shadows import FAR, RELIEF, extent
from stages.reconstruct.solvers import Method
from stages.reconstruct.solvers.linear import rows_of
from stages.reconstruct.solvers.marching import LEAST_SAY, SHAPE, TONE, likeness

STRIP = 1 << 24  # samples that are worked on at a time: a solver holds about 20 numbers for each


class Found(NamedTuple):
    """Of the mask's pixels: normal (3, P); albedo, confidence, visibility (P,); some samples (k, n); sums (5,)."""

    normal: Tensor
    albedo: Tensor
    confidence: Tensor
    visibility: Tensor
    some: Tensor
    sums: Tensor


def fitted(task: Task, method: Method, *, device: torch.device) -> Fit:
    """What :func:`stages.reconstruct.fitting.fitted` gives, worked out on a device."""
    with _working(device):
        frames = Frames(task.stack, device)
        found = _found(task, frames, "weighted" if method == "marching" else method, None)
        if method == "marching":
            found = _found(task, frames, method, _surroundings(task, found))
        lost, power, *counts = found.sums.tolist()
        normal, *others, some = (one.cpu().numpy() for one in found[:-1])
    fit = Fit(np.zeros((*task.mask.shape, 3), np.float32), *np.zeros((3, *task.mask.shape), np.float32))
    fit.normal[task.mask], fit.some, fit.lost, fit.power = normal.T, some, lost, power
    for picture, values in zip((fit.albedo, fit.confidence, fit.visibility), others, strict=True):
        picture[task.mask] = values
    pixels = normal.shape[1]
    samples = len(task.stack) * pixels
    fit.shadowed, fit.saturated, fit.measured = np.divide(counts, [samples, samples, pixels]).tolist()
    return fit


def integrated(
    normal: np.ndarray, *, mask: np.ndarray, floor: float, intrinsics: np.ndarray | None, device: torch.device
) -> np.ndarray:
    """(H, W) smooth depth of normals (H, W, 3), as :func:`stages.reconstruct.integration.integrate`."""
    with _working(device):
        depth = integrate(torch.from_numpy(normal).to(device), mask, floor=floor, intrinsics=intrinsics)
        found: np.ndarray = depth.cpu().numpy()
    return found


@contextmanager
def _working(device: torch.device) -> Iterator[None]:
    """Products of full precision (images of containers for GPUs may ask for ten bits), and a word where memory ends."""
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise PsfaceError(
            f"device `{device}`: not enough memory for pictures of this size; try `--device cpu`"
        ) from error


def _found(task: Task, frames: Frames, method: Method, around: Around | None) -> Found:
    height, width = task.mask.shape
    every = max(1, -(-int(np.count_nonzero(task.mask)) // SOME))
    step, seen, parts = max(1, STRIP // (len(task.stack) * width)), 0, []
    for first in range(0, height, step):
        rows = slice(first, min(first + step, height))
        at = np.flatnonzero(task.mask[rows])
        if not len(at):
            continue
        pixels = _pixels(task, frames, rows, at)
        here = None if around is None else Around(*(one[..., seen : seen + len(at)] for one in around))
        solved = _solved(task, pixels, method, here)
        some = pixels.relative[:, -seen % every :: every]
        parts.append((*split(solved.scaled), solved.confidence, solved.lit.mean(0), some, _sums(pixels, solved)))
        seen += len(at)
    *maps, sums = zip(*parts, strict=True)
    normal, albedo, confidence, visibility, kept = (torch.cat(part, dim=-1) for part in maps)
    return Found(normal, albedo, confidence, visibility, kept, torch.stack(sums).sum(0))


def _pixels(task: Task, frames: Frames, rows: slice, at: np.ndarray) -> Pixels:
    """The pixels with indices (n,) in some rows."""
    lights = task.lights if task.lights_at is None else task.lights_at(rows, at)
    device = frames.frames.device
    index = torch.from_numpy(at).to(device)
    samples = torch.empty(len(lights), len(at), device=device)
    saturated = torch.empty(len(lights), len(at), dtype=torch.bool, device=device)
    for i in range(len(lights)):
        flash, top = frames.pair(i, rows, task.settings.saturation)
        samples[i], saturated[i] = flash.flatten()[index], top.flatten()[index]
    directions = lights if lights.ndim == 2 else lights.mean(axis=2)
    each = (rows_of(lights, task.strengths), task.strengths, directions)
    return Pixels(samples, saturated, *(torch.from_numpy(one.astype(np.float32)).to(device) for one in each))


def _solved(task: Task, pixels: Pixels, method: Method, around: Around | None) -> Solved:
    shadow = task.settings.shadow
    if method == "thresholding":
        return thresholding(pixels, shadow=shadow)
    first = weighted(pixels, shadow=shadow, shadow_weight=task.settings.shadow_weight)
    return first if around is None else marching(pixels, first, around)


def _sums(pixels: Pixels, solved: Solved) -> Tensor:
    """(5,) float64 sums: squares that are left, squares, shadowed and saturated samples, pixels that are measured."""
    lost = (solved.weights * solved.residual.square()).sum()
    power = (solved.weights * pixels.samples.square()).sum()
    measured = (~pixels.saturated).sum(0) >= 3
    counts = (one.sum() for one in (solved.shadowed, pixels.saturated, measured))
    return torch.stack([one.double() for one in (lost, power, *counts)])


def _surroundings(task: Task, found: Found) -> Around:
    """Twin of :func:`stages.reconstruct.solvers.surroundings`."""
    mask, floor = task.mask, task.settings.slope_floor
    at = torch.from_numpy(np.flatnonzero(mask)).to(found.normal.device)
    normal = found.normal.new_zeros(mask.size, 3)
    normal[at] = found.normal.T
    depth = integrate(normal.view(*mask.shape, 3), mask, floor=floor)
    size = extent(mask)
    high = (RELIEF * depth.min().clamp(max=0) - FAR).expand(mask.shape).clone()
    high.view(-1)[at] = RELIEF * depth.flatten()[at]
    lit = torch.stack([visible(high, light, size).flatten()[at] for light in task.lights])
    say = found.confidence + LEAST_SAY
    smooth = smoothed(found.normal, say, at, mask.shape, SHAPE * size)
    tone = smoothed(found.albedo[None], say, at, mask.shape, TONE * size)[0].clamp(min=1e-6)
    known = likeness(found.normal.cpu().numpy(), found.confidence.cpu().numpy(), mask)
    face, likely = (torch.from_numpy(one).to(tone) for one in known)
    return Around(lit, smooth / (torch.linalg.vector_norm(smooth, dim=0) + 1e-9), tone, face, likely)
