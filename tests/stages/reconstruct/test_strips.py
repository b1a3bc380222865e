"""Sessions worked on a few rows at a time: the same as the whole, in any type of frame; plain least squares."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from face_scene import angles, photograph, ring, sensor

from pipeline.images import linear, read_frame, read_levels
from pipeline.params import Reconstruct
from stages.reconstruct import session, stack
from stages.reconstruct.reading import read_photographs
from stages.reconstruct.registration import shifted
from stages.reconstruct.session import Photographs, reconstruct
from stages.reconstruct.solvers import least_squares, split
from stages.reconstruct.stack import Stack


@pytest.mark.parametrize(("method", "count"), [("weighted", 4), ("marching", 5), ("thresholding", 14)])
def test_rows_at_a_time_are_the_same_as_all_at_once(monkeypatch, rng, method, count):
    moved = photograph(96, ring(35, count), np.array([[0, 0], *[[1.3, -2.2]] * (count - 1)]))
    frames = sensor(moved.frames, rng)
    given = Photographs(frames, moved.lights, np.linspace(0.8, 1.2, count), np.full((96, 96), 0.01, np.float32))
    found = []
    for strip in (1, 1 << 30):
        monkeypatch.setattr(stack, "STRIP", strip)
        found.append(reconstruct(given, Reconstruct(solver=method)))
    (one, numbers), (other, others) = found
    assert numbers.shift > 1
    for name in ("normal", "albedo", "depth", "confidence", "visibility"):
        assert np.allclose(getattr(one, name), getattr(other, name), atol=2e-4), name
    assert [*numbers.row().values()][:6] == pytest.approx([*others.row().values()][:6], rel=1e-4)


def test_rows_of_a_moved_frame():
    frames = np.random.default_rng(2).random((2, 40, 30), np.float32)
    kept = Stack(frames, None)
    for shift in ([0, 0], [3.4, -7.7], [-1.5, 12.25]):
        kept.shifts = np.array([[0.0, 0.0], shift])
        whole = np.maximum(shifted(frames[1], np.array(shift)), 0) if any(shift) else frames[1]
        rows = [kept.flash(1, slice(first, first + 7)) for first in range(0, 40, 7)]
        assert np.allclose(np.concatenate(rows), whole, atol=1e-6)


def test_levels_are_kept_as_they_are_stored(tmp_path, scene):
    """8 and 16 bits, colour, and all of them in one session."""
    grey = np.rint(scene.frames * 255).astype(np.uint8)
    pictures = [grey[0], grey[1].astype(np.uint16) * 257, np.dstack([grey[2]] * 3), grey[3]]
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, picture in zip(paths, pictures, strict=True):
        cv2.imwrite(str(path), picture)
    assert [read_levels(path).dtype for path in paths] == [np.uint8, np.uint16, np.uint16, np.uint8]
    for path in paths:
        assert np.abs(linear(read_levels(path)) - read_frame(path)).max() < 1e-5
    given = read_photographs(paths, scene.lights, np.ones(4))
    assert given.frames.dtype == np.uint16
    assert np.array_equal(given.frames, grey.astype(np.uint16) * 257)


@pytest.mark.parametrize(("method", "count"), [("weighted", 5), ("marching", 6), ("thresholding", 14)])
def test_a_clipped_colour_is_saturated_though_its_grey_is_not(tmp_path, method, count):
    """Red at the top, grey at .8: such samples used to pass for good ones (.4 to .5 degrees off)."""
    scene = photograph(96, ring(30, count))
    light = 1.9 * scene.frames[..., None] * [1.0, 0.62, 0.5]
    found = {}
    for name, channels in {"clipped": np.minimum(light, 1), "whole": light / 2}.items():
        paths = [tmp_path / f"{name}{i}.png" for i in range(count)]
        for path, picture in zip(paths, channels, strict=True):
            cv2.imwrite(str(path), np.rint(picture[..., ::-1] * 65535).astype(np.uint16))
        given = read_photographs(paths, scene.lights, np.ones(count))
        found[name] = reconstruct(given, Reconstruct(solver=method, registration=False)), given
    (maps, quality), given = found["clipped"]
    (whole, _), fine = found["whole"]
    assert fine.clipped is None
    clipped = np.unpackbits(given.clipped, axis=-1, count=light.shape[2]).astype(bool)
    assert np.array_equal(clipped, light[..., 0] >= 0.99)
    assert linear(given.frames).max() < 0.9
    assert quality.saturated == pytest.approx(clipped[:, maps.mask].mean(), abs=1e-6)
    spoilt = clipped.any(axis=0) & ((~clipped).sum(axis=0) >= 3) & maps.mask & whole.mask
    assert spoilt.sum() > 100
    assert angles(maps.normal, whole.normal)[spoilt].mean() < 0.1


def test_clipped_pixels_move_with_their_frame():
    clipped = np.zeros((2, 40, 30), bool)
    clipped[1, 20, 10] = True
    kept = Stack(np.full((2, 40, 30), 100, np.uint8), None, np.packbits(clipped, axis=-1))
    for shift, place in (([0, 0], (20, 10)), ([3, -7], (27, 7))):
        kept.shifts = np.array([[0.0, 0.0], shift])
        rows = [kept.pair(1, slice(first, first + 7), 0.99)[1] for first in range(0, 40, 7)]
        assert np.argwhere(np.concatenate(rows)).tolist() == [list(place)]


def test_too_many_residuals_are_left_out_and_said(monkeypatch, scene):
    monkeypatch.setattr(session, "MOST_RESIDUALS", 3)
    maps, quality = reconstruct(Photographs(scene.frames, scene.lights, np.ones(4)), Reconstruct(), residuals=True)
    assert maps.residuals is None
    assert "goes by the maps alone" in quality.notes


@pytest.mark.parametrize("shift", [0.0, 1.5])
@pytest.mark.parametrize("ambient", [None, 0.1])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_the_brightest_is_that_of_the_flashes(rng, kind, ambient, shift):
    frames = (rng.random((4, 40, 30)) * (255 if kind == np.uint8 else 1)).astype(kind)
    stack = Stack(frames, None if ambient is None else np.full((40, 30), ambient, np.float32))
    stack.shifts[2] = shift
    assert np.array_equal(stack.brightest(), np.max([stack.flash(i) for i in range(4)], axis=0))


def test_plain_least_squares_is_numpys(rng):  # in several blocks, the last of them not whole
    lights, strengths = ring(35, 7), rng.uniform(0.5, 2, 7)
    samples = rng.normal(0.4, 0.4, (7, 150_000)).astype(np.float32)
    samples[:, :5] = 0
    normal, albedo = least_squares(samples, lights, strengths)
    expected = np.linalg.lstsq(lights * strengths[:, None], samples.astype(float), rcond=None)[0]
    unit, length = split(expected.astype(np.float32))
    assert np.allclose(albedo, length, atol=1e-5)
    assert np.allclose(normal, unit, atol=1e-4)
    assert np.array_equal(normal[:, :5], np.repeat([[0], [0], [1]], 5, axis=1))


@pytest.mark.parametrize(("method", "count"), [("weighted", 4), ("marching", 6), ("thresholding", 20)])
@pytest.mark.parametrize("unit", [0.002, 50.0])
def test_the_unit_of_the_strengths_is_the_albedos_alone(rng, method, count, unit):
    """A common factor used to change normals: floors and holds are in samples of a flash of strength 1."""
    scene = photograph(96, ring(35, count))
    frames, strengths = sensor(scene.frames, rng), np.linspace(0.8, 1.2, count)
    frames[1, 40:50, 40:50] = 0.9
    one, _ = reconstruct(Photographs(frames, scene.lights, strengths), Reconstruct(solver=method), residuals=True)
    other, quality = reconstruct(
        Photographs(frames, scene.lights, unit * strengths), Reconstruct(solver=method), residuals=True
    )
    assert np.abs(one.normal - other.normal).max() < 2e-4
    assert np.allclose(unit * other.albedo, one.albedo, rtol=1e-3, atol=1e-5)
    assert np.isfinite(other.residuals).all()
    assert "out of order" not in quality.notes


def test_a_weak_flash_is_not_taken_for_a_dead_one(scene):
    strengths = np.array([1, 1, 1, 0.05])
    frames = (scene.frames * strengths[:, None, None]).astype(np.float32)
    maps, quality = reconstruct(Photographs(frames, scene.lights, strengths), Reconstruct(registration=False))
    assert "left out" not in quality.notes
    assert maps.attributes["solver"] == "marching"
