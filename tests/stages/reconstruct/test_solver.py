"""The solver against a per-pixel twin, numpy's least squares, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from face_scene import angles, ring
from hypothesis import given
from hypothesis import strategies as st

from stages.reconstruct.solvers import FLOOR, solve, split, weighted_least_squares


def twin(samples: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One pixel after the other, in double precision: the readable form of `weighted_least_squares`."""
    columns = []
    for x, w in zip(samples.T.astype(float), weights.T.astype(float), strict=True):
        root = np.sqrt(w)
        columns.append(np.linalg.lstsq(rows * root[:, None], x * root, rcond=None)[0])
    return np.array(columns).T


@pytest.mark.parametrize("count", [3, 4, 9])
def test_closed_form_is_least_squares(rng, count):
    lights = ring(40, count)
    samples = rng.random((count, 200)).astype(np.float32)
    weights = samples + np.float32(FLOOR)
    got = weighted_least_squares(samples, lights, weights)
    assert got.dtype == np.float32
    assert np.allclose(got, twin(samples, lights, weights), atol=2e-4)


def test_weights_are_the_intensities(rng):
    samples = rng.uniform(0.3, 0.9, (5, 50)).astype(np.float32)  # nothing shadowed, nothing saturated
    lights = ring(30, 5)
    expected = twin(samples, lights, samples + FLOOR)
    assert np.allclose(solve(samples, lights, np.ones(5)).scaled, expected, atol=1e-4)


@given(st.integers(3, 8), st.floats(15, 50), st.integers(0, 1000))
def test_lambertian_pixels_come_back(count, zenith, seed):
    rng = np.random.default_rng(seed)
    lights, strengths = ring(zenith, count), rng.uniform(0.7, 1.3, count)
    tilt = np.deg2rad(rng.uniform(0, 85 - zenith, 30))
    turn = rng.uniform(0, 2 * np.pi, 30)
    normal = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)])
    albedo = rng.uniform(0.1, 0.9, 30)
    samples = (strengths[:, None] * (lights @ normal) * albedo).astype(np.float32)
    unit, length = split(solve(samples, lights, strengths).scaled)
    assert angles(unit.T, normal.T).max() < 0.2
    assert np.allclose(length, albedo, rtol=2e-3)
    assert np.allclose(np.linalg.norm(unit, axis=0), 1, atol=1e-5)


@given(st.floats(0.2, 1.5))
def test_albedo_scales_with_exposure(exposure):
    rng = np.random.default_rng(3)
    lights, samples = ring(30, 3), rng.uniform(0.3, 0.6, (3, 40)).astype(np.float32)
    one, other = (split(solve(s, lights, np.ones(3)).scaled) for s in (samples, np.float32(exposure) * samples))
    assert np.allclose(other[1], exposure * one[1], rtol=1e-3)
    assert angles(one[0].T, other[0].T).max() < 0.1


def saturating(clip: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lights = ring(35, 5)
    normal = np.array([0.25, 0.2, 0.0])
    normal[2] = np.sqrt(1 - normal @ normal)
    samples = (lights @ normal)[:, None].astype(np.float32)
    return np.minimum(samples, np.float32(clip)), lights, normal


def test_saturated_samples_are_set_aside():
    samples, lights, normal = saturating(0.9)
    kept = split(solve(samples, lights, np.ones(5)).scaled)[0][:, 0]
    aside = solve(samples, lights, np.ones(5), saturated=samples >= 0.9)
    assert angles(split(aside.scaled)[0][:, 0], normal) < 0.1 < angles(kept, normal)
    assert (aside.weights[samples >= 0.9] == 0).all()


def test_saturated_samples_stay_where_three_others_do_not():
    lights = ring(35, 4)
    samples = np.array([[1.0], [1.0], [0.5], [0.5]], np.float32)
    solution = solve(samples, lights, np.ones(4), saturated=samples >= 1)
    assert (solution.weights > 0).all()
    assert np.isfinite(solution.scaled).all()


def test_a_saturated_sample_that_the_others_would_undershoot_counts_as_it_stands():
    lights = ring(35, 5)
    normal = np.array([0.0, 0.0, 1.0])
    samples = (0.5 * lights @ normal)[:, None].astype(np.float32)
    samples[0] = 1.0  # a glint: the other four predict .41, which cannot have saturated
    solution = solve(samples, lights, np.ones(5), saturated=samples >= 1)
    assert solution.weights[0, 0] > 0


def test_shadows_are_noticed_and_lightened():
    lights = ring(40, 5)
    samples = np.full((5, 1), 0.6, np.float32)
    samples[2] = 0.01
    solution = solve(samples, lights, np.ones(5), shadow=0.1, shadow_weight=0.0)
    assert solution.shadowed[:, 0].tolist() == [False, False, True, False, False]
    assert solution.weights[2, 0] == 0


def test_a_pixel_without_light_faces_the_camera():
    unit, albedo = split(solve(np.zeros((4, 2), np.float32), ring(35, 4), np.ones(4)).scaled)
    assert np.array_equal(unit.T, [[0, 0, 1], [0, 0, 1]])
    assert not albedo.any()


def test_normals_never_point_away_from_the_camera():
    unit, _ = split(np.array([[0.5], [0.1], [-0.4]], np.float32))
    assert unit[2] > 0
    assert unit[0] / unit[1] == pytest.approx(5)


def test_one_lit_sample_in_a_cast_shadow_gives_no_giant_albedo():
    lights = ring(25, 4)
    samples = np.array([[0.3], [0.0], [0.0], [0.0]], np.float32)
    _, albedo = split(solve(samples, lights, np.ones(4)).scaled)
    assert albedo[0] < 1


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="k = 4"):
        solve(np.zeros((3, 5), np.float32), ring(30, 4), np.ones(4))


def test_many_lights_need_no_pattern_table():
    lights = ring(35, 70)
    samples = np.maximum(lights @ [0.1, 0.2, 0.97], 0)[:, None].astype(np.float32)
    samples[::9] = 0
    assert angles(split(solve(samples, lights, np.ones(70)).scaled)[0][:, 0], np.array([0.1, 0.2, 0.975])) < 3
