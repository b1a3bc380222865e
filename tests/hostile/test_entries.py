"""What lies in a data set or a workspace and is no file: pipes, sockets, devices, loops. Nothing hangs on any of it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from healthy import shoot

from pipeline.contract import read_contract
from pipeline.errors import PsfaceError
from pipeline.faces import Faces
from pipeline.images import read_frame
from pipeline.lights import read_lights_csv
from pipeline.maps import read_maps
from pipeline.params import load
from pipeline.rig import read_rig
from pipeline.sessions import read_sessions
from stages.ingest.oddities import LOOP, Oddity, ignored, oddities
from stages.reconstruct.integrate import read_camera
from stages.report.metrics import Metrics
from stages.report.runs import read_json

Run = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.timeout(60)


def listen(path: Path) -> None:
    """A socket that its maker has left behind; the path of one is short."""
    before = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(before)


MAKE: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a socket": listen,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link that leads nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("name", ["im2.bmp", "LightSource.m", "metadataII.txt", "truth.exr", "ambient.bmp"])
@pytest.mark.parametrize("what", MAKE)
def test_one_in_the_place_of_a_session_s_file_is_set_aside(data: Path, psface: Run, what: str, name: str) -> None:
    """LightSource.m and truth.exr were opened: ingest waited for ever for a writer."""
    harmed = Path("data/set/1002/harmed")
    shoot(harmed)
    (harmed / name).unlink(missing_ok=True)
    MAKE[what](harmed / name)
    status, _, err = psface("ingest")
    assert status == 0, err
    assert f"note: data/set: 1002/harmed/{name} ({what}) is left out; remove it" in err
    found = pd.read_csv("data/rejected.csv").set_index("session")["reason"].to_dict()
    assert found.keys() == ({"1002/harmed"} if name in ("im2.bmp", "LightSource.m", "metadataII.txt") else set())
    if name == "im2.bmp":
        assert found["1002/harmed"] == f"im2.bmp is {what}, not a file; put the frame there"


def test_check_and_init_say_it_and_dvc_goes_on(data: Path, psface: Run) -> None:
    """DVC hashes all that lies in a data set: it read the pipe or the device for ever, and ended at the others."""
    folder = Path("data/set/1002/odd [1]")
    folder.mkdir()
    for what, make in MAKE.items():
        make(folder / f"#{what}!")
    (folder / "around").symlink_to("../..")
    status, out, _ = psface("check", "data/set")
    assert status == 0
    assert re.search(r"data/set: 1002/odd \[1\]/#a device! \(a device\), .*, and 3 more are left out; remove them", out)
    status, _, err = psface("init", "ws", "data/set")
    assert status == 0
    assert "note: data/set: 1002/odd [1]/#a device! (a device), " in err
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["dvc", "repro", "ingest"], cwd="ws", env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path("ws/data/sessions.parquet").exists()


def test_oddities_are_found_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "a/.hidden/deep").mkdir(parents=True)
    (tmp_path / "a/file").write_text("")
    (tmp_path / "elsewhere").symlink_to("a")
    (tmp_path / "a/link").symlink_to("file")
    (tmp_path / "a/.hidden/up").symlink_to("../..")
    for what, make in MAKE.items():
        make(tmp_path / "a/.hidden/deep" / what)
    expected = [Oddity("a/.hidden/up", LOOP), *(Oddity(f"a/.hidden/deep/{what}", what) for what in MAKE)]
    assert oddities(tmp_path) == sorted(expected)
    assert ignored("data/frames", oddities(tmp_path)).splitlines() == [
        "/data/frames/" + f"a/.hidden/deep/{what}".replace(" ", r"\ ") for what in sorted(MAKE)
    ]


def test_a_name_that_no_pattern_holds_is_refused(data: Path, psface: Run) -> None:
    os.mkfifo("data/set/a\nb")
    status, _, err = psface("init", "ws", "data/set")
    assert status == 2
    assert "at which DVC would stop: remove it from the data set" in err
    assert not Path("ws").exists()


READERS: dict[str, Callable[[Path], object]] = {
    "params.yaml": load,
    "rig.json": read_rig,
    "lights.csv": read_lights_csv,
    "K.txt": read_camera,
    "x.exr": read_maps,
    "x.png": read_frame,
    "sessions.parquet": read_sessions,
    "contract.json": read_contract,
    "normal.npy": lambda path: Faces(path.parent).array("normal"),
    "metrics.json": lambda path: read_json(path, Metrics),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("what", ["a named pipe", "a socket", "a device"])
def test_no_reader_waits_for_what_is_no_file(tmp_path: Path, what: str, name: str) -> None:
    MAKE[what](tmp_path / name)
    with pytest.raises(PsfaceError) as refusal:
        READERS[name](tmp_path / name)
    assert name in str(refusal.value)
    if name not in ("normal.npy", "contract.json"):
        assert what in str(refusal.value)
