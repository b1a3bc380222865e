"""Shadows, marching and thresholding against readable twins, one pixel and one ray at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from face_scene import angles, photograph, ring

from pipeline.lights import from_angles
from stages.reconstruct.order import disorder
from stages.reconstruct.shadows import clearance, extent, raised, visible
from stages.reconstruct.solvers import MANY, choose, solve, split, surroundings
from stages.reconstruct.solvers.linear import held_least_squares
from stages.reconstruct.solvers.marching import SHAPE, TONE
from stages.reconstruct.solvers.thresholding import DARK, FURTHER, HIGH, LOW, SCALES, TRACE


def test_a_wall_casts_the_shadow_of_its_height():
    """A wall of 10 px, its right side at 21, under a flash 45 degrees to the left: in shadow up to 31."""
    depth = np.zeros((60, 60), np.float32)
    depth[:, 17:22] = 10
    reach = visible(depth, np.array([-1, 0, 1]) / np.sqrt(2), 180.0)
    assert reach[30, 24:27].max() < 0.05
    assert reach[30, :16].min() > 0.95
    assert reach[30, 33:].min() > 0.95
    assert visible(depth, np.array([0.0, 0.0, 1.0]), 180.0).min() == 1


@pytest.mark.parametrize("light", [[-0.6, 0.0, 0.8], [0.0, 0.6, 0.8], [0.5, -0.5, np.sqrt(0.5)]])
def test_clearance_is_that_of_a_ray_marched_for_each_pixel(light):
    y, x = np.mgrid[:64, :64] - 32.0
    depth = (12 * np.exp(-(x**2 + y**2) / 60)).astype(np.float32)
    got = clearance(depth, np.array(light), near=3)
    flat = np.hypot(*light[:2])
    for row, column in [(32, 45), (45, 32), (20, 20), (40, 40), (32, 20), (18, 32)]:
        above = []
        for far in np.arange(3, 40, 0.25):
            c, r = column + far * light[0] / flat, row - far * light[1] / flat
            if 0 <= c < 64 and 0 <= r < 64:
                height = 12 * np.exp(-((c - 32) ** 2 + (r - 32) ** 2) / 60)
                above.append(height - depth[row, column] - far * light[2] / flat)
        assert got[row, column] == pytest.approx(max(above), abs=0.4)


def in_shadow_of_itself(size, count):
    """The lights, and frames (k, size, size) of the scene with cast shadows, made from ones of twice the size."""
    large = photograph(2 * size, ring(55, count))
    depth = raised(large.depth / 1.2, large.mask)
    frames = [frame * visible(depth, light, 100.0) for frame, light in zip(large.frames, large.lights, strict=True)]
    small = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])
    return large.lights, small, photograph(size, large.lights).mask


def normals_of(frames, lights, mask):
    scaled = solve(frames[:, mask], lights, np.ones(len(lights)), mask=mask, method="marching").scaled
    normal = np.zeros((*mask.shape, 3), np.float32)
    normal[mask] = split(scaled)[0].T
    return normal


def test_marching_sees_the_face_and_not_the_picture():
    """The same face among a wide background: its widths grew with the picture."""
    lights, frames, mask = in_shadow_of_itself(96, 4)
    alone = normals_of(frames, lights, mask)
    around = [np.pad(one, [(0, 0)] * (one.ndim - 2) + [(150, 90), (60, 210)]) for one in (frames, mask)]
    wide = normals_of(around[0], lights, around[1])[150:246, 60:156]
    assert np.quantile(angles(alone, wide)[mask], 0.99) < 0.5


def test_marching_at_another_size():
    """Widths of shadows were pixels: softer and shorter ones in a small picture than in a large one."""
    lights, small, mask = in_shadow_of_itself(128, 4)
    times = 4
    large = np.stack([cv2.resize(one, None, fx=times, fy=times, interpolation=cv2.INTER_LINEAR) for one in small])
    one, whole = normals_of(small, lights, mask), mask.repeat(times, axis=0).repeat(times, axis=1)
    other = cv2.resize(normals_of(large, lights, whole), mask.shape, interpolation=cv2.INTER_AREA)
    other /= np.maximum(np.linalg.norm(other, axis=-1, keepdims=True), 1e-6)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert angles(one, other)[inner].mean() < 0.15
    scene = photograph(128, lights)
    depth = raised(scene.depth - scene.depth.max(), scene.mask)
    deep = times * cv2.resize(depth, None, fx=times, fy=times, interpolation=cv2.INTER_LINEAR)
    for light in lights:
        reach, far = visible(depth, light, 110.0), visible(deep, light, times * 110.0)
        far = cv2.resize(far, mask.shape, interpolation=cv2.INTER_AREA)
        assert np.abs(reach - far)[inner].mean() < 0.001  # .01 by pixels


def test_held_least_squares_is_that_of_stacked_equations(rng):
    lights = ring(35, 5)
    samples, weights = rng.random((2, 5, 30)).astype(np.float32)
    target, hold = rng.random((3, 30)).astype(np.float32), rng.random(30).astype(np.float32)
    for rows in (lights, np.repeat(lights[:, :, None], 30, axis=2)):
        got = held_least_squares(samples, rows, weights, target, hold)
        for p in range(30):
            root = np.sqrt(np.concatenate([weights[:, p], np.full(3, hold[p])]))
            left, right = np.concatenate([lights, np.eye(3)]), np.concatenate([samples[:, p], target[:, p]])
            expected = np.linalg.lstsq(left * root[:, None], right * root, rcond=None)[0]
            assert np.allclose(got[:, p], expected, atol=1e-3)


def test_thresholding_against_a_loop(rng):
    """The same rounds, pixel by pixel, with numpy's least squares; one sample in eight is saturated."""
    lights = np.concatenate([ring(20, 8), ring(45, 12)])
    strengths = rng.uniform(0.8, 1.2, 20)
    rows = lights * strengths[:, None]
    samples = np.maximum(rows @ (rng.normal(0, 0.2, (3, 40)) + np.array([[0], [0], [0.6]])), 0)
    samples = (samples * rng.choice([0, 1, 1, 1, 1.5], samples.shape)).astype(np.float32)
    saturated = rng.random(samples.shape) < 0.125
    got = solve(samples, lights, strengths, method="thresholding", saturated=saturated)
    for p in range(40):
        relative = samples[:, p] / strengths
        mean, full = relative.mean(), saturated[:, p]

        def solved(weight: np.ndarray, p: int = p) -> np.ndarray:
            root = np.sqrt(weight)
            return np.linalg.lstsq(rows * root[:, None], samples[:, p] * root, rcond=None)[0]

        within = (relative >= LOW * mean) & (relative <= HIGH * mean)
        before = now = solved(np.where(within & ~full, 1, TRACE))
        for scale in SCALES:
            left = samples[:, p] - rows @ (now + FURTHER * (now - before))
            lit = np.where((relative > DARK * mean) & ~full, 1, TRACE)
            weight = lit / (1 + (left / (mean * scale)) ** 2)
            before, now = now, solved(weight)
        assert np.allclose(got.scaled[:, p], now, atol=5e-3)
        assert np.allclose(got.weights[:, p], weight, atol=5e-3)


