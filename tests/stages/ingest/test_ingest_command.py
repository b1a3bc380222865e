"""`psface ingest` as its user meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.images import write_picture
from pipeline.lights import from_angles
from pipeline.sessions import read_sessions
from stages.ingest.readers import rig_name

PARAMS = "ingest:\n  source: {source}\n  root: {root}\n"


def make(folder: Path, labels: str, size: tuple[int, int] = (6, 5)) -> None:
    folder.mkdir(parents=True)
    for i in range(3):
        write_picture(folder / f"im{i}.bmp", np.full(size, 0.2))
    (folder / "LightSource.m").write_text("[30 30 30; 0 120 240]")
    (folder / "metadataII.txt").write_text(labels)


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    try:
        main(["ingest", *args])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


def test_filters_and_faults_are_listed_with_reasons(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = "male, no, none, 1, ok, , blankstare,"
    make(Path("set/1001/a"), good)
    make(Path("set/1001/b"), good.replace("ok", "blur"))
    make(Path("set/1001/c"), good.replace(", 1,", ", 4,"))
    make(Path("set/1002/d"), good.replace("ok, ", "ok, -hand"))
    make(Path("set/1002/e"), good)
    Path("set/1002/e/im1.bmp").write_bytes(b"")
    make(Path("set/1002/f"), good)
    write_picture("set/1002/f/im2.bmp", np.zeros((6, 7)))
    make(Path("set/1002/g"), good)
    Path("set/1002/g/im0.bmp").write_text("no picture")
    make(Path("set/1002/h"), "")
    Path("params.yaml").write_text(PARAMS.format(source="photoface", root="set"))
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    assert "2 sessions of 2 subjects under 1 rig; 6 rejected" in out
    assert [s.id for s in read_sessions()] == ["1001/a", "1002/h"]
    rejected = pd.read_csv("data/rejected.csv")
    assert list(rejected.columns) == ["session", "stage", "reason"]
    assert set(rejected["stage"]) == {"ingest"}
    reasons = dict(zip(rejected["session"], rejected["reason"], strict=True))
    for session, reason in {
        "1001/b": "filtered: quality blur",
        "1001/c": "filtered: pose 4",
        "1002/d": "filtered: occlusion -hand",
        "1002/e": "im1.bmp is empty",
        "1002/f": "frames differ in size: im0.bmp 5 x 6, im2.bmp 7 x 6",
        "1002/g": "im0.bmp is not an image",
    }.items():
        assert reason in reasons[session]


def test_two_runs_and_any_jobs_give_the_same_bytes(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b", "a", "c"):
        make(Path("set/1001") / name, "male, no, none, 1, ok, , blankstare,")
    Path("params.yaml").write_text(PARAMS.format(source="photoface", root="set"))
    run(capsys)
    first = Path("data/sessions.parquet").read_bytes()
    run(capsys, "--jobs", "2")
    assert Path("data/sessions.parquet").read_bytes() == first


def test_a_root_below_the_workspace_is_kept_relative(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(workspace / "set/1001/a", "")
    Path("params.yaml").write_text(PARAMS.format(source="photoface", root=workspace / "set"))
    assert run(capsys)[0] == 0
    assert read_sessions()[0].frames[0] == "set/1001/a/im0.bmp"


@pytest.mark.parametrize(
    ("source", "root", "says"),
    [
        ("photoface", "nowhere", "nowhere: no such folder"),
        ("photoface", "empty", "empty: no folder <subject>/<session>/"),
        ("yaleb", "empty", "empty: no Extended Yale B"),
        ("yale", "empty", "did you mean `yaleb`"),
        ("photoface", "bad", "none of 1 sessions can be used"),
    ],
)
def test_mistakes_end_in_one_line(
    workspace: Path, capsys: pytest.CaptureFixture[str], source: str, root: str, says: str
) -> None:
    Path("empty").mkdir()
    make(Path("bad/1001/a"), "")
    Path("bad/1001/a/LightSource.m").unlink()
    Path("params.yaml").write_text(PARAMS.format(source=source, root=root))
    status, out, err = run(capsys)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_rig_is_named_by_its_lights_in_any_order() -> None:
    lights = from_angles([30, 31, 40, 0], [10, 100, 200, 77])
    assert rig_name(lights) == rig_name(lights[::-1]) == rig_name(from_angles([31, 30, 40, 0], [11, 99, 201, 0]))
    assert rig_name(lights) != rig_name(from_angles([30, 31, 40, 0], [10, 100, 250, 0]))


def test_the_summary_counts_like_reasons_as_one(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It cut each reason after four words, so that what began with a file's path came out as half a sentence."""
    for name, lights in {"a": "0 0 2", "b": "1 0 2", "c": "0 1 2", "d": "0 -1 2"}.items():
        folder = Path("own/ann") / name
        make(folder, "")
        x, y, z = lights.split()
        rows = [f"im{i}.bmp,{x},{y},{z}" for i in range(3)] if name != "a" else [
            "im0.bmp,1,0,2", "im1.bmp,-1,1,2", "im2.bmp,0,-1,2"]  # fmt: skip
        (folder / "lights.csv").write_text("\n".join(["frame,x,y,z", *rows]))
    for name in ("b", "c"):
        Path("own/ann", name, "im1.bmp").unlink()
    Path("params.yaml").write_text(PARAMS.format(source="folder", root="own"))
    status, out, _ = run(capsys)
    assert status == 0
    assert "3 rejected: missing frame (2), the lights are coplanar or too close to one another (1)" in out


