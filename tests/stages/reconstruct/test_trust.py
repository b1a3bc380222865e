"""Combs, blur, and the ranking of sessions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from face_scene import Scene, sensor

from pipeline.images import write_picture
from pipeline.maps import Maps, read_maps, write_maps
from pipeline.params import Reconstruct
from stages.reconstruct.defects import blur, comb
from stages.reconstruct.maps import command as maps_command
from stages.reconstruct.quality import lean
from stages.reconstruct.ranking import command
from stages.reconstruct.session import Photographs, reconstruct
from stages.reconstruct.trust import COMBED, judge


def maps_of(scene: Scene) -> Maps:
    """The scene's truth as maps, with its lights."""
    attributes = {"lights": json.dumps(scene.lights.tolist())}
    normal, albedo, depth = (x.astype(np.float32) for x in (scene.normal, scene.albedo, scene.depth))
    return Maps(normal, albedo, depth, scene.mask, attributes)


def ranking_of(*paths: str) -> list[dict]:
    """What `psface quality --json` says."""
    result = CliRunner().invoke(command, [*paths, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


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


def test_wrong_strengths_raise_the_error(scene: Scene, rng: np.random.Generator) -> None:
    frames = sensor(scene.frames, rng)
    good, bad = (
        judge(reconstruct(Photographs(frames * gains, scene.lights, np.ones(4)), Reconstruct())[0])
        for gains in (np.float32(1), rng.uniform(0.6, 1.4, (4, 1, 1)).astype(np.float32))
    )
    assert bad.error > 1.5 * good.error
    assert bad.numbers["misfit"] > good.numbers["misfit"]


@pytest.mark.parametrize("ambient", [0.0, 0.25])
def test_the_numbers_are_those_that_reconstruction_left(scene: Scene, workspace, ambient: float) -> None:
    """Frames hold ambient light and strengths, which once were judged as a misfit of 37 degrees."""
    strengths = np.array([0.6, 0.5, 0.6, 0.4])
    for i, frame in enumerate([*(scene.frames * strengths[:, None, None]), np.zeros(scene.mask.shape)]):
        write_picture(f"im{i}.png", frame + ambient)
    rows = [f"im{i}.png,{','.join(map(str, light))},{strengths[i]}" for i, light in enumerate(scene.lights)]
    Path("lights.csv").write_text("\n".join(["frame,x,y,z,strength", *rows]))
    frames = [f"im{i}.png" for i in range(4)]
    made = CliRunner().invoke(maps_command, [*frames, "--lights=lights.csv", "--ambient=im4.png", "-o", "s.exr"])
    assert made.exit_code == 0, made.output
    left = json.loads(read_maps("s.exr").attributes["quality"])
    (row,) = ranking_of("s.exr")
    assert row["numbers"]["misfit"] == pytest.approx(np.log(left["residual"] + 1e-3), abs=1e-3)
    assert row["numbers"]["shadowed"] == pytest.approx(left["shadowed"], abs=1e-3)
    assert row["error"] < 8


@pytest.mark.parametrize("where", [".", "here", "elsewhere"])
def test_a_comb_is_looked_for_in_the_sessions_own_frames(
    scene: Scene, workspace, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """From any folder, also one where frames of the same names lie that belong to another session."""
    combed = scene.frames.copy()
    combed[:, 1::2] *= 0.5
    for folder, frames in (("here", scene.frames), ("elsewhere", combed)):
        Path(folder).mkdir()
        for i, frame in enumerate(frames):
            write_picture(f"{folder}/im{i}.png", frame)
    for name, start, attributes in (
        ("here/fine", "", {}),
        ("here/apart", "../elsewhere/", {}),
        ("here/gone", "nowhere/", {}),
        ("data/maps/s1/fine", "here/", {"session": "s1/fine"}),
        ("data/maps/s1/combed", "elsewhere/", {"session": "s1/combed"}),
    ):
        maps = maps_of(scene)
        maps.attributes |= {"frames": json.dumps([f"{start}im{i}.png" for i in range(4)]), **attributes}
        write_maps(f"{name}.exr", maps)
    monkeypatch.chdir(where)
    back = Path("." if where == "." else "..")
    found = {Path(row["session"]).relative_to(back).as_posix(): "comb" in row["findings"]
             for row in ranking_of(str(back / "here"), str(back / "data"))}  # fmt: skip
    assert found == {
        "here/fine.exr": False,
        "here/apart.exr": True,
        "here/gone.exr": False,
        "data/maps/s1/fine.exr": False,
        "data/maps/s1/combed.exr": True,
    }


def test_maps_say_where_their_frames_are(scene: Scene, workspace) -> None:
    Path("raw").mkdir()
    for i, frame in enumerate(scene.frames):
        write_picture(f"raw/im{i}.png", frame)
    rows = [f"im{i}.png,{','.join(map(str, light))}" for i, light in enumerate(scene.lights)]
    Path("lights.csv").write_text("\n".join(["frame,x,y,z", *rows]))
    frames = [f"raw/im{i}.png" for i in range(4)]
    made = CliRunner().invoke(maps_command, [*frames, "--lights=lights.csv", "-o", "out/s.exr"])
    assert made.exit_code == 0, made.output
    assert json.loads(read_maps("out/s.exr").attributes["frames"]) == [f"../{name}" for name in frames]


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
    rows = ranking_of("maps")
    assert [row["session"] for row in rows] == ["maps/hollow.exr", "maps/fine.exr"]
    assert rows[0]["why"] == "hollow"
    assert "hollow" in CliRunner().invoke(command, ["maps/hollow.exr"]).output
    (workspace / "empty").mkdir()
    assert "no maps" in str(CliRunner().invoke(command, ["empty"]).exception)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_damaged_maps_do_not_stop_the_others(scene: Scene, workspace, options: list[str]) -> None:
    """One damaged file of a folder ended the whole table."""
    for name in ("a", "b", "c"):
        write_maps(f"maps/{name}.exr", maps_of(scene))
    whole = Path("maps/b.exr").read_bytes()
    Path("maps/b.exr").write_bytes(whole[: len(whole) // 2])
    write_maps("maps/d.exr", dataclasses.replace(maps_of(scene), mask=np.zeros_like(scene.mask)))
    result = CliRunner().invoke(command, ["maps", *options])
    assert result.exit_code == 2
    assert result.stderr == (
        "psface: maps/b.exr: a damaged OpenEXR file\npsface: maps/d.exr: the mask is empty, there is nothing to judge\n"
    )
    rows = [row["session"] for row in json.loads(result.stdout)] if options else result.stdout.split()[7::4]
    assert rows[-2:] == ["maps/a.exr", "maps/c.exr"]
    assert len(rows) == 2
