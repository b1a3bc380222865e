"""Smooth depth of normals on a device: the conjugate gradients and the V-cycle of `integration.multigrid`, on tensors.

Rounds of a fixed number of iterations in float32, each on the residual of the last in double precision, so that the
device is asked once a round whether it is done. Constants, equations and sources are those of
:mod:`stages.reconstruct.integration`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stages.reconstruct.integration import integrate as integrate_by_numpy
from stages.reconstruct.integration.edges import focal
from stages.reconstruct.integration.multigrid import COARSEST, DAMPING
from stages.reconstruct.integration.solving import ITERATIONS, TOLERANCE
from stages.reconstruct.masking import box_of

ROUND = 10  # iterations before the device is asked how far it has come


def integrate(normal: Tensor, mask: np.ndarray, *, floor: float, intrinsics: np.ndarray | None = None) -> Tensor:
    """(H, W) depth of normals (H, W, 3) inside a mask: what `integration.integrate` calls smooth, with its units."""
    box = box_of(mask)
    inside = torch.from_numpy(mask[box]).to(normal.device)
    if intrinsics is None:
        right, below = _chords(normal[box], floor)
    else:
        right, below = _slopes(normal[box], floor, intrinsics, (box[0].start, box[1].start))
    heights = _heights(inside, right, below)
    if heights is None:  # so ragged that the multigrid does not converge
        found = integrate_by_numpy(normal.cpu().numpy(), mask, floor=floor, intrinsics=intrinsics)
        return torch.from_numpy(found).to(normal.device)
    heights = _centred(heights, inside, mask[box])
    if intrinsics is not None:
        heights = -focal(intrinsics) * torch.expm1(-heights / focal(intrinsics))
    depth = normal.new_zeros(mask.shape)
    depth[box] = heights.float()
    return depth


def _chords(normal: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Rises to the right (h, w - 1) and below (h - 1, w), as `edges.edges_of`."""
    nx, ny, nz = normal.unbind(-1)
    nz = nz.clamp(min=floor)
    return -(nx[:, 1:] + nx[:, :-1]) / (nz[:, 1:] + nz[:, :-1]), (ny[1:] + ny[:-1]) / (nz[1:] + nz[:-1])


