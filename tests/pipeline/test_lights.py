"""Lights: angles there and back, conditioning against numpy, and every mistake of a lights.csv in one line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected, UserError
from pipeline.lights import check_lights, condition, from_angles, read_lights_csv, to_angles

TABLE = "frame,x,y,z,strength\nim0.png,0.5,0,0.9,1\nim1.png,-0.5,0,0.9,2\nim2.png,0,0.5,0.9,\n"


@given(st.floats(0.1, 179.9), st.floats(-179.9, 179.9))
def test_angles_there_and_back(zenith, azimuth):
    light = from_angles(zenith, azimuth)
    assert np.linalg.norm(light) == pytest.approx(1)
    assert to_angles(light * 3) == (pytest.approx(zenith, abs=1e-6), pytest.approx(azimuth, abs=1e-6))


def test_angles_follow_the_frame():
    assert np.allclose(from_angles([0, 90, 90], [0, 0, 90]), [[0, 0, 1], [1, 0, 0], [0, 1, 0]])


def test_condition_is_that_of_numpy(rng):
    lights = rng.normal(size=(5, 3))
    assert condition(lights) == pytest.approx(np.linalg.cond(lights))
    assert condition(np.array([[0, 0, 1.0], [1, 0, 1], [2, 0, 1]])) == np.inf


@pytest.mark.parametrize(
    ("lights", "words"),
    [
        (np.eye(3)[:2], "at least three"),
        (np.eye(3)[:, :2], r"\(k, 3\)"),
        ([[0.1, 0, 1], [0.2, 0, 1], [0.3, 0, 1]], "coplanar"),
        ([[0.01, 0, 1], [-0.01, 0, 1], [0, 0.01, 1]], "too close"),
        ([[0.5, 0, 1], [0, 0.5, 1], [0, 0, 0]], "zero"),
        ([[0.5, 0, 1], [0, 0.5, 1], [0, np.nan, 1]], "finite"),
        ([[0.5, 0, 1], [0, 0.5, 1], [0.3, 0.3, -1]], "light 2 is behind"),
    ],
)
def test_lights_that_cannot_give_normals(lights, words):
    with pytest.raises(Rejected, match=words):
        check_lights(lights)
    with pytest.raises(UserError, match=f"rig a.*{words}"):
        check_lights(lights, where="rig a", error=UserError)


def test_lights_are_made_unit():
    assert np.allclose(np.linalg.norm(check_lights([[1, 0, 2], [0, 1, 2], [-1, -1, 3]]), axis=1), 1)


def test_a_table_is_matched_by_path_or_name_in_any_order(tmp_path):
    path = tmp_path / "lights.csv"
    path.write_text("\ufeff" + TABLE, encoding="utf-8")
    table = read_lights_csv(path)
    assert np.allclose(np.linalg.norm(table.lights, axis=1), 1)
    assert table.strengths.tolist() == [1, 2, 1]
    assert table.match(["elsewhere/im2.png", "im0.png", tmp_path / "im1.png"]).tolist() == [2, 0, 1]


def test_full_paths_tell_equal_names_apart(tmp_path):
    path = tmp_path / "lights.csv"
    path.write_text(f"frame,x,y,z\n{tmp_path}/a/im.png,1,0,1\n{tmp_path}/b/im.png,0,1,1\nc/im.png,0,0,1\n")
    table = read_lights_csv(path)
    given_frames = [tmp_path / "c" / "im.png", tmp_path / "b" / "im.png", tmp_path / "a" / "im.png"]
    assert table.match(given_frames).tolist() == [2, 1, 0]
    with pytest.raises(UserError, match="3 rows fit"):
        table.match(["im.png"])


def test_frames_without_a_row_and_frames_given_twice(tmp_path):
    path = tmp_path / "lights.csv"
    path.write_text(TABLE)
    table = read_lights_csv(path)
    with pytest.raises(UserError, match=r"no row for frame im7\.png; its rows are for im0\.png, im1\.png, im2\.png"):
        table.match(["im0.png", "im7.png"])
    with pytest.raises(UserError, match=r"both take the row 'im0\.png'"):
        table.match(["im0.png", "x/im0.png"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column frame, x, y, z"),
        ("frame,x,y\na,1,2\n", "no column z"),
        ("frame,x,y,z\na,1,0,one\n", "line 2: x, y, z and strength must be numbers"),
        ("frame,x,y,z\na,1,0\n", "line 2"),
        ("frame,x,y,z\na,60,5,55,2,120,1\n", "line 2: 7 cells under 4 names"),  # decimal commas, read as other lights
        ("frame,x,y,z,strengt\na,0,0,1,2\n", "unknown column strengt; known are frame, x, y, z, strength"),
        ("frame,x,y,z\n,1,0,1\n", "line 2: no frame"),
        ("x,y,z,frame\n1,2,3\n", "line 2: no frame"),  # was a KeyError
        ("frame,x,y,z" + "a" * 200_000, "cannot be read as a table"),  # was a csv.Error
        ("frame,x,y,z\na,0,0,0\n", "line 2: x, y, z must be finite and not all zero"),
        ("frame,x,y,z\na,1e-320,0,1e-320\n", "line 2: x, y, z must be finite and not all zero"),  # numpy warned
        ("frame,x,y,z\na,0,nan,1\n", "line 2"),
        ("frame,x,y,z\na,0,0,1\na,0,1,1\n", "line 3: frame a is named twice"),
        ("frame,x,y,z,strength\na,0,0,1,-2\n", "line 2: strength must be between 0.001 and 1000"),
        ("frame,x,y,z,strength\na,0,0,1,1e308\n", "line 2: strength must be between 0.001 and 1000"),
        ("frame,x,y,z\n" + "a" * 256 + ",0,0,1\n", "line 2: a.* is no name of a file"),  # was an OSError
        ("frame,x,y,z\na\x00b,0,0,1\n", r"line 2: a\\x00b is no name of a file"),
    ],
)
def test_mistakes_in_a_table_name_file_and_line(tmp_path, text, words):
    path = tmp_path / "lights.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_lights_csv(path)
    assert "lights.csv" in str(caught.value)


def test_a_missing_table(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        read_lights_csv(tmp_path / "nowhere.csv")
