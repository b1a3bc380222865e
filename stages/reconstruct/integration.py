"""Depth from normals: masked least squares on the graph of neighbouring pixels, orthographic.

Between two neighbours i and j the surface rises by ``-(n_x,i + n_x,j) / (n_z,i + n_z,j)`` to the right and by
``(n_y,i + n_y,j) / (n_z,i + n_z,j)`` one row down: the chord of a circle is at right angles to the sum of the normals
at its ends, so that planes and spheres come back exactly. The squared misfits of all such edges inside the mask are
summed and minimised; nothing outside is needed, and holes and several parts are no special case. The normal equations
(a graph Laplacian) are solved by conjugate gradients, preconditioned by one multigrid V-cycle over blocks of 2x2
pixels; its cost grows with the number of pixels. Smooth on purpose: on faces, discontinuity-preserving integration
tears at nostrils.

    row r    i --- j          depth z: towards the camera (pixels)
             |                z[j] - z[i] = -(nx_i + nx_j) / (nz_i + nz_j)
    row r+1  k                z[k] - z[i] = +(ny_i + ny_k) / (nz_i + nz_k)     since y runs up and rows run down

References: B. K. P. Horn and M. J. Brooks, The variational approach to shape from shading, CVGIP 33(2), 1986,
doi:10.1016/0734-189X(86)90114-3. D. Braess, Towards algebraic multigrid for elliptic problems of second order,
Computing 55, 1995, doi:10.1007/BF02238488 (aggregation with over-correction).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

OVERCORRECTION = 1.8  # Braess 1995: piecewise constant blocks underestimate smooth corrections
DAMPING = 0.7  # of the Jacobi smoother
SWEEPS = 2
COARSEST = 200
TOLERANCE = 1e-7  # of the residual's norm
ITERATIONS = 150


@dataclass(frozen=True, eq=False)
class Edges:
    """Neighbouring pixels of a mask: from and to (E,) as indices into the mask's pixels, rise (E,) in pixels."""

    start: np.ndarray
    end: np.ndarray
    rise: np.ndarray


def edges_of(normal: np.ndarray, mask: np.ndarray, *, floor: float) -> Edges:
    """The edges inside a mask (H, W) and the rise along each that normals (H, W, 3) ask for; n_z at least floor."""
    index = np.full(mask.shape, -1, np.int32)
    index[mask] = np.arange(np.count_nonzero(mask), dtype=np.int32)
    nx, ny, nz = normal[..., 0], normal[..., 1], np.maximum(normal[..., 2], floor)
    across, down = mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1]
    right = -((nx[:, 1:] + nx[:, :-1])[across] / (nz[:, 1:] + nz[:, :-1])[across])
    below = (ny[1:] + ny[:-1])[down] / (nz[1:] + nz[:-1])[down]
    return Edges(
        np.concatenate([index[:, :-1][across], index[:-1][down]]),
        np.concatenate([index[:, 1:][across], index[1:][down]]),
        np.concatenate([right, below]).astype(np.float64),
    )


def integrate(normal: np.ndarray, mask: np.ndarray, *, floor: float = 0.05) -> np.ndarray:
    """Depth of a normal map.

    Parameters
    ----------
    normal : (H, W, 3) unit, camera frame (x right, y up, z to the camera); values outside the mask do not matter.
    mask : (H, W) bool.
    floor : least n_z: bounds the slope at silhouettes to about 1 / floor.

    Returns
    -------
    (H, W) float32 in pixels, towards the camera, zero outside the mask; each 4-connected part of the mask has zero
    mean, since nothing ties the height of one part to another's.

    Raises
    ------
    ValueError : shapes that do not fit, or normals inside the mask that are not finite.
    """
    if normal.shape != (*mask.shape, 3):
        raise ValueError(f"expected normals {(*mask.shape, 3)} for the mask {mask.shape}, got {normal.shape}")
    if not np.isfinite(normal[mask]).all():
        raise ValueError("normals inside the mask are not finite")
    depth = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return depth
    edges = edges_of(normal, mask, floor=floor)
    rows, columns = np.nonzero(mask)
    heights = _minimise(edges, rows, columns)
    part = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1][mask]
    depth[mask] = heights - (np.bincount(part, heights) / np.maximum(np.bincount(part), 1))[part]
    return depth


