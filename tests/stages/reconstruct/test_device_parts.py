"""The parts of the device path against their numpy twins, and on a device without numbers."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from face_scene import photograph, ring

from pipeline.lights import from_angles
from stages.reconstruct.device import integration, pictures, solvers
from stages.reconstruct.integration import integrate
from stages.reconstruct.integration.edges import edges_of
from stages.reconstruct.integration.solving import misfit, pull
from stages.reconstruct.shadows import raised, visible
from stages.reconstruct.solvers import marching, split, weighted
from stages.reconstruct.solvers.linear import rows_of
from stages.reconstruct.stack import Stack

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
FLOOR = 0.05


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_GPU)])
def device(request) -> torch.device:
    return torch.device(request.param)


def on(array: np.ndarray, device: torch.device) -> torch.Tensor:
    kind = array.dtype if array.dtype.kind in "bi" else np.float32
    return torch.from_numpy(np.ascontiguousarray(array, kind)).to(device)


def off(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()


MASKS = {
    "all": lambda x, y: np.ones(x.shape, bool),
    "one pixel": lambda x, y: (x == 3) & (y == 5),
    "a row": lambda x, y: y == 11,
    "hole and two parts": lambda x, y: (np.hypot(x - 25, y - 30) < 18) & (np.hypot(x - 25, y - 30) > 6) | (x > 55),
    "ragged": lambda x, y: np.random.default_rng(0).random(x.shape) < 0.8,
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("pinhole", [False, True], ids=["orthographic", "pinhole"])
def test_depth_is_numpys_on_masks_of_any_kind(device, name, pinhole):
    normal = photograph(75, ring(35, 3)).normal.astype(np.float32)
    y, x = np.mgrid[:75, :75]
    mask = MASKS[name](x, y)
    intrinsics = np.array([[200.0, 0, 35], [0, 220, 40], [0, 0, 1]]) if pinhole else None
    expected = integrate(normal, mask, floor=FLOOR, intrinsics=intrinsics)
    found = off(integration.integrate(on(normal, device), mask, floor=FLOOR, intrinsics=intrinsics))
    assert np.abs(found - expected).max() <= 1e-5 * max(np.ptp(expected), 1)
    assert not found[~mask].any()


def test_a_plane_and_a_sphere_come_back(device):
    y, x = np.mgrid[:128, :160] - 64.0
    plane = np.broadcast_to(np.array([0.3, -0.2, 1]) / np.linalg.norm([0.3, -0.2, 1]), (*x.shape, 3))
    inside = np.hypot(x, y) < 45
    z = np.sqrt(np.maximum(50**2 - x**2 - y**2, 0))
    for normal, mask, depth in (
        (plane, np.ones(x.shape, bool), -0.3 * x - 0.2 * y),
        (np.stack([x, -y, z], axis=-1) / 50, inside, z),
    ):
        found = off(integration.integrate(on(normal, device), mask, floor=FLOOR))
        assert np.abs(found - depth + depth[mask].mean())[mask].max() < 1e-4 * np.ptp(depth[mask])


def test_the_heights_solve_the_normal_equations(device, rng):
    """What is left of the right side, by numpy's edges: noise has no surface, so that only convergence helps."""
    normal = rng.normal([0, 0, 2], 0.4, (200, 170, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    mask = np.ones((200, 170), bool)
    edges = edges_of(normal.astype(np.float32), mask, floor=FLOOR)
    heights = off(integration.integrate(on(normal, device), mask, floor=FLOOR)).astype(float)[mask]
    asked, left = pull(edges, None, mask.sum()), pull(edges, misfit(edges, heights), mask.sum())
    assert np.linalg.norm(left) < 1e-6 * np.linalg.norm(asked)


def test_where_the_cycle_does_not_converge_numpy_takes_over(device, monkeypatch):
    monkeypatch.setattr(integration, "TOLERANCE", 0.0)
    normal = photograph(40, ring(35, 3)).normal.astype(np.float32)
    mask = np.ones((40, 40), bool)
    found = off(integration.integrate(on(normal, device), mask, floor=FLOOR))
    assert np.array_equal(found, integrate(normal, mask, floor=FLOOR))


def test_residuals_go_down_by_the_transpose_of_how_corrections_come_up(device, rng):
    for shape in ((38, 26), (4, 2), (34, 64)):
        level = integration._Level(*on(rng.random((2, *shape)), device))
        coarse = level.coarser()
        low, high = on(rng.random(coarse.right.shape), device), on(rng.random(shape), device)
        low[shape[0] // 2 :], low[:, shape[1] // 2 :] = 0, 0
        one, other = (level.lifted(low) * high).sum(), (low * level.lowered(high, coarse)).sum()
        assert float(one) == pytest.approx(float(other), rel=1e-4)


def test_what_can_be_set_aside_is_numpys(device, rng):
    """All patterns of seven flashes at random places, near the bound of the condition and far from it."""
    lights = rng.normal([0, 0, 1.5], 0.5, (7, 3))
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    flags = np.array(list(itertools.product([False, True], repeat=7))).T
    expected = weighted._spared(flags, lights)
    assert 0.1 < expected.sum() / flags.sum() < 0.9
    assert np.array_equal(off(solvers._spared(on(flags, device), on(lights, device))), expected)


@pytest.mark.parametrize("each", [False, True], ids=["far", "near"])
def test_pixels_that_shadows_and_saturation_leave_little_of(monkeypatch, device, rng, each):
    """Flashes from above of which a shadow leaves one or two ask for any albedo; float32 errs by 1e-4 in some."""
    lights = from_angles([30, 55, 50, 55, 40], [90, 30, 75, 110, 150])
    normal = rng.normal([[0], [0], [0.8]], 0.2, (3, 900))
    samples = np.maximum(lights @ normal, 0) * (rng.random((5, 900)) < 0.5) + 0.002 * rng.random((5, 900))
    samples, saturated = np.minimum(samples, 0.7).astype(np.float32), samples >= 0.7
    lights_at = np.repeat(lights[:, :, None], 900, axis=2) if each else lights
    solve = partial(weighted.solve_weighted, samples, lights_at, np.ones(5), saturated=saturated)
    expected = solve(shadow=0.1, shadow_weight=0.6)
    assert saturated.mean() > 0.1
    with monkeypatch.context() as unbounded:
        unbounded.setattr(weighted, "IMPLAUSIBLE", np.inf)
        free = solve(shadow=0.1, shadow_weight=0.6).scaled
    assert (np.abs(free - expected.scaled).max(axis=0) > 0.01).sum() > 20
    rows = on(rows_of(lights_at, np.ones(5)), device)
    pixels = solvers.Pixels(
        on(samples, device), on(saturated, device), rows, on(np.ones(5), device), on(lights, device)
    )
    found = solvers.weighted(pixels, shadow=0.1, shadow_weight=0.6)
    pairs = [
        (getattr(found, name), getattr(expected, name)) for name in ("scaled", "residual", "weights", "confidence")
    ]
    for one, other in (*pairs, *zip(solvers.split(found.scaled), split(expected.scaled), strict=True)):
        apart = np.abs(off(one) - other)
        assert np.quantile(apart, 0.99) < 1e-4
        assert apart.max() < 1e-3


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_rows_of_moved_frames_are_opencvs(device, rng, kind):
    frames = rng.random((3, 40, 31), np.float32)
    if kind != np.float32:
        frames = (frames * np.iinfo(kind).max).astype(kind)
    for shifts in (np.zeros((3, 2)), np.array([[0, 0], [3.4, -7.7], [-1.5, 12.25]]), np.full((3, 2), 55.5)):
        stack = Stack(
            frames, rng.random((40, 31), np.float32) / 4, np.packbits(rng.random(frames.shape) < 0.1, axis=-1)
        )
        stack.shifts = shifts
        twin = pictures.Frames(stack, device)
        for i, rows in itertools.product(range(3), (slice(0, 7), slice(7, 30), slice(30, 40))):
            (flash, top), (expected, clipped) = (one.pair(i, rows, 0.9) for one in (twin, stack))
            assert np.abs(off(flash) - expected).max() < 1e-5
            assert np.array_equal(off(top), clipped)
            assert clipped.any() or shifts.max() > 50


def test_cast_shadows_are_opencvs(device):
    scene = photograph(120, ring(45, 9))
    depth = raised(scene.depth.astype(np.float32) - 20, scene.mask)
    for light in (*scene.lights, np.array([0.0, 0.0, 1.0])):
        found, expected = pictures.visible(on(depth, device), light, 110.0), visible(depth, light, 110.0)
        apart = np.abs(off(found) - expected)[scene.mask]
        assert np.quantile(apart, 0.995) < 1e-4
        assert apart.max() < 0.02  # at the border, where 1e-5 px along are 0.01 px of depth


def test_means_under_a_gaussian_are_opencvs(device, rng):
    mask = rng.random((30, 90)) < 0.7
    values, say = rng.random((3, mask.sum())), rng.random(mask.sum()).astype(np.float32)
    for size in (0.7, 4.0, 15.0):  # the last reaches beyond the picture and back
        expected = marching.smoothed(values, say, mask, size)
        at = on(np.flatnonzero(mask), device)
        found = off(pictures.smoothed(on(values, device), on(say, device), at, mask.shape, size))
        assert np.abs(found - expected).max() < 1e-5


def test_nothing_waits_for_the_device_or_mixes_it_with_the_processor():
    """Torch's `meta` device has no numbers: what asks for one, or for a tensor of the processor, fails there."""
    scene = photograph(64, ring(35, 5))
    lights, meta = scene.lights, torch.device("meta")
    each = np.repeat(lights[:, :, None], 4096, axis=2)
    frames = pictures.Frames(Stack(scene.frames, scene.frames[0], np.packbits(scene.frames > 1, axis=-1)), meta)
    frames.shifts = np.full((5, 2), 1.5)
    assert frames.pair(1, slice(5, 9), 0.9)[0].shape == (4, 64)
    samples = torch.empty(5, 4096, device=meta)
    for rows in (rows_of(lights, np.ones(5)), rows_of(each, np.ones(5))):
        pixels = solvers.Pixels(samples, samples > 1, on(rows, meta), on(np.ones(5), meta), on(lights, meta))
        first = solvers.weighted(pixels, shadow=0.1, shadow_weight=0.6)
        around = solvers.Around(samples, *solvers.split(first.scaled), *solvers.split(first.scaled))
        found = solvers.marching(pixels, first, around)
        assert found.scaled.shape == solvers.thresholding(pixels, shadow=0.1).scaled.shape == (3, 4096)
    assert pictures.visible(torch.empty(64, 64, device=meta), lights[0], 64.0).shape == (64, 64)
    at = on(np.arange(4096), meta)
    assert pictures.smoothed(samples, samples[0], at, (64, 64), 2.0).shape == (5, 4096)
    levels = integration._levels(*torch.empty(2, 64, 64, device=meta))
    assert integration._round(levels, torch.empty(64, 64, device=meta)).shape == (64, 64)
