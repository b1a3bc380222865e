"""Sparse least squares on a mask's pixels: conjugate gradients with one multigrid V-cycle as preconditioner.

The unknowns are heights of a mask's pixels; each pair of neighbours asks for a rise, with a weight. The matrix of the
normal equations is a weighted graph Laplacian with at most five entries a row. It is never formed: each level works on
the rectangle around the mask, with the weights of the edges to the right and below as pictures. Coarser levels are
blocks of 2x2 pixels, cell-centred, with a Laplacian of the same kind between their middles; corrections come back by
bilinear interpolation over the blocks that there are, and residuals go down by its transpose, so that the cycle is
symmetric. Time and memory grow with the number of pixels.

References: P. Wesseling, An Introduction to Multigrid Methods, Wiley 1992, chapter 5 (cell-centred coarsening);
O. Tatebe, The multigrid preconditioned conjugate gradient method, Copper Mountain Conference 1993.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

DAMPING = 0.8  # of the Jacobi smoother
SWEEPS = 1
COARSEST = 64  # pixels of the coarsest level, which is inverted
ROUND = 1e-4  # of the residual's norm, what is left to the next round
TENT = np.array([1, 3, 3, 1], np.float32) / 4  # the share of a block in the pixels around, along a row or a column
CACHED = 1 << 15  # pixels that are worked on at a time
CHUNK = 1 << 17  # pixels: a matrix is assembled in parts, so that nothing of its size is needed beside it


class Grid:
    """The pixels of a mask (H, W) and who is beside whom.

    Attributes
    ----------
    shape : (H, W). rows, columns : (n,) int32 of the pixels, row by row.
    index : (H + 1, W + 1) int32 pixel at a place, or -1. right, below : (n,) int32 neighbour, or -1.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.shape = mask.shape
        self.rows, self.columns = (axis.astype(np.int32) for axis in np.nonzero(mask))
        self.index = np.full((mask.shape[0] + 1, mask.shape[1] + 1), -1, np.int32)
        self.index[:-1, :-1][mask] = np.arange(len(self.rows), dtype=np.int32)
        self.right = self.index[self.rows, self.columns + 1]
        self.below = self.index[self.rows + 1, self.columns]

    def __len__(self) -> int:
        return len(self.rows)

    def halved(self) -> tuple[Grid, np.ndarray]:
        """The grid of its 2x2 blocks, and the block (n,) of each pixel."""
        rows, columns = self.rows // 2, self.columns // 2
        occupied = np.zeros(((self.shape[0] + 1) // 2, (self.shape[1] + 1) // 2), bool)
        occupied[rows, columns] = True
        coarse = Grid(occupied)
        return coarse, coarse.index[rows, columns]


def laplacian(grid: Grid, right: np.ndarray, below: np.ndarray) -> sp.csr_matrix:
    """The matrix (n, n) of weights (n,) to each pixel's right and below; entries sorted by column."""
    n = len(grid)
    size = n + 2 * (np.count_nonzero(grid.right >= 0) + np.count_nonzero(grid.below >= 0))
    ends, columns, entries = np.zeros(n + 1, np.int32), np.empty(size, np.int32), np.empty(size)
    for first in range(0, n, CHUNK):
        here = slice(first, min(first + CHUNK, n))
        row, column = grid.rows[here], grid.columns[here]
        itself = np.arange(here.start, here.stop, dtype=np.int32)
        # Above and left of the picture, -1 is the last row or column of the index, which is empty.
        above, left = grid.index[row - 1, column], grid.index[row, column - 1]
        beside = np.stack([above, left, itself, grid.right[here], grid.below[here]], axis=1)
        weight = np.stack([below[above], right[left], np.zeros(len(row)), right[here], below[here]], axis=1)
        present = beside >= 0
        weight[~present] = 0
        weight[:, 2] = -weight.sum(axis=1)
        ends[first + 1 : here.stop + 1] = ends[first] + np.cumsum(present.sum(axis=1, dtype=np.int32))
        span = slice(ends[first], ends[here.stop])
        columns[span], entries[span] = beside[present], -weight[present]
    return sp.csr_matrix((entries, columns, ends), shape=(n, n))


class Level:
    """A grid's pixels in their rectangle (h, w), both even, with the weights of its edges in float32.

    Attributes
    ----------
    right, below : (h, w) weight of the edge to the next pixel, 0 where there is none.
    inverse : (h, w) damping over the diagonal, 0 off the grid. norm : (h, w) what interpolation is divided by, as 1/x.
    """

    def __init__(self, right: np.ndarray, below: np.ndarray) -> None:
        self.right, self.below = right, below
        self.shape = right.shape
        diagonal = right + below
        diagonal[:, 1:] += right[:, :-1]
        diagonal[1:] += below[:-1]
        self.inverse = np.divide(np.float32(DAMPING), diagonal, out=diagonal, where=diagonal > 0)
        self.norm = np.zeros(0, np.float32)

    def coarser(self) -> Level:
        """The level of its 2x2 blocks. A block's edge is twice as long as a pixel's and carries half their weight."""
        half = self.shape[0] // 2
        right = self.right[:, 1::2].reshape(half, 2, -1).sum(axis=1) / 2
        below = self.below[1::2].reshape(half, -1, 2).sum(axis=2) / 2
        coarse = Level(_even(right), _even(below))
        known = self.lifted(coarse.inverse > 0)
        self.norm = np.divide(1, known, out=np.zeros_like(known), where=(self.inverse > 0) & (known > 0))
        return coarse

    def lifted(self, coarse: np.ndarray) -> np.ndarray:
        """(h, w) float32 of blocks, bilinear between their middles."""
        height, width = self.shape
        inside = coarse[: height // 2, : width // 2].astype(np.float32)
        return cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)

    def lowered(self, values: np.ndarray, coarse: Level) -> np.ndarray:
        """The transpose of :meth:`lifted`."""
        height, width = self.shape
        out = np.zeros(coarse.shape, np.float32)
        spread = cv2.sepFilter2D(values, -1, TENT, TENT, anchor=(1, 1), borderType=cv2.BORDER_REPLICATE)
        out[: height // 2, : width // 2] = spread[::2, ::2]
        return out

    def image(self, x: np.ndarray, out: np.ndarray) -> np.ndarray:
        """The Laplacian of x (h, w), of the type of x, into ``out``."""
        for here in self._blocks():
            self._image(x.ravel(), out.ravel(), here)
        return out

    def left(self, x: np.ndarray, residual: np.ndarray, out: np.ndarray) -> np.ndarray:
        """``residual - A x`` into ``out``."""
        flat, wanted, to = x.ravel(), residual.ravel(), out.ravel()
        for here in self._blocks():
            self._image(flat, to, here)
            np.subtract(wanted[here], to[here], out=to[here])
        return out

    def smoothed(self, x: np.ndarray, residual: np.ndarray, out: np.ndarray) -> np.ndarray:
        """One sweep of damped Jacobi from x into ``out``."""
        flat, wanted, inverse, to = x.ravel(), residual.ravel(), self.inverse.ravel(), out.ravel()
        for here in self._blocks():
            self._image(flat, to, here)
            np.subtract(wanted[here], to[here], out=to[here])
            to[here] *= inverse[here]
            to[here] += flat[here]
        return out

    def _blocks(self) -> Iterator[slice]:
        """Parts of the pixels, row by row, that a cache holds."""
        size = self.shape[0] * self.shape[1]
        return (slice(first, min(first + CACHED, size)) for first in range(0, size, CACHED))

    def _image(self, x: np.ndarray, out: np.ndarray, here: slice) -> None:
        """The part ``here`` of the Laplacian of x, both (h w,): each edge's weighted rise, taken and given."""
        first, last = here.start, here.stop
        out[here] = 0
        for step, weight in ((1, self.right.ravel()), (self.shape[1], self.below.ravel())):
            begin, end = max(first - step, 0), min(last, len(x) - step)
            rise = x[begin + step : end + step] - x[begin:end]
            rise *= weight[begin:end]
            out[first:end] -= rise[first - begin :]
            out[begin + step : last] += rise[: max(last - begin - step, 0)]


class Multigrid:
    """One symmetric V-cycle for a grid's Laplacian; called with a residual in the grid's rectangle, gives a correction.

    The weights (n,) are those of the edges to each pixel's right and below; where there is no edge they do not matter.
    """

    def __init__(self, grid: Grid, right: np.ndarray, below: np.ndarray) -> None:
        box = (slice(int(axis.min()), int(axis.max()) + 1) for axis in (grid.rows, grid.columns))
        self.mask = _even(grid.index[tuple(box)] >= 0)
        self.levels = [Level(*(self._weights(*edges) for edges in ((right, grid.right), (below, grid.below))))]
        while self.levels[-1].inverse.size > COARSEST:
            self.levels.append(self.levels[-1].coarser())
        self.inverse = np.linalg.pinv(_dense(self.levels[-1]), hermitian=True).astype(np.float32)

    def __call__(self, residual: np.ndarray, at: int = 0) -> np.ndarray:
        level = self.levels[at]
        if at == len(self.levels) - 1:
            return (self.inverse @ residual.ravel()).reshape(level.shape)
        x = level.inverse * residual
        other = np.empty_like(x)
        for _ in range(SWEEPS - 1):
            x, other = level.smoothed(x, residual, other), x
        level.left(x, residual, other)
        other *= level.norm
        correction = level.lifted(self(level.lowered(other, self.levels[at + 1]), at + 1))
        correction *= level.norm
        x += correction
        del correction
        for _ in range(SWEEPS):
            x, other = level.smoothed(x, residual, other), x
        return x

    def placed(self, values: np.ndarray) -> np.ndarray:
        """(h, w) float32 of values (n,), zero off the grid."""
        out = np.zeros(self.mask.shape, np.float32)
        out[self.mask] = values
        return out

    def _weights(self, weight: np.ndarray, there: np.ndarray) -> np.ndarray:
        return self.placed(np.where(there >= 0, weight, 0))


def _even(values: np.ndarray) -> np.ndarray:
    """Values (h, w) with a row or a column of zeros more where their number is odd."""
    return np.pad(values, [(0, side % 2) for side in values.shape])


def _dense(level: Level) -> np.ndarray:
    """The Laplacian (h w, h w) of a small level."""
    each = np.eye(level.right.size)
    return np.stack([level.image(one.reshape(level.shape), np.empty(level.shape)).ravel() for one in each])


def conjugate_gradients(
    cycle: Multigrid, residual: np.ndarray, heights: np.ndarray, *, goal: float, iterations: int
) -> bool:
    """Improve heights (n,) and their residual (n,), both in place, until its norm is at most goal; whether it is.

    Rounds of float32: each solves for what the last one left, which is worked out in double precision.
    """
    size = np.sqrt(residual @ residual)
    while size > goal and iterations > 0:
        change, taken = _round(cycle, cycle.placed(residual), goal=max(0.9 * goal, ROUND * size), iterations=iterations)
        iterations -= taken
        heights += change[cycle.mask]
        residual -= cycle.levels[0].image(change.astype(float), np.empty(change.shape))[cycle.mask]
        previous, size = size, np.sqrt(residual @ residual)
        if size > 0.5 * previous:
            return bool(size <= goal)
    return bool(size <= goal)


def _round(cycle: Multigrid, left: np.ndarray, *, goal: float, iterations: int) -> tuple[np.ndarray, int]:
    """Heights (h, w) that leave of ``left`` a norm of ``goal``, and the iterations taken; ``left`` is overwritten."""
    x, image = np.zeros_like(left), np.empty_like(left)
    search = cycle(left)
    product = _dot(left, search)
    for taken in range(1, iterations + 1):  # noqa: B007 (how many there were is returned)
        curvature = _dot(search, cycle.levels[0].image(search, image))
        if curvature <= 0:
            break
        step = np.float32(product / curvature)
        image *= step
        left -= image
        x += np.multiply(search, step, out=image)
        if np.sqrt(_dot(left, left)) <= goal:
            break
        better = cycle(left)
        previous, product = product, _dot(left, better)
        search *= np.float32(product / previous)
        search += better
        del better
    return x, taken


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.vdot(one, other))


def direct(matrix: sp.csr_matrix, target: np.ndarray) -> np.ndarray:
    """The same heights by a sparse factorisation, for masks so ragged that the multigrid does not converge."""
    n = len(target)
    pinned = (matrix + 1e-9 * sp.identity(n)).tocsc()  # one free height a part: the smallest of them is taken
    factor = scipy.sparse.linalg.splu(
        pinned, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    heights: np.ndarray = factor.solve(target)
    return heights
