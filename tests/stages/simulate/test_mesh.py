"""Subdivision against what Catmull and Clark's limit must keep, normals of a sphere, tubes."""

from __future__ import annotations

import numpy as np
import pytest

from stages.simulate.mesh import blend, catmull_clark, grid_quads, subdivide_corners, triangles, tube, vertex_normals
from stages.simulate.noise import SIZE, Texels, band

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def test_first_step_of_the_cube_is_the_published_one() -> None:
    """Corner: (Q + 2 R + (n - 3) S) / n with n = 3 gives 5/9 of the corner; edges 3/4, faces stay."""
    fine = catmull_clark(CUBE_QUADS, 8).matrix @ CUBE
    assert fine[:8] == pytest.approx(CUBE * 5 / 9)
    assert np.sort(np.abs(fine[8:20]), axis=1) == pytest.approx(np.tile([0, 0.75, 0.75], (12, 1)))
    assert np.abs(fine[20:]).sum(1) == pytest.approx(np.ones(6))


def test_a_flat_grid_stays_flat_and_keeps_its_border() -> None:
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0), [2.0]), axis=-1).reshape(-1, 3)
    step = catmull_clark(grid_quads(4, 5), 20)
    fine = step.matrix @ grid
    assert fine[:, 2] == pytest.approx(np.full(len(fine), 2.0))
    assert np.asarray(step.matrix.sum(1)).ravel() == pytest.approx(np.ones(len(fine)))
    assert (fine[:, 0].max(), fine[:, 1].max()) == pytest.approx((4, 3))
    corners = subdivide_corners(grid[grid_quads(4, 5)][..., :2])
    inside = step.quads[np.all((fine[step.quads][..., :2] > 1.01) & (fine[step.quads][..., :2] < 1.99), axis=(1, 2))]
    assert inside.size == 0 or corners.shape == (4 * 12, 4, 2)
    assert corners[5] == pytest.approx(fine[step.quads[5]][:, :2], abs=0.26)


def test_normals_of_a_sphere_are_radial() -> None:
    quads, points = CUBE_QUADS, CUBE
    for _ in range(4):
        step = catmull_clark(quads, len(points))
        points, quads = step.matrix @ points, step.quads
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    outwards = np.sign(np.mean(np.sum(vertex_normals(points, quads) * points, axis=1)))
    assert np.sum(outwards * vertex_normals(points, quads) * points, axis=1).min() > np.cos(np.deg2rad(2.0))


def test_tube_keeps_its_radius_and_closes() -> None:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.stack([10 * np.cos(angles), 10 * np.sin(angles), 0 * angles], axis=1)
    vertices, quads = tube(ring, 0.5, closed=True)
    from_axis = np.hypot(np.linalg.norm(vertices[:, :2], axis=1) - 10, vertices[:, 2])
    assert from_axis == pytest.approx(np.full(len(vertices), 0.5), rel=1e-2)
    centres = 10 * vertices[:, :2] / np.linalg.norm(vertices[:, :2], axis=1, keepdims=True)
    outwards = vertices - np.column_stack([centres, np.zeros(len(vertices))])
    assert np.sum(outwards * vertex_normals(vertices, quads), axis=1).min() > 0.4
    assert len(quads) == 60 * 8
    assert triangles(quads).shape == (960, 3)


def test_blended_values_are_the_plain_sum_over_corners(rng: np.random.Generator) -> None:
    values, weights = rng.normal(size=(50, 3)).astype(np.float32), rng.random((200, 3)).astype(np.float32)
    corners = rng.integers(0, 50, (200, 3))
    blended = blend(weights, values, corners)
    assert blended.dtype == np.float32
    assert np.array_equal(blended, np.einsum("nk,nkc->nc", weights, values[corners]))


def test_noise_is_looked_up_between_texels_and_goes_on_beyond_its_edges(rng: np.random.Generator) -> None:
    """Against the four texels around each place, by `numpy.mod`."""
    x, y = rng.uniform(-3 * SIZE, 3 * SIZE, (2, 500))
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    picture = band(7.0)
    expected = sum(
        picture[(row + i) % SIZE, (column + j) % SIZE] * np.abs(1 - i - (y - row)) * np.abs(1 - j - (x - column))
        for i in (0, 1)
        for j in (0, 1)
    )
    assert Texels(x, y).of(picture) == pytest.approx(expected, abs=0.001)
