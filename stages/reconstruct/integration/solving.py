"""Heights from edges: plain least squares, and least squares that lets go of edges which do not fit.

The robust one minimises the sum of ``log(1 + (misfit / scale)^2)`` (the Cauchy function) by iteratively reweighted
least squares: an edge across a depth discontinuity asks for a rise that its surroundings contradict, its misfit grows
from solve to solve and its weight falls, until the step stands free. The scale falls as well, from `WIDE`, which finds
the large steps, to `NARROW`: a small step that the smooth heights spread over many edges is collected in one (a
graduated concave function). It starts from the smooth heights and each solve starts from the last; none need be exact,
since the weights change anyway.

References: A. Blake and A. Zisserman, Visual Reconstruction, MIT Press, 1987 (graduated non-convexity); H. Badri,
H. Yahia and D. Aboutajdine, Robust surface reconstruction via triple sparsity, CVPR 2014; Y. Queau, J.-D. Durou and
J.-F. Aujol, Variational methods for normal integration, J. Math. Imaging Vis. 60, 2018, doi:10.1007/s10851-017-0777-6
(such functions compared).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.reconstruct.integration.edges import Edges
from stages.reconstruct.integration.multigrid import Grid, Multigrid, conjugate_gradients, direct, laplacian

TOLERANCE = 1e-7  # of the residual's norm
ITERATIONS = 150
WIDE, NARROW = 0.25, 0.01  # px of misfit from which an edge is let go, first and last
SOLVES = 24  # with new weights, after the smooth one
LOOSE = 0.01  # of the residual's norm, for each of them
LOOSE_ITERATIONS = 40


Ask = Callable[[], Edges]  # called where the edges are needed and no longer kept: they take 32 bytes a pixel


def least_squares(mask: np.ndarray, ask: Ask) -> np.ndarray:
    """Heights (n,) float64 of the mask's pixels that minimise the squared misfit over all edges."""
    n = int(np.count_nonzero(mask))
    residual = pull(ask(), None, n)
    size = np.sqrt(residual @ residual)
    heights = np.zeros(n)
    if size == 0:
        return heights
    alike = np.ones(n, np.float32)
    cycle = Multigrid(Grid(mask), alike, alike)
    if not conjugate_gradients(cycle, residual, heights, goal=TOLERANCE * size, iterations=ITERATIONS):
        heights += direct(laplacian(Grid(mask), alike, alike), residual)
    return heights


def robust(mask: np.ndarray, ask: Ask) -> np.ndarray:
    """Heights (n,) float64 of the mask's pixels under the Cauchy function of the misfits."""
    edges, grid = ask(), Grid(mask)
    n = len(grid)
    heights, right, below = np.zeros(n), np.zeros(n), np.zeros(n)
    across, down = grid.right >= 0, grid.below >= 0
    for scale in (np.inf, *np.geomspace(WIDE, NARROW, SOLVES)):
        left = misfit(edges, heights)
        weight = 1 / (1 + (left / scale) ** 2)
        right[across], below[down] = np.split(weight, [np.count_nonzero(across)])
        residual = pull(edges, weight * left, n)
        size = np.sqrt(residual @ residual)
        if size == 0:
            break
        cycle = Multigrid(grid, right, below)
        conjugate_gradients(cycle, residual, heights, goal=LOOSE * size, iterations=LOOSE_ITERATIONS)
    return heights


def misfit(edges: Edges, heights: np.ndarray) -> np.ndarray:
    """(E,) what each edge asks for beyond the rise that heights (n,) have."""
    return edges.rise - (heights[edges.end] - heights[edges.start])


def pull(edges: Edges, rise: np.ndarray | None, n: int) -> np.ndarray:
    """(n,) the right side of the normal equations, for other rises than those of the edges where they are given."""
    rise = edges.rise if rise is None else rise
    pulled: np.ndarray = np.bincount(edges.end, rise, n)
    pulled -= np.bincount(edges.start, rise, n)
    return pulled
