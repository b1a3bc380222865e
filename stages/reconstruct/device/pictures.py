"""What looks around a pixel, on tensors: rows of moved frames, cast shadows, means under a Gaussian.

Each is the twin of what OpenCV does for numpy. Nothing here is one of torch's convolutions: GPUs may compute those with
ten bits of precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stages.reconstruct.shadows import FAR, SOFT, nearest
from stages.reconstruct.stack import MIXED, Stack

CUBIC = -0.75  # the slope at 1 of the bicubic kernel that OpenCV has
LOWEST = -50.0  # px: how far below a ray says no more


class Frames:
    """A stack's frames on a device, in the numbers that they are stored in."""

    def __init__(self, stack: Stack, device: torch.device) -> None:
        self.frames = torch.from_numpy(np.ascontiguousarray(stack.frames)).to(device)
        self.ambient = None if stack.ambient is None else torch.from_numpy(stack.ambient).to(device)
        self.clipped = None if stack.clipped is None else stack.clipped_as_taken
        self.white = 1.0 if stack.frames.dtype.kind == "f" else float(np.iinfo(stack.frames.dtype).max)
        self.shifts = stack.shifts

    def pair(self, at: int, rows: slice, saturation: float) -> tuple[Tensor, Tensor]:
        """(n, W) float32 rows of what the flash alone gave, moved, and bool where they are saturated as taken."""
        taken = self._moved(at, rows, partial(self._still, ambient=None))
        flash = taken if self.ambient is None else self._moved(at, rows, partial(self._still, ambient=self.ambient))
        saturated = taken >= saturation
        if self.clipped is not None:
            saturated |= self._moved(at, rows, self._clipped) >= MIXED
        return (flash.clamp(min=0) if self.shifts.any() else flash), saturated

    def _moved(self, at: int, rows: slice, still: Callable[[int, slice], Tensor]) -> Tensor:
        """Rows at p + shift of what is ``still``, bicubic, the border replicated."""
        if not self.shifts.any():
            return still(at, rows)
        height, width = self.frames.shape[1:]
        right, down = (float(shift) for shift in self.shifts[at])
        first = min(max(rows.start + math.floor(down) - 1, 0), height - 1)
        last = min(max(rows.stop + math.floor(down) + 2, first + 1), height)
        image = still(at, slice(first, last))
        image = _interpolated(image, 0, rows.start - first + down, rows.stop - rows.start)
        return _interpolated(image, 1, right, width)

    def _still(self, at: int, rows: slice, ambient: Tensor | None) -> Tensor:
        image = self.frames[at, rows].float() / self.white
        return image if ambient is None else (image - ambient[rows]).clamp(min=0)

    def _clipped(self, at: int, rows: slice) -> Tensor:
        assert self.clipped is not None
        return torch.from_numpy(self.clipped(at, rows)).to(self.frames.device).float()


def _interpolated(image: Tensor, axis: int, shift: float, count: int) -> Tensor:
    """The image at 0..count, moved along an axis, from the four places around each; those outside are its border's."""
    places = torch.arange(count, device=image.device) + math.floor(shift)
    taps = ((places + step).clamp(0, image.shape[axis] - 1) for step in (-1, 0, 1, 2))
    parts = [weight * image.index_select(axis, tap) for weight, tap in zip(_cubic(shift), taps, strict=True)]
    return torch.stack(parts).sum(0)


def _cubic(shift: float) -> list[float]:
    """The weights of those four places (Keys 1981, doi:10.1109/TASSP.1981.1163711)."""
    t = shift - math.floor(shift)
    outer = [CUBIC * x * (1 - x) ** 2 for x in (t, 1 - t)]
    inner = [(CUBIC + 2) * x**3 - (CUBIC + 3) * x**2 + 1 for x in (t, 1 - t)]
    return [outer[0], inner[0], inner[1], outer[1]]


def visible(depth: Tensor, light: np.ndarray, size: float) -> Tensor:
    """(H, W) in [0, 1], how far a flash towards ``light`` (3,) reaches the surface: twin of `shadows.visible`."""
    (height, width), (x, y, z) = depth.shape, light.tolist()
    flat = math.hypot(x, y)
    if flat < 1e-3 * z:
        return torch.ones_like(depth)
    across, down = -x / flat, y / flat  # in the picture, away from the flash
    side = math.ceil(math.hypot(height, width)) + 2
    turn = np.array([[across, -down], [down, across]])
    middle, centre = np.full(2, (side - 1) / 2), np.array([width - 1, height - 1]) / 2
    rise = torch.arange(side, device=depth.device) * (z / flat)
    along = _turned(depth, turn, centre - turn @ middle, (side, side)) + rise
    above = torch.full_like(along, LOWEST)
    near = nearest(size)
    above[:, near:] = (torch.cummax(along, 1).values[:, :-near] - along[:, near:]).clamp(LOWEST, FAR)
    into = (_turned(above, turn.T, middle - turn.T @ centre, (height, width)) / (SOFT * size)).clamp(0, 1)
    return 1 - into * into * (3 - 2 * into)


def _turned(image: Tensor, turn: np.ndarray, offset: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """(h, w) the image at ``turn @ (column, row) + offset`` of each pixel, bilinear, the border replicated."""
    rows, columns = (torch.arange(count, device=image.device).float() for count in shape)
    x, y = (
        across * columns + (down * rows + start)[:, None]
        for (across, down), start in zip(turn.tolist(), offset.tolist(), strict=True)
    )
    left, top = x.floor(), y.floor()
    (upper, lower), (first, second) = (
        [(place.long() + step).clamp(0, size - 1) for step in (0, 1)]
        for place, size in zip((top, left), image.shape, strict=True)
    )
    across, below = x - left, y - top
    above = torch.lerp(image[upper, first], image[upper, second], across)
    return torch.lerp(above, torch.lerp(image[lower, first], image[lower, second], across), below)


def smoothed(values: Tensor, say: Tensor, at: Tensor, shape: tuple[int, int], size: float) -> Tensor:
    """(c, P) means of values (c, P) of the pixels ``at`` (P,) of a picture under a Gaussian, weighted by say (P,)."""
    height, width = shape
    images = say.new_zeros(len(values) + 1, height * width)
    images[:, at] = torch.cat([say[None], values * say])
    down, across = (torch.from_numpy(_gaussian(n, size)).to(say.device) for n in shape)
    weight, *means = (down @ images.view(-1, height, width) @ across.T).view(-1, height * width)[:, at]
    return torch.stack(means) / weight


def _gaussian(count: int, size: float) -> np.ndarray:
    """(n, n) float32 matrix of a Gaussian of ``size`` px over a line, mirrored at its ends, as OpenCV cuts it off."""
    reach = (round(8 * size + 1) | 1) // 2
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * size**2))
    kernel /= kernel.sum()
    matrix, places, period = np.zeros((count, count)), np.arange(count), max(2 * (count - 1), 1)
    for step, share in zip(range(-reach, reach + 1), kernel, strict=True):
        place = (places + step) % period
        matrix[places, np.minimum(place, period - place)] += share
    return matrix.astype(np.float32)
