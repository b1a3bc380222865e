"""Known motion is found under changing light, and frames that did not move are left exactly alone."""

from __future__ import annotations

import numpy as np
import pytest
from face_scene import angles, photograph, ring, sensor

from pipeline.params import Reconstruct
from stages.reconstruct.registration import register
from stages.reconstruct.session import Photographs, reconstruct


@pytest.mark.parametrize(("count", "zenith"), [(3, 25), (4, 25), (4, 40), (6, 35)])
def test_motion_is_found(rng, count, zenith):
    true = rng.normal(0, 1.5, (count, 2))
    true[0] = 0
    moved = photograph(192, ring(zenith, count), true)
    found = register(sensor(moved.frames, rng), moved.lights, largest=10)
    assert np.abs(found - true).max() < 0.3


@pytest.mark.parametrize("count", [3, 4, 6])
def test_frames_at_rest_are_not_touched(rng, count):
    scene = photograph(192, ring(35, count))
    assert not register(sensor(scene.frames, rng), scene.lights, largest=10).any()


def test_registration_pays_where_the_head_moved(rng):
    true = np.array([[0, 0], [1.5, -1], [-1.2, 0.8], [0.6, 1.9]])
    moved = photograph(192, ring(35, 4), true)
    given = Photographs(sensor(moved.frames, rng), moved.lights, np.ones(4))
    errors = []
    for registration in (True, False):
        maps, quality = reconstruct(given, Reconstruct(registration=registration))
        errors.append(angles(maps.normal, moved.normal)[maps.mask & moved.mask].mean())
        assert quality.shift == pytest.approx(np.hypot(0.6, 1.9) if registration else 0, abs=0.3)
    assert errors[0] < 0.6 * errors[1]


def test_motion_beyond_reason_is_not_believed(rng):
    true = np.array([[0, 0], [3, 0], [0, 3], [-3, 0]], float)
    moved = photograph(128, ring(30, 4), true)
    assert not register(moved.frames, moved.lights, largest=1.0).any()


def test_black_frames_do_not_move():
    assert not register(np.zeros((4, 64, 64), np.float32), ring(30, 4), largest=5).any()
