"""The file of a rig: frames matched by name or order, and one line for each mistake."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.errors import Rejected, UserError
from pipeline.rig import Light, Rig, read_rig, write_rig

DIRECTIONS = [(1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (-1.0, -1.0, 2.0)]
NAMED = [{"frame": f"*_{n}.png", "direction": d} for n, d in zip("abc", DIRECTIONS, strict=True)]


def test_a_rig_survives_its_file(tmp_path):
    rig = Rig(
        name="dome",
        lights=(
            Light(frame="a.*", position=(300, 0, 900), strength=1.1, error=0.01),
            *(Light(frame=f"{n}.*", direction=d) for n, d in zip("bc", DIRECTIONS, strict=False)),
        ),
        camera={"pitch": 0.5, "intrinsics": (900, 900, 320, 240), "distance": 1500},
    )
    assert read_rig(write_rig(tmp_path / "rig.json", rig)) == rig


def test_patterns_match_frames_in_any_order_and_leave_lights_over():
    rig = Rig.model_validate({"lights": [*NAMED, {"frame": "*_d.png", "direction": (0, 0, 1), "strength": 2}]})
    found = rig.lights_for(["x/ann_d.png", "x/ann_a.png", "x/ann_b.png"])
    np.testing.assert_allclose(
        found.directions, [[0, 0, 1], np.array([1, 0, 1]) / 2**0.5, np.array([0, 1, 1]) / 2**0.5]
    )
    assert found.strengths.tolist() == [2, 1, 1]
    assert found.positions is None


def test_without_patterns_frames_take_lights_in_the_natural_order_of_their_names():
    lights = [{"position": (100 * x, 100 * y, 800)} for x, y in ((1, 0), (0, 1), (-1, -1))]
    found = Rig.model_validate({"lights": lights}).lights_for(["im10.png", "im1.png", "im2.png"])
    assert found.positions is not None
    assert found.positions[:, :2].tolist() == [[-100, -100], [100, 0], [0, 100]]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (["a_a.png", "a_b.png", "a_x.png"], r"no light for frame a_x\.png; its lights are for \*_a\.png"),
        (["a_a.png", "a_b.png", "b_a.png"], r"frames a_a\.png and b_a\.png are both of light 0"),
        (["a_a.png", "a_b.png"], "at least three"),
    ],
)
def test_frames_that_do_not_fit(frames, words):
    with pytest.raises(Rejected, match=words):
        Rig.model_validate({"lights": NAMED}).lights_for(frames, where="r.json", error=Rejected)


def test_another_number_of_frames_than_of_lights_in_order():
    rig = Rig.model_validate({"lights": [{"direction": d} for d in DIRECTIONS]})
    with pytest.raises(UserError, match="3 lights for 4 frames"):
        rig.lights_for(["1", "2", "3", "4"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[1]", "not a rig"),
        ("{}", "`lights` is missing"),
        (json.dumps({"lights": NAMED, "lamps": 1}), "unknown key `lamps`"),
        (json.dumps({"lights": NAMED[:2]}), "at least 3"),
        (json.dumps({"lights": [*NAMED, {"direction": [0, 0, 1]}]}), "3 of 4 lights have a frame"),
        (json.dumps({"lights": [*NAMED, NAMED[0]]}), "two lights have the frame"),
        (json.dumps({"lights": [*NAMED, {"frame": "d"}]}), "either a direction or a position"),
        (json.dumps({"lights": [*NAMED, {"frame": "d", "direction": [0, 0, 0]}]}), "must not be zero"),
        (json.dumps({"lights": [*NAMED, {"frame": "d", "position": [0, 0, 1]}]}), "at least 50 mm"),
        (json.dumps({"lights": [*NAMED, {"frame": "d", "direction": [0, 0, 1], "strength": -1}]}), "strength = -1"),
        (json.dumps({"lights": [*NAMED, {"frame": "d", "direction": [1e-320, 0, 1e-320]}]}), "must not be zero"),
        (
            json.dumps({"lights": [*NAMED, {"frame": "d", "direction": [0.1, 0.2]}]}),
            r"lights.3.direction = \[0.1, 0.2\]: must have 3 items, not 2",
        ),
        (
            json.dumps({"lights": NAMED, "camera": {"intrinsics": [900]}}),
            r"camera.intrinsics = \[900\]: must have 4 items, not 1",
        ),
        ('{"lights": [{"direction": [NaN, 0, 1]}]}', "lights"),
    ],
)
def test_mistakes_in_a_rig_are_one_line(tmp_path, text, words):
    path = tmp_path / "rig.json"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_rig(path)
    assert "rig.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_rig(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_rig(tmp_path / "rig.json")
