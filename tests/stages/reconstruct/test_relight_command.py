"""`psface relight`: pictures under new flashes against the closed-form face, and what is wrong with what was given."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from face_scene import photograph, ring
from PIL import Image
from test_reconstruct_commands import lights_csv, run, shoot

from pipeline.maps import read_maps
from pipeline.params import Reconstruct
from stages.reconstruct.relight import NOISE, REACH, _direction, kriging, relit
from stages.reconstruct.session import Photographs, reconstruct

NEW = np.array([0.15, 0.1, np.sqrt(1 - 0.0325)])


def test_a_flash_that_was_not_used_is_foretold():
    lights = ring(35, 5)
    scene = photograph(96, lights)
    maps, _ = reconstruct(Photographs(scene.frames, lights, np.ones(5)), Reconstruct(), residuals=True)
    truth = photograph(96, [*lights, NEW]).frames[-1]
    assert np.abs(relit(maps, NEW) - truth)[maps.mask].mean() < 0.012  # frames without cast shadows


def test_kriging_is_that_of_a_gaussian_process_of_two_lights():
    one, other, new = (np.array([np.sin(a), 0, np.cos(a)]) for a in (-0.2, 0.2, 0.0))
    near, far = np.exp(-(0.2**2) / (2 * REACH**2)), np.exp(-(0.4**2) / (2 * REACH**2))
    expected = near / (1 + NOISE + far)  # of two equal unknowns
    assert np.allclose(kriging(np.stack([one, other]), new, linear=0.0), [expected, expected])


def test_relight_and_orbit(tmp_path, capfd, scene):
    frames = shoot(tmp_path / "shots", scene)
    table = lights_csv(tmp_path / "lights.csv", [p.name for p in frames], scene.lights)
    exr, png, gif = tmp_path / "s.exr", tmp_path / "o.png", tmp_path / "o.gif"
    assert run(capfd, "maps", *frames, "--lights", table, "-o", exr)[0] == 0
    light = ",".join(f"{x:.6f}" for x in scene.lights[1])
    status, out, error = run(capfd, "relight", exr, "--light", light, "-o", png, "--orbit", gif)
    assert (status, out, error) == (0, f"wrote {png.as_posix()}, {gif.as_posix()}\n", "")
    picture, taken = (cv2.imread(str(p), cv2.IMREAD_GRAYSCALE).astype(float) for p in (png, frames[1]))
    mask = read_maps(exr).mask
    assert np.abs(picture - taken)[mask].mean() < 4
    assert run(capfd, "relight", exr, "--light", light, "--strength", 0.5, "-o", png)[0] == 0
    half = cv2.imread(str(png), cv2.IMREAD_GRAYSCALE).astype(float)
    assert np.abs(half - picture / 2).max() <= 1
    with Image.open(gif) as moving:
        assert moving.n_frames > 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--light", "1,2"), "with -o"),
        (("--light", "1,2", "-o", "a.png"), "three numbers"),
        (("--light", "0,0,-1", "-o", "a.png"), "behind the face"),
        (("--light", "0,0,1", "--strength", "0", "-o", "a.png"), "between 0.001 and 1000"),
        (("--light", "0,0,1", "-o", "a.png"), "cannot be read"),
        (("--orbit", "a.png"), "ends in .gif"),
        ((), "or both"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, monkeypatch, capfd, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, _, error = run(capfd, "relight", "none.exr", *arguments)
    assert status == 2
    assert words in error
    assert error.count("\n") == 1


def test_a_light_of_any_length_is_a_direction():
    np.testing.assert_allclose(_direction("1e200,0,1e200"), np.sqrt([0.5, 0, 0.5]))
