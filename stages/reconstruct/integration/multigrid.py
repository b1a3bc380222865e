"""Sparse least squares on a mask's pixels: conjugate gradients with one multigrid V-cycle as preconditioner.

The unknowns are heights of a mask's pixels; each pair of neighbours asks for a rise, with a weight. The matrix of the
normal equations is a weighted graph Laplacian with at most five entries a row. Coarser levels are blocks of 2x2 pixels,
on which it is a Laplacian of the same kind, so that time and memory grow with the number of pixels.

Reference: D. Braess, Towards algebraic multigrid for elliptic problems of second order, Computing 55, 1995,
doi:10.1007/BF02238488 (aggregation with over-correction).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

OVERCORRECTION = 1.8  # Braess 1995: piecewise constant blocks underestimate smooth corrections
DAMPING = 0.7  # of the Jacobi smoother
SWEEPS = 2
COARSEST = 200
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


class Multigrid:
    """One symmetric V-cycle for a grid's Laplacian; called with a residual (n,), gives a correction (n,)."""

    def __init__(self, grid: Grid, right: np.ndarray, below: np.ndarray) -> None:
        self.matrix = matrix = laplacian(grid, right, below)
        self.levels: list[tuple[sp.csr_matrix, np.ndarray, np.ndarray, int]] = []
        while matrix.shape[0] > COARSEST:
            coarse, block = grid.halved()
            if len(coarse) == len(grid):
                break
            diagonal = matrix.diagonal()
            inverse = np.divide(DAMPING, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
            self.levels.append((matrix, inverse, block, len(coarse)))
            right, below = (
                _crossing(there, weight, block) for there, weight in ((grid.right, right), (grid.below, below))
            )
            grid, matrix = coarse, laplacian(coarse, right, below)
        self.inverse = np.linalg.pinv(matrix.toarray(), hermitian=True) if matrix.shape[0] <= 4 * COARSEST else None

    def __call__(self, residual: np.ndarray, level: int = 0) -> np.ndarray:
        if level == len(self.levels):
            # Blocks that touch no other block have nothing left to correct, however many of them there are.
            return self.inverse @ residual if self.inverse is not None else np.zeros_like(residual)
        matrix, inverse, block, count = self.levels[level]
        correction = inverse * residual
        for _ in range(SWEEPS - 1):
            _smooth(matrix, inverse, residual, correction)
        left = matrix @ correction
        coarse = np.bincount(block, np.subtract(residual, left, out=left), count)
        del left
        lifted = self(coarse, level + 1)
        lifted *= OVERCORRECTION
        correction += lifted[block]
        for _ in range(SWEEPS):
            _smooth(matrix, inverse, residual, correction)
        return correction


def _crossing(there: np.ndarray, weight: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Summed weights (blocks,) of the edges that leave each block to the right, or below."""
    has = np.flatnonzero(there >= 0)
    has = has[block[has] != block[there[has]]]
    return np.bincount(block[has], weight[has], int(block.max()) + 1)


def _smooth(matrix: sp.csr_matrix, inverse: np.ndarray, residual: np.ndarray, correction: np.ndarray) -> None:
    """One sweep of damped Jacobi, in place."""
    left = matrix @ correction
    np.subtract(residual, left, out=left)
    left *= inverse
    correction += left


def conjugate_gradients(
    cycle: Multigrid, residual: np.ndarray, heights: np.ndarray, *, goal: float, iterations: int
) -> bool:
    """Improve heights (n,) and their residual (n,), both in place, until its norm is at most goal; whether it is."""
    if np.sqrt(residual @ residual) <= goal:
        return True
    search = cycle(residual)
    product = residual @ search
    for _ in range(iterations):
        image = cycle.matrix @ search
        curvature = search @ image
        if curvature <= 0:
            return False
        step = product / curvature
        heights += step * search
        image *= step
        residual -= image
        del image
        if np.sqrt(residual @ residual) <= goal:
            return True
        preconditioned = cycle(residual)
        previous, product = product, residual @ preconditioned
        search *= product / previous
        search += preconditioned
    return False


def direct(matrix: sp.csr_matrix, target: np.ndarray) -> np.ndarray:
    """The same heights by a sparse factorisation, for masks so ragged that the multigrid does not converge."""
    n = len(target)
    pinned = (matrix + 1e-9 * sp.identity(n)).tocsc()  # one free height a part: the smallest of them is taken
    factor = scipy.sparse.linalg.splu(
        pinned, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    heights: np.ndarray = factor.solve(target)
    return heights