def _minimise(edges: Edges, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Heights (n,) float64 of the mask's pixels that minimise the squared misfit over all edges."""
    n = len(rows)
    start, end, rise = edges.start, edges.end, edges.rise
    target = np.bincount(end, rise, n) - np.bincount(start, rise, n)
    degree = (np.bincount(start, minlength=n) + np.bincount(end, minlength=n)).astype(float)
    size = np.sqrt(target @ target)
    if size == 0:
        return np.zeros(n)
    each, minus = np.arange(n, dtype=np.int32), -np.ones(len(start))
    entries = (np.concatenate([start, end, each]), np.concatenate([end, start, each]))
    laplacian = sp.csr_matrix((np.concatenate([minus, minus, degree]), entries), shape=(n, n))
    cycle = Multigrid(laplacian, rows, columns)
    heights, residual = np.zeros(n), target.copy()
    search = cycle(residual)
    product = residual @ search
    preconditioned = search
    for _ in range(ITERATIONS):
        image = laplacian @ search
        step = product / (search @ image)
        heights += step * search
        residual -= step * image
        if np.sqrt(residual @ residual) <= TOLERANCE * size:
            return heights
        preconditioned = cycle(residual)
        previous, product = product, residual @ preconditioned
        search = preconditioned + (product / previous) * search
    return _direct(laplacian, target)


def _direct(laplacian: sp.csr_matrix, target: np.ndarray) -> np.ndarray:
    """The same heights by a sparse factorisation, for masks so ragged that the multigrid does not converge."""
    n = len(target)
    pinned = (laplacian + 1e-9 * sp.identity(n)).tocsc()  # one free height a part: the smallest of them is taken
    factor = scipy.sparse.linalg.splu(
        pinned, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    heights: np.ndarray = factor.solve(target)
    return heights


class Multigrid:
    """One symmetric V-cycle for the Laplacian of a mask's pixels; called with a residual (n,), gives a correction."""

    def __init__(self, matrix: sp.csr_matrix, rows: np.ndarray, columns: np.ndarray) -> None:
        self.levels: list[tuple[sp.csr_matrix, np.ndarray, np.ndarray, int]] = []
        while matrix.shape[0] > COARSEST:
            rows, columns = rows // 2, columns // 2
            width = int(columns.max()) + 1
            blocks, block = np.unique(rows * width + columns, return_inverse=True)
            if len(blocks) == matrix.shape[0]:
                break
            diagonal = matrix.diagonal()
            inverse = np.divide(DAMPING, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
            self.levels.append((matrix, inverse, block, len(blocks)))
            coarse = matrix.tocoo()
            matrix = sp.csr_matrix((coarse.data, (block[coarse.row], block[coarse.col])), shape=(len(blocks),) * 2)
            rows, columns = np.divmod(blocks, width)
        self.inverse = np.linalg.pinv(matrix.toarray(), hermitian=True) if matrix.shape[0] <= 4 * COARSEST else None

    def __call__(self, residual: np.ndarray, level: int = 0) -> np.ndarray:
        if level == len(self.levels):
            # Blocks that touch no other block have nothing left to correct, however many of them there are.
            return self.inverse @ residual if self.inverse is not None else np.zeros_like(residual)
        matrix, inverse, block, count = self.levels[level]
        correction = inverse * residual
        for _ in range(SWEEPS - 1):
            correction += inverse * (residual - matrix @ correction)
        coarse = np.bincount(block, residual - matrix @ correction, count)
        correction += OVERCORRECTION * self(coarse, level + 1)[block]
        for _ in range(SWEEPS):
            correction += inverse * (residual - matrix @ correction)
        return correction
