"""Sessions of unknown lights from outside: `maps` without a table, `ingest` and `reconstruct` by a key of params."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from face_scene import angles
from test_reconstruct_commands import run

from pipeline.maps import read_attributes, read_maps
from pipeline.sessions import read_sessions

PARAMS = "ingest: {source: %s, root: own%s}\nreconstruct: {solver: auto}\n"


@pytest.fixture
def rendered(repository: Path) -> Path:
    """The folder of a rendered session: im0.bmp to im3.bmp, ambient.bmp, LightSource.m, truth.exr."""
    return next((repository / "tests/data/session").glob("*/*"))


def copied(rendered: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in (*rendered.glob("im*.bmp"), rendered / "ambient.bmp"):
        shutil.copy(file, folder)


def test_maps_without_lights_say_so(rendered: Path, tmp_path: Path, capfd):
    frames = sorted(rendered.glob("im*.bmp"))
    status, out, error = run(capfd, "maps", *frames, "--ambient", rendered / "ambient.bmp", "-o", tmp_path / "s.exr")
    assert (status, out.startswith("solver "), "\nwrote " in out) == (0, True, True)
    begun, note = error.splitlines()  # it was silent for the seconds that the search takes
    assert begun.startswith("no --lights and no --rig: looking for the face")
    assert note.startswith("note: the lights were estimated from the frames: tilt and relief")
    attributes = read_attributes(tmp_path / "s.exr")
    assert attributes["lights.estimated"] == "from the frames and a model of faces"
    assert len(json.loads(attributes["lights"])) == len(json.loads(attributes["strengths"])) == 4
    maps, truth = read_maps(tmp_path / "s.exr"), read_maps(rendered / "truth.exr")
    assert angles(maps.normal, truth.normal)[maps.mask & truth.mask].mean() < 8  # 6.0 measured
    status, _, error = run(capfd, "relight", tmp_path / "s.exr", "--light=0.2,0.1,0.9", "-o", tmp_path / "new.png")
    assert (status, error) == (0, "")


def test_mistakes_of_maps_without_lights_end_in_one_line(rendered: Path, tmp_path: Path, capfd):
    frames = sorted(rendered.glob("im*.bmp"))
    (tmp_path / "lights.csv").write_text("frame,x,y,z\n")
    both = ("--lights", tmp_path / "lights.csv", "--rig", tmp_path / "rig.json")
    for arguments, words in (
        ((*frames[:2],), "only 2 of 2 frames"),
        ((*frames, *both), "not by both"),
        ((frames[0], frames[0], frames[0], frames[0]), "frames 0 and 1 are the same picture"),
    ):
        status, _, error = run(capfd, "maps", *arguments, "-o", tmp_path / "s.exr")
        assert status == 2, arguments
        searched = error.startswith("no --lights and no --rig: looking for the face")
        assert searched == (both[0] not in arguments)
        assert words in error.splitlines()[-1]
        assert error.count("\n") == 1 + searched, error
    assert not (tmp_path / "s.exr").exists()


@pytest.mark.parametrize("source", ["folder", "photoface"])
def test_the_pipeline_takes_unknown_lights_when_asked_to(
    source: str, rendered: Path, tmp_path: Path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    copied(rendered, Path("own/ann/one"))
    Path("params.yaml").write_text(PARAMS % (source, ""))
    status, _, error = run(capfd, "ingest")
    assert status == 2
    assert "set ingest.uncalibrated: true" in error
    Path("params.yaml").write_text(PARAMS % (source, ", uncalibrated: true"))
    assert run(capfd, "ingest")[0] == 0
    (session,) = read_sessions()
    assert session.known_lights is None
    assert (session.rig, len(session.frames), Path(str(session.ambient)).name) == ("unknown", 4, "ambient.bmp")
    status, _, error = run(capfd, "reconstruct", "--jobs", 1)
    assert status == 0
    assert "note: ann/one: the lights were estimated from the frames" in error
    row = pd.read_parquet("data/quality.parquet").iloc[0]
    assert not row["rejected"]
    assert np.isfinite(row["condition"])
    assert read_attributes("data/maps/ann/one.exr")["lights.estimated"]


def test_known_lights_stay_known(rendered: Path, tmp_path: Path, monkeypatch, capfd):
    """The key lets sessions without lights in; those that have them are read as ever, and a broken file is refused."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        copied(rendered, Path("own/ann") / name)
    shutil.copy(rendered / "LightSource.m", "own/ann/one")
    Path("own/ann/two/LightSource.m").write_text("nothing of use")
    Path("params.yaml").write_text(PARAMS % ("photoface", ", uncalibrated: true"))
    assert run(capfd, "ingest")[0] == 0
    (session,) = read_sessions()
    assert (session.id, session.known_lights is None) == ("ann/one", False)
    assert "ann/two" in Path("data/rejected.csv").read_text()
