"""Combs, blur, and the ranking of sessions."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from face_scene import Scene, sensor

from pipeline.maps import Maps, write_maps
from stages.reconstruct.defects import blur, comb
from stages.reconstruct.quality import lean
from stages.reconstruct.ranking import command
from stages.reconstruct.trust import COMBED, judge


def maps_of(scene: Scene) -> Maps:
    """The scene's truth as maps, with its lights."""
    attributes = {"lights": json.dumps(scene.lights.tolist())}
    normal, albedo, depth = (x.astype(np.float32) for x in (scene.normal, scene.albedo, scene.depth))
    return Maps(normal, albedo, depth, scene.mask, attributes)


def test_a_comb_is_fields_that_differ(scene: Scene, rng: np.random.Generator) -> None:
    frame = sensor(scene.frames[0], rng)
    combed = frame.copy()
    combed[1::2] *= 0.5  # a flash that fired during one field
    assert comb(frame) < COMBED < comb(combed)
    assert comb(rng.normal(size=(128, 128))) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_blur_of_a_step_is_its_gaussian(sigma: float) -> None:
    step = np.zeros((96, 96), np.float32)
    step[:, 48:] = 1
    assert blur(cv2.GaussianBlur(step, (0, 0), sigma)) == pytest.approx(
        sigma, abs=0.3
    )  # differences over 2 px blur too
    assert blur(np.full((32, 32), 0.5)) == 20


def test_wrong_frames_raise_the_error(scene: Scene, rng: np.random.Generator) -> None:
    maps = maps_of(scene)
    good, bad = judge(maps, scene.frames), judge(maps, scene.frames * rng.uniform(0.6, 1.4, (4, 1, 1)))
    assert bad.error > 1.5 * good.error
    assert bad.numbers["misfit"] > good.numbers["misfit"]


@pytest.mark.parametrize("degrees", [-35.0, -15.0, 0.0, 15.0, 35.0])
def test_a_tilt_is_more_than_heads_nod(scene: Scene, degrees: float) -> None:
    """A ramp on the whole depth, as an uneven flash from above leaves it; the closed form of the lean is its slope."""
    maps = maps_of(scene)
    rows = np.arange(maps.shape[0], dtype=np.float32)[:, None]
    upright = lean(maps.depth, maps.mask)
    ramp = np.float32(np.tan(np.deg2rad(degrees)))
    tilted = dataclasses.replace(maps, depth=maps.depth - ramp * rows)
    assert lean(tilted.depth, maps.mask) == pytest.approx(upright + ramp, abs=1e-3)
    assert abs(upright) < 0.15
    assert ("tilt" in judge(tilted).findings) == (abs(degrees) > 30)


def test_the_command_ranks_worst_first(scene: Scene, workspace) -> None:
    write_maps("maps/fine.exr", maps_of(scene))
    hollow = maps_of(scene)
    hollow.normal[..., 0] *= -1
    write_maps("maps/hollow.exr", hollow)
    result = CliRunner().invoke(command, ["maps", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["session"] for row in rows] == ["maps/hollow.exr", "maps/fine.exr"]
    assert rows[0]["why"] == "hollow"
    assert "hollow" in CliRunner().invoke(command, ["maps/hollow.exr"]).output
    (workspace / "empty").mkdir()
    assert "no maps" in str(CliRunner().invoke(command, ["empty"]).exception)
