"""The model of faces laid on normals: held against places and shapes that are known, and against what is no face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.geometry import compose, invert, move_points, similarity, turn_normals
from stages.reconstruct.face import prior
from stages.reconstruct.face.model import SIDE, face_model
from stages.reconstruct.face.prior import BAD, GOOD, expected, face_in
from stages.reconstruct.solvers import solve, split
from stages.reconstruct.solvers.marching import likeness

SIZE = 220
PLACES = [similarity(2.4, 0, (45, 40)), similarity(3.1, 0, (30, 25)), similarity(2.2, 6, (70, 45))]


@pytest.fixture
def shape():
    return np.random.default_rng(3).normal(0, 0.6, face_model().components.shape[2])


def laid(shape: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals of the model's face of a shape, where a similarity takes the grid, and where they are."""
    model = face_model()
    grid = np.zeros((SIDE, SIDE, 4), np.float32)
    grid[model.where, :3] = model.normal[model.where] + model.components @ shape
    grid[model.where, 3] = 1
    seen = cv2.warpAffine(grid, place, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    inside = seen[..., 3] > 0.99
    normal = turn_normals(seen[..., :3], place)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-9
    return np.where(inside[..., None], normal, 0).astype(np.float32), inside


def degrees(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.rad2deg(np.arccos(np.clip((one * other).sum(axis=-1), -1, 1))).mean())


@pytest.mark.parametrize("place", PLACES, ids=["small", "large", "turned"])
def test_the_place_of_a_face_is_found(place, shape):
    normal, inside = laid(shape, place)
    found = face_in(normal, inside.astype(np.float32), face_model())
    assert found is not None
    assert found.misfit < GOOD / 2
    corners = np.array([[10, 10], [38, 10], [24, 40]])
    assert np.abs(move_points(corners, compose(found.matrix, place)) - corners).max() < 1.0  # px of the grid


def test_what_is_not_trusted_is_told_by_the_rest(shape):
    """A third of the face lies in shadow: what is expected there is nearer to the truth than the mean face is."""
    truth, inside = laid(shape, PLACES[1])
    dark = inside & (np.arange(SIZE)[None] > 0.5 * SIZE)
    assert dark.sum() > 0.15 * inside.sum()
    wrong = np.where(dark[..., None], np.float32([0, 0, 1]), truth)
    told, say = expected(wrong, (inside & ~dark).astype(np.float32))
    assert say[dark].mean() > 0.5
    mean, _ = laid(np.zeros_like(shape), PLACES[1])
    assert degrees(told[dark], truth[dark]) < 0.6 * degrees(mean[dark], truth[dark])


def test_a_mirrored_face_is_expected_mirrored(shape):
    normal, inside = laid(shape, PLACES[0])
    plain = expected(normal, inside.astype(np.float32))[0][inside]
    turned = expected(normal[:, ::-1] * np.float32([-1, 1, 1]), inside[:, ::-1].astype(np.float32))[0]
    assert degrees((turned[:, ::-1] * np.float32([-1, 1, 1]))[inside], plain) < 2


def test_the_model_moves_with_the_grid_as_told(shape):
    """Each column of the Jacobian is the difference that a small step of that kind makes, half a pixel each way."""
    model = face_model()
    normal, inside = laid(shape, PLACES[1])
    normal, matrix = cv2.GaussianBlur(normal, (0, 0), 6), invert(PLACES[1])

    def seen(step: np.ndarray) -> np.ndarray:
        there = compose(invert(prior._motion(step)), matrix)
        return prior._laid(normal, np.ones(inside.shape, np.float32), there, model)[0]

    told = prior._moving(seen(np.zeros(4)), model.where)
    for column, step in enumerate(np.eye(4) / 2):
        found = (seen(step) - seen(-step))[model.where]
        assert np.abs(told[..., column] - found).mean() < 0.1 * np.abs(found).mean()


def test_the_misfit_is_that_of_the_place_and_shape_that_are_returned(shape):
    model = face_model()
    normal, inside = laid(shape, PLACES[2])
    say = inside.astype(np.float32)
    found = face_in(normal, say, model)
    laid_out = prior._laid(normal * say[..., None], say, found.matrix, model)
    assert found.misfit == prior._misfit(*laid_out, found.shape, model)


def nothing_like_a_face() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    whole = np.ones((SIZE, SIZE), bool)
    ball = x**2 + y**2 < 80**2
    z = np.sqrt(np.maximum(80**2 - x**2 - y**2, 0))
    sphere = np.where(ball[..., None], np.stack([x, -y, z], axis=-1) / 80, 0)
    plane = np.broadcast_to([0.0, 0.0, 1.0], (SIZE, SIZE, 3))
    angle = np.clip(x / 120, -1.2, 1.2)
    cylinder = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], axis=-1)
    heights = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(SIZE, SIZE)), (0, 0), 12) * 900
    slope = np.stack([-np.gradient(heights, axis=1), np.gradient(heights, axis=0), np.ones_like(heights)], axis=-1)
    hills = slope / np.linalg.norm(slope, axis=2, keepdims=True)
    return {"sphere": (sphere, ball), "plane": (plane, whole), "cylinder": (cylinder, whole), "hills": (hills, whole)}