def test_thresholding_sees_through_shadows_and_highlights():
    lights = np.concatenate([ring(20, 10), ring(40, 15), ring(55, 15)])
    normal = np.array([0.2, 0.1, np.sqrt(0.95)])
    samples = 0.6 * np.maximum(lights @ normal, 0)[:, None].astype(np.float32)
    samples[[3, 11, 17, 30]] = 0
    samples[[1, 2]] *= 1.8
    assert angles(split(solve(samples, lights, np.ones(40)).scaled)[0][:, 0], normal) < 0.1


def test_auto_picks_by_the_number_of_flashes():
    assert [choose(k, masked=True)[0] for k in (3, 4, MANY - 1, MANY)] == [
        "weighted",
        "marching",
        "marching",
        "thresholding",
    ]
    assert choose(5, masked=False)[0] == "weighted"


def test_marching_holds_a_glint_and_a_shadow_down():
    """One bright dot and one black patch, each in one frame of five, on a smooth face."""
    scene = photograph(96, ring(35, 5))
    mask = scene.mask & (scene.normal @ scene.lights.T > 0.2).all(axis=-1)
    frames = scene.frames.copy()
    frames[1, 46:49, 40:43] = 0.98
    frames[3, 50:56, 56:62] = 0
    spoilt = np.zeros_like(mask)
    spoilt[46:49, 40:43] = spoilt[50:56, 56:62] = True
    error = {}
    for method in ("weighted", "marching"):
        unit, _ = split(solve(frames[:, mask], scene.lights, np.ones(5), mask=mask, method=method).scaled)
        error[method] = angles(unit.T, scene.normal[mask])[spoilt[mask]].mean()
    assert error["marching"] < 0.85 * error["weighted"]


