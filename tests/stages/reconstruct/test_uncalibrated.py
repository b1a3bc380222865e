"""Lights from frames alone: held against the singular value decomposition, closed forms and a rendered session."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from face_scene import Scene, angles, photograph, ring

from pipeline.errors import Rejected
from pipeline.geometry import invert, resizing, similarity, warp_map
from pipeline.params import Reconstruct
from stages.ingest.photoface import read_session
from stages.reconstruct.face.model import SIDE, face_model, landmarks
from stages.reconstruct.reading import read_photographs
from stages.reconstruct.session import Photographs, _small, reconstruct
from stages.reconstruct.stack import Stack
from stages.reconstruct.uncalibrated import NOTE, estimate_lights
from stages.reconstruct.uncalibrated.factorise import factorise, scaled_normals
from stages.reconstruct.uncalibrated.find import find
from stages.reconstruct.uncalibrated.integrable import curl, differences, integrable, leaving

SIZE = 160
AT = similarity(1.9, 3.0, (34.0, 28.0))  # from the model's grid to the frames


@pytest.fixture(scope="module")
def shot() -> Photographs:
    """The rendered session that is kept in tests/data, of a subject that the model has not seen."""
    folder = next((Path(__file__).parents[2] / "data" / "session").glob("*/*"))
    session = read_session(folder)
    return read_photographs(session.frames, session.lights, session.strengths, ambient=session.ambient)


def same_span(one: np.ndarray, other: np.ndarray) -> float:
    """Sine of the largest angle between two spans (k, 3)."""
    one, other = np.linalg.qr(one)[0], np.linalg.qr(other)[0]
    return float(np.linalg.norm(other - one @ (one.T @ other), 2))


def model_face(seed: int, lights: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (k, SIZE, SIZE) of a face that the model can make, its normals and where they are."""
    model = face_model()
    shape = np.random.default_rng(seed).normal(size=model.components.shape[2])
    normal = model.normal.copy()
    normal[model.where] += model.components @ shape
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    inside = model.where
    seen = warp_map("normal", normal, AT, SIZE, mask=inside)
    albedo = 0.6 * warp_map("albedo", model.albedo, AT, SIZE, mask=inside)
    where = warp_map("mask", inside, AT, SIZE)
    frames = np.stack([s * albedo * np.maximum(seen @ light, 0) for s, light in zip(strengths, lights, strict=True)])
    return (frames * where).astype(np.float32), seen, where


def test_with_weights_of_one_the_span_is_that_of_the_singular_vectors(rng):
    """numpy's SVD is the twin; with a wide scale no residual counts less."""
    samples = rng.normal(size=(6, 3)) @ rng.normal(size=(3, 400)) + 0.05 * rng.normal(size=(6, 400))
    unit = samples / np.linalg.norm(samples, axis=0)
    found = factorise(samples, np.ones(samples.shape), scale=1e6, rounds=200)
    assert same_span(found, np.linalg.svd(unit)[0][:, :3]) < 1e-3
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-12)


def test_shadows_and_flares_do_not_turn_the_span(scene: Scene):
    lights = ring(40, 6)
    frames = photograph(96, lights).frames[:, scene.mask].astype(float)
    spoilt = frames.copy()
    spoilt[0, ::3], spoilt[3, 1::5] = 0, 3 * spoilt[3, 1::5]
    usable = (spoilt > 0.1 * spoilt.max(axis=0)).astype(float)
    plain = np.linalg.svd(spoilt, full_matrices=False)[0][:, :3]
    found = same_span(factorise(spoilt, usable), lights)
    assert found < 0.01
    assert found < 0.1 * same_span(plain, lights)


def test_scaled_normals_are_least_squares(rng):
    span, samples = np.linalg.qr(rng.normal(size=(5, 3)))[0], rng.normal(size=(5, 7))
    twin = np.linalg.lstsq(span, samples, rcond=None)[0]
    np.testing.assert_allclose(scaled_normals(samples, np.ones(samples.shape), span), twin, rtol=1e-3, atol=1e-3)


def bas_relief(across: float, up: float, relief: float) -> np.ndarray:
    """What takes scaled normals of z to those of relief z + across x + up y (Belhumeur, Kriegman, Yuille 1999)."""
    surface = np.array([[1, 0, 0], [0, 1, 0], [across, up, relief]])
    return np.asarray(np.linalg.inv(surface).T)