@pytest.mark.parametrize("what", list(nothing_like_a_face()))
def test_nothing_is_expected_of_what_is_no_face(what):
    normal, inside = nothing_like_a_face()[what]
    normal = np.ascontiguousarray(normal, np.float32)
    found = face_in(normal, inside.astype(np.float32), face_model())
    assert found is None or found.misfit > BAD
    assert expected(normal, inside.astype(np.float32)) is None


def test_nothing_is_expected_where_nothing_is_trusted():
    assert expected(np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.float32)) is None


@pytest.mark.parametrize("padding", [0, 300], ids=["fills the frame", "is a quarter of it"])
def test_a_face_whose_light_is_spoilt_is_solved_nearer_to_the_truth(shape, monkeypatch, padding):
    """Half of a face has a flash and a half too much light from one side, as a wall beside it would give."""
    truth, inside = laid(shape, PLACES[1])
    lights = np.array([[0.5, 0.4, 0.77], [-0.5, 0.4, 0.77], [-0.5, -0.4, 0.77], [0.5, -0.4, 0.77]])
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    samples = (0.6 * np.maximum(lights @ truth[inside].T, 0)).astype(np.float32)
    left = np.nonzero(inside)[1] < SIZE / 2
    samples[0, left] += 0.3
    mask = np.pad(inside, padding)
    with_model = split(solve(samples, lights, np.ones(4), mask=mask, method="marching").scaled)[0]
    monkeypatch.setattr("stages.reconstruct.solvers.marching.expected", lambda *_: None)
    without = split(solve(samples, lights, np.ones(4), mask=mask, method="marching").scaled)[0]
    assert degrees(with_model.T[left], truth[inside][left]) < 0.93 * degrees(without.T[left], truth[inside][left])
    assert degrees(with_model.T[~left], truth[inside][~left]) < degrees(without.T[~left], truth[inside][~left]) + 0.3


def test_what_is_expected_does_not_depend_on_the_frame(shape):
    truth, inside = laid(shape, PLACES[0])
    unit, sure = truth[inside].T, np.ones(inside.sum(), np.float32)
    plain, padded = likeness(unit, sure, inside), likeness(unit, sure, np.pad(inside, ((200, 30), (0, 400))))
    assert plain[1].max() > 0.5
    for one, other in zip(plain, padded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_large_picture_is_expected_as_the_small_one_is(shape):
    """What is known of a face is found on a picture of 400 px at most: memory does not grow with it."""
    normal, inside = laid(shape, PLACES[1])
    sides = (1000, 1000)
    large = cv2.resize(normal, sides)
    large /= np.linalg.norm(large, axis=2, keepdims=True) + 1e-9
    mask = cv2.resize(inside.astype(np.float32), sides) > 0.99
    face, likely = likeness(large[mask].T, np.ones(mask.sum(), np.float32), mask)
    assert likely.mean() > 0.8
    assert degrees(face.T, large[mask]) < 2


def test_no_pixels_are_solved_to_none():
    nothing = np.zeros((5, 5), bool)
    for method in ("weighted", "thresholding"):
        solution = solve(np.zeros((4, 0), np.float32), np.eye(4, 3) + 0.5, np.ones(4), mask=nothing, method=method)
        assert split(solution.scaled)[0].shape == (3, 0)


@pytest.mark.parametrize("shape_of", [(2, 900), (900, 2), (1, 40)])
def test_a_line_of_pixels_is_no_face_to_look_for(shape_of):
    mask = np.ones(shape_of, bool)
    unit = np.zeros((3, mask.size), np.float32)
    unit[2] = 1
    face, likely = likeness(unit, np.ones(mask.size, np.float32), mask)
    assert face.shape == (3, mask.size)
    assert not likely.any()