def ramp(value: float, low: float, high: float) -> float:
    """0 below low, 1 above high, a cubic between them."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def test_marching_is_its_equations_at_each_pixel():
    """The readable twin: loops over pixels and flashes, 3x3 systems by numpy, on frames with a glint and a shadow."""
    scene = photograph(40, ring(40, 5))
    mask, frames, strengths = scene.mask, scene.frames.copy(), np.array([1.0, 0.9, 1.1, 1.0, 1.2])
    frames[1, 18:20, 16:18], frames[3, 24:28, 20:26] = 0.97, 0.01
    samples = frames[:, mask] * strengths.astype(np.float32)[:, None]
    first = solve(samples, scene.lights, strengths, method="weighted")
    around = surroundings(*split(first.scaled), first.confidence, scene.lights, mask, floor=0.05)
    got = solve(samples, scene.lights, strengths, mask=mask, method="marching").scaled
    rows = scene.lights * strengths[:, None]
    for p in range(0, samples.shape[1], 3):
        x, residual, before = (values[:, p].astype(float) for values in (samples, first.residual, first.weights))
        normal, tone = around.normal[:, p].astype(float), float(around.tone[p])
        doubt = (lost := before @ residual**2) / (lost + 0.01**2 * before @ x**2 + 1e-12)
        matrix, right, whole, kept = np.zeros((3, 3)), np.zeros(3), 3 / 255, 0.0
        for i, row in enumerate(rows):
            expected = tone * max(row @ normal, 0.1 * strengths[i])
            lit = around.lit[i, p] * (0.02 + 0.98 * ramp(x[i] / expected, 0.1, 0.5))
            fair = 1 - 0.999 * ramp(x[i] / expected, 1.56, 2.6)
            plain = min(max(x[i], 0.0), 1.5 * expected) + 3 / 255 if before[i] > 0 else 0.0
            weight = plain * (1 - doubt * (1 - max(lit, 0.02) * fair))
            matrix, right = matrix + weight * np.outer(row, row), right + weight * x[i] * row
            whole, kept = whole + plain, kept + weight
        hold = 0.3 / 2 * whole * doubt * min(max(1.2 - kept / whole, 0.0), 1.0)
        expected_scaled = np.linalg.solve(matrix + hold * np.eye(3), right + hold * tone * normal)
        assert got[:, p] == pytest.approx(expected_scaled, abs=2e-4)


def test_surroundings_are_means_by_confidence(rng):
    """The smoothed normal and albedo against sums over all pixels of the mask."""
    scene = photograph(40, ring(40, 5))
    mask = scene.mask
    unit, albedo = scene.normal[mask].T.astype(np.float32), rng.random(mask.sum(), np.float32)
    confidence = rng.random(mask.sum(), np.float32)
    around = surroundings(unit, albedo, confidence, scene.lights, mask, floor=0.05)
    places = np.argwhere(mask)
    for p in range(0, len(places), 97):
        away = ((places - places[p]) ** 2).sum(axis=1)
        for size, values, got in ((SHAPE, unit, around.normal[:, p]), (TONE, albedo[None], around.tone[p : p + 1])):
            weight = np.exp(-away / (2 * (size * extent(mask)) ** 2)) * (confidence + 0.02)
            mean = (values * weight).sum(axis=1) / weight.sum()
            mean = mean / np.linalg.norm(mean) if len(mean) == 3 else mean
            assert got == pytest.approx(mean, abs=0.02)


def test_lights_of_each_pixel_that_are_alike_are_the_lights_of_all():
    scene = photograph(64, ring(35, 4))
    samples = scene.frames[:, scene.mask]
    each = np.repeat(scene.lights[:, :, None], samples.shape[1], axis=2)
    for method in ("weighted", "marching", "thresholding"):
        one, other = (
            solve(samples, lights, np.ones(4), mask=scene.mask, method=method).scaled for lights in (scene.lights, each)
        )
        assert np.allclose(one, other, atol=2e-3)


def test_confidence_falls_where_flashes_fail():
    scene = photograph(64, ring(35, 5))
    frames = scene.frames.copy()
    frames[1:, 30:34, 30:34] = 0
    solution = solve(frames[:, scene.mask], scene.lights, np.ones(5), mask=scene.mask)
    dark = np.zeros_like(scene.mask)
    dark[31:33, 31:33] = True
    assert 0 <= solution.confidence.min() <= solution.confidence.max() <= 1
    assert solution.confidence[dark[scene.mask]].max() < 0.2
    assert np.median(solution.confidence[~dark[scene.mask]]) > 0.9
    assert 0 <= solution.visibility.min() <= solution.visibility.max() <= 1 + 1e-6


def test_frames_out_of_order_are_told():
    scene = photograph(64, from_angles([15, 25, 35, 40, 30], [10, 95, 170, 215, 300]))
    samples = scene.frames[:, scene.mask]
    assert disorder(samples, scene.lights) == []
    swapped = scene.lights[[1, 0, 2, 3, 4]]
    (note,) = disorder(samples, swapped)
    assert "out of order" in note
    assert "frame 0 with light 1" in note


def test_what_does_not_fit_is_refused():
    samples = np.ones((4, 6), np.float32)
    with pytest.raises(ValueError, match="unknown method"):
        solve(samples, ring(30, 4), np.ones(4), method="best")
    with pytest.raises(ValueError, match="needs the mask"):
        solve(samples, ring(30, 4), np.ones(4), method="marching")
    with pytest.raises(ValueError, match="mask has 4 pixels"):
        solve(samples, ring(30, 4), np.ones(4), mask=np.ones((2, 2), bool))
    with pytest.raises(ValueError, match=r"\(k, 3, P\)"):
        solve(samples, np.ones((4, 3, 5)), np.ones(4))