def _slopes(normal: Tensor, floor: float, intrinsics: np.ndarray, corner: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The same through a pinhole, as `edges.slopes_of`; corner (row, column) of the normals in the picture."""
    nx, ny, nz = normal.unbind(-1)
    (fx, _, cx), (_, fy, cy) = intrinsics[:2].tolist()
    down, right = (torch.arange(n, device=nz.device) + at for n, at in zip(nz.shape, corner, strict=True))
    nz = (nz - nx * ((right - cx) / fx) + ny * ((down - cy) / fy)[:, None]).clamp(min=floor)
    across, upwards = -nx * (focal(intrinsics) / fx) / nz, ny * (focal(intrinsics) / fy) / nz
    return 0.5 * (across[:, 1:] + across[:, :-1]), 0.5 * (upwards[1:] + upwards[:-1])


def _centred(heights: Tensor, inside: Tensor, mask: np.ndarray) -> Tensor:
    """Heights (h, w) with zero mean in each 4-connected part of the mask, zero outside."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    part = torch.from_numpy(labels.ravel().astype(np.int64)).to(heights.device)
    sums, sizes = heights.new_zeros(2, count)
    sums.index_add_(0, part, heights.ravel())
    sizes.index_add_(0, part, torch.ones_like(heights).ravel())
    return torch.where(inside, heights - (sums / sizes.clamp(min=1))[part].view_as(heights), 0)


def _heights(inside: Tensor, right: Tensor, below: Tensor) -> Tensor | None:
    """(h, w) float64 least-squares heights of the rises between pixels inside; none where they are not reached."""
    across, down = inside[:, 1:] & inside[:, :-1], inside[1:] & inside[:-1]
    even = [side + side % 2 for side in inside.shape]
    weights = _padded(across.float(), even), _padded(down.float(), even)
    residual = _pull(_padded(torch.where(across, right, 0), even), _padded(torch.where(down, below, 0), even))
    levels = _levels(*weights)
    heights = torch.zeros_like(residual)
    goal = TOLERANCE * torch.linalg.vector_norm(residual)
    for _ in range(ITERATIONS // ROUND):
        change = _round(levels, residual.float()).double()
        heights += change
        residual -= levels[0].image(change)
        if torch.linalg.vector_norm(residual) <= goal:
            return heights[: inside.shape[0], : inside.shape[1]]
    return None


def _padded(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Values (h, w) with zeros to the right and below up to a shape."""
    return functional.pad(values, (0, shape[1] - values.shape[1], 0, shape[0] - values.shape[0]))


def _pull(right: Tensor, below: Tensor) -> Tensor:
    """(h, w) float64 right side of the normal equations: the rises (h, w) that come in, less those that go out."""
    right, below = right.double()[:, :-1], below.double()[:-1]
    return _divergence(right, below)


def _divergence(right: Tensor, below: Tensor) -> Tensor:
    pad = functional.pad
    return pad(right, (1, 0)) - pad(right, (0, 1)) + pad(below, (0, 0, 1, 0)) - pad(below, (0, 0, 0, 1))


class _Level:
    """Weights (h, w) of the edges to each pixel's right and below, as `multigrid.Level`; both sides even."""

    def __init__(self, right: Tensor, below: Tensor) -> None:
        self.right, self.below = right, below
        diagonal = right + below + functional.pad(right, (1, -1)) + functional.pad(below, (0, 0, 1, -1))
        self.inverse = torch.where(diagonal > 0, DAMPING / diagonal, 0)
        self.norm = self.inverse

    def coarser(self) -> _Level:
        """The level of its 2x2 blocks."""
        right = (self.right[::2, 1::2] + self.right[1::2, 1::2]) / 2
        below = (self.below[1::2, ::2] + self.below[1::2, 1::2]) / 2
        even = [side + side % 2 for side in right.shape]
        coarse = _Level(_padded(right, even), _padded(below, even))
        known = self.lifted((coarse.inverse > 0).float())
        self.norm = torch.where((self.inverse > 0) & (known > 0), 1 / known, 0)
        return coarse

    def image(self, x: Tensor) -> Tensor:
        """The Laplacian of x (..., h, w)."""
        right = self.right[:, :-1] * (x[..., 1:] - x[..., :-1])
        return _divergence(right, self.below[:-1] * (x[..., 1:, :] - x[..., :-1, :]))

    def lifted(self, coarse: Tensor) -> Tensor:
        """(h, w) of blocks, bilinear between their middles."""
        height, width = self.right.shape
        inside = coarse[None, None, : height // 2, : width // 2]
        return functional.interpolate(inside, (height, width), mode="bilinear", align_corners=False)[0, 0]

    def lowered(self, values: Tensor, coarse: _Level) -> Tensor:
        """The transpose of :meth:`lifted`."""
        for _ in range(2):  # rows, then columns
            spread = functional.pad(values[None, None], (0, 0, 1, 1), mode="replicate")[0, 0]
            inner, outer = spread[1:-2:2] + spread[2:-1:2], spread[:-3:2] + spread[3::2]
            values = (0.75 * inner + 0.25 * outer).T
        return _padded(values, coarse.right.shape)


def _levels(right: Tensor, below: Tensor) -> list[_Level]:
    """From fine to coarse; `norm` of the coarsest is the inverse of its Laplacian."""
    levels = [_Level(right, below)]
    while levels[-1].right.numel() > COARSEST:
        levels.append(levels[-1].coarser())
    last = levels[-1]
    count = last.right.numel()
    each = torch.eye(count, device=right.device).view(count, *last.right.shape)
    last.norm = torch.linalg.pinv(last.image(each).view(count, count), hermitian=True)
    return levels


def _cycle(levels: list[_Level], residual: Tensor) -> Tensor:
    """One symmetric V-cycle: the correction (h, w) of a residual (h, w)."""
    level, *rest = levels
    if not rest:
        return (level.norm @ residual.flatten()).view_as(residual)
    x = level.inverse * residual
    left = level.norm * (residual - level.image(x))
    x = x + level.norm * level.lifted(_cycle(rest, level.lowered(left, rest[0])))
    return x + level.inverse * (residual - level.image(x))


def _round(levels: list[_Level], left: Tensor) -> Tensor:
    """Heights (h, w) after `ROUND` iterations for a residual (h, w); where nothing is left, nothing changes."""
    x, search, product = torch.zeros_like(left), torch.zeros_like(left), left.new_zeros(())
    for _ in range(ROUND):
        better = _cycle(levels, left)
        previous, product = product, (left * better).sum()
        search = better + _ratio(product, previous) * search
        image = levels[0].image(search)
        step = _ratio(product, (search * image).sum())
        x, left = x + step * search, left - step * image
    return x


def _ratio(one: Tensor, other: Tensor) -> Tensor:
    return torch.where(other > 0, one / other, 0)
