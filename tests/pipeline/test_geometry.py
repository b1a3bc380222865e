"""Vectors turn with their pixels: held against closed forms (sphere, plane) and scikit-image's transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from skimage.transform import SimilarityTransform

from pipeline.geometry import (
    KINDS,
    arcface_template,
    compose,
    estimate_similarity,
    invert,
    mirror_landmarks,
    mirror_map,
    move_points,
    resizing,
    scale_of,
    similarity,
    turn_normals,
    warp_map,
)

angles = st.floats(-180, 180)
scales = st.floats(0.3, 3)
shifts = st.tuples(st.floats(-40, 40), st.floats(-40, 40))
seeds = st.integers(0, 2**32 - 1)


def sphere(size: int, centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Normals (size, size, 3) of a sphere seen from z, and where it is seen at less than 60 degrees."""
    y, x = np.mgrid[:size, :size]
    nx, ny = (x - centre[0]) / radius, -(y - centre[1]) / radius
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0, 1))
    return np.stack([nx, ny, nz], axis=-1).astype(np.float32), nz > 0.5


def plane(shape: tuple[int, int], dz_dx: float, dz_dy: float) -> np.ndarray:
    """Depth of a plane with slopes in the camera frame, y up."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (dz_dx * x - dz_dy * y).astype(np.float32)


@given(degrees=angles, scale=st.floats(0.5, 2))
def test_a_turned_sphere_has_the_normals_of_a_sphere(degrees, scale):
    """A sphere off the centre goes round it; if its vectors did not turn too, it would no longer be one."""
    size, centre, radius = 160, np.array([95.0, 62.0]), 40.0
    normal, _ = sphere(size, centre, radius)
    middle = np.full(2, (size - 1) / 2)
    linear = similarity(scale, degrees)[:, :2]
    matrix = np.column_stack([linear, middle - linear @ middle])
    warped = warp_map("normal", normal, matrix, size)
    expected, facing = sphere(size, move_points(centre, matrix), radius * scale)
    facing[[0, -1]] = facing[:, [0, -1]] = False
    assert np.degrees(np.arccos(np.clip((warped * expected).sum(-1)[facing], -1, 1))).max() < 1.0


@given(degrees=angles, scale=scales, slopes=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_depth_and_normals_stay_in_agreement(degrees, scale, slopes):
    """The normal of a plane's warped depth, by differences, is its warped normal: depth was scaled, vectors turned."""
    p, q = slopes
    depth = plane((90, 90), p, q)
    normal = np.broadcast_to(np.array([-p, -q, 1], np.float32) / np.sqrt(1 + p * p + q * q), (90, 90, 3))
    linear = similarity(scale, degrees)[:, :2]
    matrix = np.column_stack([linear, 20 - linear @ (45, 45)])  # the middle of the plane to the middle of the result
    inner = slice(17, 24)
    warped = warp_map("depth", depth, matrix, 41)
    rows, columns = np.gradient(warped.astype(float))
    from_depth = np.stack([-columns, rows, np.ones_like(rows)], axis=-1)  # dz/drow = -dz/dy
    from_depth /= np.linalg.norm(from_depth, axis=-1, keepdims=True)
    turned = warp_map("normal", normal, matrix, 41)
    assert np.abs(from_depth - turned)[inner, inner].max() < 2e-3