@pytest.mark.parametrize("jobs", ["0", "-3"])
def test_a_number_of_jobs_that_is_none_is_refused(
    workspace: Path, capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    make(Path("set/1001/a"), "")
    Path("params.yaml").write_text(PARAMS.format(source="photoface", root="set"))
    status, out, err = run(capsys, "--jobs", jobs)
    assert (status, out) == (2, "")
    assert err == f"psface: --jobs {jobs}: give a number of processes, or -1 for all cores\n"
    assert not Path("data").exists()


def test_a_column_of_labels_that_comes_twice_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one silently took the first one's place."""
    make(Path("own/ann/a"), "")
    Path("own/labels.csv").write_text("subject,gender,age,gender\nann,female,30,male\n")
    Path("params.yaml").write_text(PARAMS.format(source="folder", root="own"))
    status, _, err = run(capsys)
    assert (status, err) == (2, "psface: own/labels.csv: the column gender comes 2 times; keep one\n")


def test_a_photograph_is_no_place_for_the_table(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(Path("own/ann/one"), "")
    frame = Path("own/ann/one/im0.bmp")
    before = frame.read_bytes()
    status, _, said = run(capsys, "--out", str(frame))
    assert (status, frame.read_bytes()) == (2, before)
    assert f"--out {frame}: expected a name that ends in .parquet" in said


def test_an_ambient_photograph_that_is_left_out_is_left_out_for_its_own_reason(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was cut short was said not to fit its frames."""
    good = "male, no, none, 1, ok, , blankstare,"
    for name in ("a", "b"):
        make(Path("set/1001", name), good)
    write_picture("set/1001/a/ambient.bmp", np.zeros((6, 5)))
    write_picture("set/1001/b/ambient.bmp", np.zeros((12, 10)))
    Path("params.yaml").write_text(PARAMS.format(source="photoface", root="set"))
    whole = Path("set/1001/a/ambient.bmp").read_bytes()
    told = (
        "note: the ambient photographs of 1 sessions are ignored, such as that of 1001/b: ambient.bmp 10 x 12 beside "
    )
    assert run(capsys)[2] == told + "frames of 5 x 6\n"
    Path("set/1001/a/ambient.bmp").write_bytes(whole[:-40])
    said = run(capsys)[2]
    assert "of 2 sessions are ignored, such as that of 1001/a: ambient.bmp cut short: " in said
    assert [session.ambient for session in read_sessions()] == [None, None]