def test_a_bas_relief_keeps_the_frames_and_the_curl(scene: Scene):
    scaled = (scene.normal * scene.albedo[..., None]).reshape(-1, 3)
    change = bas_relief(0.2, -0.3, 0.6)
    np.testing.assert_allclose(scaled @ change.T @ (scene.lights @ np.linalg.inv(change)).T, scaled @ scene.lights.T)
    value, slopes = differences(scene.normal, scene.mask)
    left = [np.abs(curl(value, slopes, np.linalg.inv(m))).mean() for m in (np.eye(3), change)]
    bent = np.abs(curl(value, slopes, np.linalg.inv(leaving(np.array([0.1, 0.1, 0.1, 0.1, 0.1]))))).mean()
    assert max(left) < 0.3 * bent


def test_integrability_finds_all_but_the_bas_relief(scene: Scene):
    """Pseudo-normals mixed by a known matrix; what comes back differs from it by a bas-relief and a scale alone."""
    away = leaving(np.array([0.06, -0.05, 0.08, 0.07, -0.06])) @ bas_relief(0.1, 0.2, 0.8)
    pseudo = scene.normal @ np.linalg.inv(away).T  # so that the truth is X = away^-1
    found = integrable(pseudo, scene.mask, np.eye(3), 1e-3 * np.eye(9))
    rest = np.linalg.inv(found) @ np.linalg.inv(away)  # takes true normals to those found
    rest /= (rest[0, 0] + rest[1, 1]) / 2
    before = np.linalg.inv(away)
    before = before / ((before[0, 0] + before[1, 1]) / 2)

    def leaves(matrix: np.ndarray) -> float:
        return float(np.abs([matrix[0, 1], matrix[1, 0], matrix[0, 0] - matrix[1, 1], *matrix[2, :2]]).max())

    assert leaves(before) > 0.05
    assert leaves(rest) < 0.02


def test_the_face_is_found_where_it_is():
    frames, _, _ = model_face(1, ring(35, 4), np.ones(4))
    middle = landmarks().mean(axis=0)
    best = find(frames, face_model())[0]
    assert best.score > 0.3
    at = AT[:, :2] @ middle + AT[:, 2]
    found = invert(best.matrix)
    assert np.linalg.norm(found[:, :2] @ middle + found[:, 2] - at) < 6


@pytest.mark.parametrize("count", [3, 4, 9])
@pytest.mark.parametrize("seed", [1, 2])
def test_lights_of_a_face_of_the_model(count: int, seed: int):
    lights = ring(35, count)
    strengths = np.linspace(0.95, 1.05, count)
    frames, normal, where = model_face(seed, lights, strengths)
    found = estimate_lights(frames)
    assert angles(found.lights, lights).mean() < 6
    np.testing.assert_allclose(found.strengths, strengths, atol=0.06)
    assert found.strengths.mean() == pytest.approx(1)
    scaled = np.linalg.pinv(found.lights * found.strengths[:, None]) @ frames[:, where]
    lit = (frames[:, where] > 0).all(axis=0)
    solved = (scaled / (np.linalg.norm(scaled, axis=0) + 1e-9)).T
    model = warp_map("normal", face_model().normal, AT, SIZE, mask=face_model().where)
    error, mean = (angles(n, normal[where])[lit].mean() for n in (solved, model[where]))
    assert error < 6
    assert error < 0.5 * mean


def test_a_larger_picture_gives_the_same_lights():
    lights = ring(35, 4)
    frames, _, _ = model_face(1, lights, np.ones(4))
    large = np.stack([warp_map("frame", frame, resizing(3), 3 * SIZE) for frame in frames])
    first, second = estimate_lights(frames), estimate_lights(large)
    assert angles(first.lights, second.lights).max() < 3


def test_the_order_of_the_frames_does_not_matter():
    frames, _, _ = model_face(2, ring(35, 5), np.ones(5))
    order = np.array([3, 0, 4, 1, 2])
    first, second = estimate_lights(frames), estimate_lights(frames[order])
    assert angles(first.lights[order], second.lights).max() < 0.5