def test_a_quarter_turn_is_exact(rng):
    """Clockwise by 90 degrees: what pointed right points down. By numpy's own rotation of the array."""
    normal = rng.normal(size=(9, 9, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    quarter = similarity(1, 90, shift=(8, 0))
    rotated = np.rot90(normal, k=-1)
    expected = np.stack([rotated[..., 1], -rotated[..., 0], rotated[..., 2]], axis=-1)
    np.testing.assert_allclose(warp_map("normal", normal, quarter, 9), expected, atol=2e-6)
    np.testing.assert_allclose(turn_normals(np.array([[1.0, 0, 0]]), quarter), [[0, -1, 0]], atol=1e-12)


@given(seed=seeds)
@pytest.mark.parametrize("kind", KINDS)
def test_mirroring_twice_changes_nothing_and_once_negates_nx(kind, seed):
    array = np.random.default_rng(seed).normal(size=(5, 7, 3)).astype(np.float32)
    once = mirror_map(kind, array)
    np.testing.assert_array_equal(mirror_map(kind, once), array)
    sign = -1 if kind == "normal" else 1
    np.testing.assert_array_equal(once[:, ::-1, 0], sign * array[..., 0])
    np.testing.assert_array_equal(once[:, ::-1, 1:], array[..., 1:])


def test_a_mirrored_sphere_is_a_sphere():
    normal, _ = sphere(64, np.array([20.0, 30.0]), 18.0)
    expected, facing = sphere(64, np.array([43.0, 30.0]), 18.0)
    np.testing.assert_allclose(mirror_map("normal", normal)[facing], expected[facing], atol=1e-6)


def test_mirrored_landmarks_change_names():
    points = np.array([[10, 20], [30, 21], [22, 30], [13, 40], [28, 41]], float)
    mirrored = mirror_landmarks(points, 50)
    np.testing.assert_array_equal(mirrored[0], [19, 21])  # the right eye is the left one now
    assert mirrored[0, 0] < mirrored[1, 0]
    assert mirrored[3, 0] < mirrored[4, 0]
    np.testing.assert_array_equal(mirror_landmarks(mirrored, 50), points)


@given(degrees=angles, scale=scales, shift=shifts, seed=seeds)
def test_a_known_transform_is_recovered(degrees, scale, shift, seed):
    src = np.random.default_rng(seed).normal(scale=30, size=(5, 2))
    known = similarity(scale, degrees, shift)
    np.testing.assert_allclose(estimate_similarity(src, move_points(src, known)), known, atol=1e-9)


@given(seed=seeds)
def test_noisy_points_as_scikit_image(seed):
    rng = np.random.default_rng(seed)
    src, dst = rng.normal(scale=30, size=(2, 5, 2))
    dst = move_points(src, similarity(0.6, 25, (3, 4))) + 0.05 * dst
    reference = SimilarityTransform.from_estimate(src, dst)
    ours = estimate_similarity(src, dst)
    np.testing.assert_allclose(ours, reference.params[:2], atol=1e-9)
    assert scale_of(ours) == pytest.approx(reference.scale)


def test_a_mirrored_target_is_met_without_reflection(rng):
    src = rng.normal(size=(5, 2))
    assert np.linalg.det(estimate_similarity(src, src * (-1, 1))[:, :2]) >= 0


@given(degrees=angles, scale=scales, shift=shifts)
def test_inverse_and_composition(degrees, scale, shift):
    matrix = similarity(scale, degrees, shift)
    points = np.array([[0.0, 0], [3, 4], [-7, 1]])
    np.testing.assert_allclose(move_points(move_points(points, matrix), invert(matrix)), points, atol=1e-9)
    both = compose(resizing(2), matrix)
    np.testing.assert_allclose(move_points(points, both), 2 * move_points(points, matrix) + 0.5, atol=1e-9)
    assert scale_of(both) == pytest.approx(2 * scale)


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 3.0])
def test_a_resize_scales_depth_and_nothing_else(factor):
    size = int(48 * factor)
    flat = np.full((48, 48), 7.0, np.float32)
    for kind, gain in (("depth", factor), ("albedo", 1.0), ("frame", 1.0)):
        resized = warp_map(kind, flat, resizing(factor), size)
        edge = 2 if kind == "frame" else 0  # a frame meets black at its rim when it grows
        np.testing.assert_allclose(resized[edge : size - edge, edge : size - edge], 7 * gain, rtol=1e-6)


def test_a_shrunk_image_is_the_mean_of_its_pixels(rng):
    """Halving is 2x2 averaging; sampling alone would keep a quarter of the pixels and fold the rest into noise."""
    image = rng.random((32, 32)).astype(np.float32)
    expected = image.reshape(16, 2, 16, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(warp_map("frame", image, resizing(0.5), 16), expected, atol=1e-6)


@given(degrees=angles, scale=st.floats(1, 3), shift=shifts)
def test_sampling_as_scipy(degrees, scale, shift):
    image = np.random.default_rng(3).random((40, 50)).astype(np.float32)
    matrix = similarity(scale, degrees, shift)
    y, x = np.mgrid[:30, :30]
    columns, rows = np.moveaxis(move_points(np.stack([x, y], axis=-1), invert(matrix)), -1, 0)
    expected = map_coordinates(image.astype(float), [rows, columns], order=1, mode="grid-constant")
    # older versions of OpenCV sample at thirty-seconds of a pixel
    np.testing.assert_allclose(warp_map("frame", image, matrix, 30), expected, atol=0.05)


def test_what_lies_outside_the_mask_does_not_bleed_in():
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    wild = np.where(mask, 2.0, np.nan).astype(np.float32)
    matrix = similarity(0.8, 20, (5, 1))
    inside = warp_map("mask", mask, matrix, 40)
    albedo, depth = (warp_map(kind, wild, matrix, 40, mask=mask) for kind in ("albedo", "depth"))
    np.testing.assert_allclose(albedo[inside], 2.0, rtol=1e-5)
    np.testing.assert_allclose(depth[inside], 1.6, rtol=1e-5)
    assert np.isfinite(albedo).all()
    normal = np.where(mask[..., None], np.array([0, 0.6, 0.8]), np.nan).astype(np.float32)
    warped = warp_map("normal", normal, matrix, 40, mask=mask)
    np.testing.assert_allclose(np.linalg.norm(warped[inside], axis=-1), 1, rtol=1e-5)
    assert np.isfinite(warped).all()


def test_the_template_scales_as_an_image_does():
    np.testing.assert_allclose(arcface_template(224), move_points(arcface_template(), resizing(2)))
    np.testing.assert_allclose(arcface_template()[2], (56.0252, 71.7366))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: warp_map("colour", np.zeros((4, 4)), similarity(), 4), "normal, albedo"),
        (lambda: warp_map("normal", np.zeros((4, 4)), similarity(), 4), r"\(H, W, 3\)"),
        (lambda: warp_map("depth", np.zeros((4, 4)), similarity(), 4, mask=np.ones((3, 4))), "mask"),
        (lambda: scale_of(np.array([[-1, 0, 0], [0, 1, 0]])), "no similarity"),
        (lambda: scale_of(np.eye(3)), r"\(2, 3\)"),
        (lambda: estimate_similarity(np.ones((5, 2)), np.ones((5, 2))), "all one"),
        (lambda: estimate_similarity(np.ones((5, 2)), np.ones((4, 2))), r"\(5, 2\) and \(4, 2\)"),
        (lambda: mirror_map("colour", np.zeros((4, 4))), "normal, albedo"),
    ],
)
def test_mistakes_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
