"""A session from frames to maps: accuracy in closed form, and everything that can be wrong with frames."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from face_scene import angles, photograph, ring, sensor

from pipeline.errors import Rejected
from pipeline.params import Reconstruct
from stages.reconstruct.masking import foreground
from stages.reconstruct.quality import bulging, orientation
from stages.reconstruct.session import Photographs, reconstruct


@pytest.fixture
def given(scene) -> Photographs:
    return Photographs(scene.frames, scene.lights, np.ones(4))


@pytest.mark.parametrize("count", [3, 4, 7])
def test_noiseless_lambertian_frames(count):
    """The mark is half a degree on what no flash leaves in shadow."""
    scene = photograph(96, ring(35, count))
    maps, quality = reconstruct(Photographs(scene.frames, scene.lights, np.ones(count)), Reconstruct())
    lit = maps.mask & (scene.normal @ scene.lights.T > 0).all(axis=-1)
    assert angles(maps.normal, scene.normal)[lit].mean() < 0.05
    assert np.abs(maps.albedo / scene.albedo - 1)[lit].mean() < 1e-3
    depth = scene.depth - scene.depth[maps.mask].mean()
    assert np.abs(maps.depth - depth)[maps.mask].mean() < 0.01 * np.ptp(depth[maps.mask])
    assert (maps.mask == scene.mask).mean() > 0.95
    assert quality.residual < 0.01
    assert quality.integrability < 0.01
    assert quality.notes == ""


def test_there_may_be_more_flashes_than_anyone_has():
    """The README named a limit of 128 that nothing kept."""
    scene = photograph(64, ring(35, 130))
    maps, _ = reconstruct(Photographs(scene.frames, scene.lights, np.ones(130)), Reconstruct(registration=False))
    assert angles(maps.normal, scene.normal)[maps.mask].mean() < 0.5
    assert len(json.loads(maps.attributes["lights"])) == 130


def test_eight_bits_and_noise(scene, rng):
    maps, _ = reconstruct(Photographs(sensor(scene.frames, rng), scene.lights, np.ones(4)), Reconstruct())
    lit = maps.mask & (scene.normal @ scene.lights.T > 0.1).all(axis=-1)
    assert angles(maps.normal, scene.normal)[lit].mean() < 1.5


def test_strengths_and_ambient(given, scene):
    strengths = np.array([1.2, 0.8, 1.0, 0.9])
    ambient = (0.05 * scene.albedo * scene.mask).astype(np.float32)
    frames = scene.frames * strengths[:, None, None].astype(np.float32) + ambient
    plain, _ = reconstruct(given, Reconstruct())
    maps, _ = reconstruct(Photographs(frames, scene.lights, strengths, ambient), Reconstruct())
    both = maps.mask & plain.mask
    assert angles(maps.normal, plain.normal)[both].mean() < 0.1
    assert np.allclose(maps.albedo[both], plain.albedo[both], atol=0.01)


def test_the_order_of_the_frames_does_not_matter(given):
    maps, _ = reconstruct(given, Reconstruct())
    order = [2, 0, 3, 1]
    other = Photographs(given.frames[order], given.lights[order], given.strengths[order])
    again, _ = reconstruct(other, Reconstruct())
    assert np.allclose(maps.normal, again.normal, atol=1e-3)


def test_a_mask_that_is_given_is_kept(given, scene):
    mask = np.zeros_like(scene.mask)
    mask[30:60, 30:50] = True
    maps, _ = reconstruct(replace(given, mask=mask), Reconstruct())
    assert np.array_equal(maps.mask, mask)


@pytest.mark.parametrize(
    ("flip", "words"), [([-1, 1, 1], "hollow along x"), ([1, -1, 1], "hollow along y"), ([-1, -1, 1], "x and y")]
)
def test_a_hollow_face_is_said(given, flip, words):
    _, quality = reconstruct(replace(given, lights=given.lights * flip), Reconstruct())
    assert words in quality.notes


def test_a_bowed_head_is_not_hollow():
    """Shoulders that lean up below a face that leans down turn the slopes of the whole picture round."""
    y, x = (side / 60 for side in np.mgrid[70:-130:-1, -80:80].astype(float))
    head, shoulders = x**2 + y**2 < 1, y < -1.05
    across, upwards = np.where(shoulders, 0.3 * x, 0.7 * x), np.where(shoulders, 0.65, 0.55 * y - 0.35)
    normal = np.dstack([across, upwards, np.sqrt((1 - across**2 - upwards**2).clip(0.01))])
    mask = head | shoulders
    assert bulging(normal, mask)[1] < -0.4
    assert orientation(normal, mask) == []
    assert "hollow along y" in orientation(normal * [1, -1, 1], mask)[0]
    assert "hollow along x" in orientation(normal * [-1, 1, 1], mask)[0]


def test_noise_on_a_sheet_is_not_hollow():
    """Its slopes correlate with anything, however little they are."""
    slope = np.mgrid[:90, :90] / 90 * 0.03
    normal = np.dstack([-slope[1], slope[0], np.ones((90, 90))])
    assert orientation(normal, np.ones((90, 90), bool)) == []


def test_a_frame_given_twice_is_said(given):
    """Its copy has the light of another, and with unknown lights they were one direction that counted twice."""
    frames = given.frames.copy()
    frames[3] = frames[1]
    _, quality = reconstruct(replace(given, frames=frames), Reconstruct())
    assert "frames 1 and 3 are the same picture: one of them may be the wrong file" in quality.notes
    with pytest.raises(Rejected, match="frames 1 and 3 are the same picture, and lights are estimated"):
        reconstruct(replace(given, frames=frames, lights=None), Reconstruct())
    assert "same picture" not in reconstruct(given, Reconstruct())[1].notes


def test_a_flash_that_did_not_fire_is_left_out(scene):
    five = photograph(96, ring(35, 5))
    frames = five.frames.copy()
    frames[3] = 0
    maps, quality = reconstruct(Photographs(frames, five.lights, np.ones(5)), Reconstruct())
    assert "frame 3 is not lit" in quality.notes
    assert len(json.loads(maps.attributes["lights"])) == 4


def test_what_cannot_be_used_is_rejected(given, scene):
    for bad, words in {
        Photographs(np.zeros_like(given.frames), given.lights, given.strengths): "only 0 of 4 frames",
        Photographs(given.frames[:2], given.lights[:2], np.ones(2)): "only 2 of 2 frames",
        Photographs(given.frames, given.lights * [1, 0, 1], given.strengths): "coplanar",
        replace(given, mask=np.ones((5, 5), bool)): "the mask is 5x5, the frames are 96x96",
        replace(given, mask=np.zeros((96, 96), bool)): "mask is empty",
        replace(given, ambient=np.zeros((480, 640), np.float32)): "the ambient frame is 640x480, the frames are 96x96",
        Photographs(given.frames * np.float32(0.01), given.lights, given.strengths): "no face stands out",
    }.items():
        with pytest.raises(Rejected, match=words):
            reconstruct(bad, Reconstruct())


def test_quality_counts_shadow_and_saturation(scene):
    bright = Photographs(np.minimum(scene.frames * np.float32(2.5), 1), scene.lights, np.ones(4))
    _, quality = reconstruct(bright, Reconstruct())
    assert 0.02 < quality.saturated < 0.9
    low = photograph(96, ring(60, 4))
    _, lower = reconstruct(Photographs(low.frames, low.lights, np.ones(4)), Reconstruct())
    assert lower.shadowed > 0.05
    assert lower.condition == pytest.approx(np.linalg.cond(low.lights))


def test_the_mask_is_one_piece_without_holes():
    frames = np.zeros((3, 80, 80), np.float32)
    frames[:, 10:60, 10:60] = 0.5
    frames[:, 30:40, 30:40] = 0  # a hole
    frames[:, 40:42, 10:60] = 0  # a dark brow that cuts the face in two
    frames[:, 70:75, 70:75] = 0.9  # something else that shines
    mask = foreground(frames, level=0.03)
    assert mask[12:58, 12:58].all()
    assert not mask[66:, 66:].any()


def test_frames_without_any_shading_are_no_fault():
    """Their normals differ by rounding alone, whose correlation numpy warned of."""
    lights = ring(35, 4)
    frames = np.full((4, 17, 17), 0.5, np.float32) + np.arange(4, dtype=np.float32)[:, None, None] * 1e-6
    _, quality = reconstruct(Photographs(frames, lights, np.ones(4)), Reconstruct())
    assert quality.notes == ""


def test_a_face_that_is_mostly_saturated_is_rejected(scene):
    """It came out as a plane without a word."""
    frames = np.where(scene.mask, np.float32(1), scene.frames).astype(np.float32)
    with pytest.raises(Rejected, match="overexposed"):
        reconstruct(Photographs(frames, scene.lights, np.ones(4)), Reconstruct())