def test_a_session_without_lights(shot: Photographs):
    """The rendered session of tests/data: never hollow, near the maps of its known lights, and said in words."""
    known, _ = reconstruct(shot, Reconstruct())
    maps, quality = reconstruct(replace(shot, lights=None), Reconstruct())
    assert NOTE in quality.notes
    assert "hollow" not in quality.notes
    assert maps.attributes["lights.estimated"]
    assert "lights.estimated" not in known.attributes
    lights = np.array(json.loads(maps.attributes["lights"]))
    assert shot.lights is not None
    assert angles(lights, shot.lights).mean() < 5.5  # 3.9 measured
    both = maps.mask & known.mask
    assert angles(maps.normal, known.normal)[both].mean() < 7


def test_samples_clipped_under_ambient_light_are_left_out(shot: Photographs):
    """A clipped pixel less the ambient looks like a good one; the lights were 11 to 30 degrees off by such."""
    ambient = 0.2
    flashes = np.stack([Stack(shot.frames, shot.ambient).flash(i) for i in range(4)])
    frames = np.clip(3 * flashes + ambient, 0, 1).astype(np.float32)
    dark = np.full(frames.shape[1:], ambient, np.float32)
    maps, _ = reconstruct(replace(shot, frames=frames, lights=None, ambient=dark), Reconstruct())
    assert shot.lights is not None
    assert angles(np.array(json.loads(maps.attributes["lights"])), shot.lights).mean() < 9


def test_a_clipped_pixel_marks_what_it_is_averaged_into():
    frames = np.full((3, 1024, 1024), 0.3, np.float32)
    frames[1, 100, 201] = 1
    small, saturated = _small(Stack(frames, np.full(frames.shape[1:], 0.1, np.float32)), 0.97)
    assert small.shape == saturated.shape == (3, 512, 512)
    assert small.max() < 0.5
    assert np.argwhere(saturated).tolist() == [[1, 50, 100]]


def test_a_face_that_is_upside_down_is_refused(shot: Photographs):
    """Turned by half, or with its rows read from the bottom: the lights were 5 to 36 degrees off without a word."""
    frames = np.stack([Stack(shot.frames, shot.ambient).flash(i) for i in range(4)])
    for wrong in (frames[:, ::-1, ::-1], frames[:, ::-1]):
        with pytest.raises(Rejected, match="upside down"):
            estimate_lights(np.ascontiguousarray(wrong))


def test_unequal_strengths_are_noted(shot: Photographs):
    frames = np.stack([Stack(shot.frames, shot.ambient).flash(i) for i in range(4)])
    assert estimate_lights(frames).notes == [NOTE]
    frames[1] *= 0.5
    assert any("strengths found spread" in note for note in estimate_lights(frames).notes)


def test_a_small_face_is_found(shot: Photographs):
    """A quarter of the frame's shorter side: it was refused."""
    frames = np.stack([Stack(shot.frames, shot.ambient).flash(i) for i in range(4)])
    padded = np.pad(frames, ((0, 0), (100, 100), (160, 160)))
    assert angles(estimate_lights(padded).lights, estimate_lights(frames).lights).max() < 2


def test_what_cannot_be_is_refused(shot: Photographs, rng):
    frames = shot.frames
    rows, columns = np.mgrid[1:-1:128j, -1:1:128j]
    height = np.sqrt(np.maximum(0.8 - columns**2 - rows**2, 0))
    ball = np.stack([columns, rows, height], axis=-1) / np.sqrt(0.8)
    sphere = np.stack([0.6 * np.maximum(ball @ light, 0) * (height > 0) for light in ring(35, 4)])
    flat = frames.mean(axis=0) * np.array([1, 0.9, 1.1, 0.8], np.float32)[:, None, None]
    for wrong, words in (
        (frames[:2], "at least three"),
        (np.zeros((4, 64, 64)), "no upright face|nothing is lit"),
        (rng.random((4, 96, 96)), "no upright face|too much alike"),
        (sphere, "no upright face"),
        (np.concatenate([frames[:3], np.ones_like(frames[:1])]), "that every flash lights"),
        (flat, "too much alike|no upright face"),
    ):
        with pytest.raises(Rejected, match=words) as reason:
            estimate_lights(wrong.astype(np.float32))
        assert "\n" not in str(reason.value)


def test_the_model_is_symmetric_and_small():
    from stages.reconstruct.face.model import FILE

    model = face_model()
    assert FILE.stat().st_size < 200_000
    assert model.normal.shape == (SIDE, SIDE, 3)
    mirrored = model.normal[:, ::-1] * [-1, 1, 1]
    np.testing.assert_allclose(model.normal, mirrored, atol=2e-3)
    assert model.components.shape[0] == model.where.sum() > 800
