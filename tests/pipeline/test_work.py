"""Locks, scratch that survives, whole moves; tables; sessions over processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import PsfaceError, Rejected, UserError
from pipeline.parallel import map_sessions
from pipeline.sessions import Session, read_sessions, write_sessions
from pipeline.tables import read_parquet, write_json, write_parquet
from pipeline.work import StageWork, key_of, source


def interrupt(key: str) -> None:
    """Leave work half done, as Ctrl-C does."""
    with contextlib.suppress(KeyboardInterrupt), StageWork("crop", key=key_of(key)) as work:
        (work.dir / "half").write_text("1")
        raise KeyboardInterrupt


def test_scratch_survives_an_interruption_with_the_same_key_and_goes_with_another(workspace: Path) -> None:
    interrupt("a")
    with StageWork("crop", key=key_of("a")) as work:
        assert (work.dir / "half").exists()
        kept = work.dir
    assert not kept.exists()  # finished: nothing left over
    interrupt("a")
    with StageWork("crop", key=key_of("b")) as work:
        assert list(work.dir.iterdir()) == []
        assert not kept.exists()


def test_a_second_run_beside_a_living_one_says_so(workspace: Path) -> None:
    second = "from pipeline.work import StageWork\nwith StageWork('crop', key='0' * 16): pass"
    with StageWork("crop", key=key_of(1)):
        done = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True, check=False)
    assert "already running here" in done.stderr
    assert subprocess.run([sys.executable, "-c", second], capture_output=True, check=False).returncode == 0


def test_publish_replaces_a_folder_whole(workspace: Path) -> None:
    Path("data/maps").mkdir(parents=True)
    Path("data/maps/old").write_text("old")
    with StageWork("reconstruct", key=key_of(1)) as work:
        (work.dir / "maps").mkdir()
        (work.dir / "maps" / "new").write_text("new")
        work.publish(work.dir / "maps", "data/maps")
    assert [p.name for p in Path("data/maps").iterdir()] == ["new"]
    assert [p.name for p in Path("data").iterdir()] == ["maps"]


def test_keys_follow_content(workspace: Path) -> None:
    a, b = Path("a"), Path("b")
    a.write_text("same")
    b.write_text("same")
    assert key_of({"x": 1}, a) == key_of({"x": 1}, b)
    b.write_text("other")
    assert key_of({"x": 1}, a) != key_of({"x": 1}, b)
    assert key_of({"x": 1, "y": 2}) == key_of({"y": 2, "x": 1})


def test_keys_follow_the_code(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path("made_up")
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("a = 1")
    monkeypatch.syspath_prepend(workspace)
    assert [f.name for f in source("made_up", "pipeline.work")] == ["__init__.py", "part.py", "work.py"]
    before = key_of(*source("made_up"))
    assert key_of(*source("made_up")) == before
    (package / "part.py").write_text("a = 2")
    assert key_of(*source("made_up")) != before
    with pytest.raises(ModuleNotFoundError):
        source("made_up.nothing")


def test_a_failed_write_leaves_the_old_file(workspace: Path) -> None:
    write_json("x.json", {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json("x.json", {"a": float("nan")})
    assert Path("x.json").read_text() == '{\n  "a": 1\n}\n'
    assert [p.name for p in workspace.iterdir()] == ["x.json"]


def test_tables_have_the_same_bytes_twice_and_say_who_makes_them(workspace: Path) -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert write_parquet("1.parquet", table).read_bytes() == write_parquet("2.parquet", table).read_bytes()
    with pytest.raises(UserError, match="run `psface ingest`"):
        read_parquet("none.parquet", made_by="ingest")
    Path("bad.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(UserError, match="cannot be read"):
        read_parquet("bad.parquet", made_by="ingest")


def session(name: str, **labels: int) -> Session:
    lights = np.array([[0.5, 0, 0.866], [-0.5, 0, 0.866], [0, 0.5, 0.866]])
    subject, visit = name.split("/")
    return Session(name, subject, visit, "near", ("a.bmp", "b.bmp", "c.bmp"), lights, np.ones(3), **labels)


def test_sessions_come_back_as_written_and_sorted(workspace: Path) -> None:
    write_sessions("s.parquet", [session("2/b", gender=1), session("1/a")])
    back = read_sessions("s.parquet")
    assert [s.id for s in back] == ["1/a", "2/b"]
    assert back[1].gender == 1
    assert back[0].gender == -1
    assert back[0].ambient is None
    assert back[0].frames == ("a.bmp", "b.bmp", "c.bmp")
    np.testing.assert_array_equal(back[0].lights, session("1/a").lights)
    write_sessions("none.parquet", [])
    assert read_sessions("none.parquet") == []


def work_on(number: int, bad: int) -> int:
    if number == bad:
        raise Rejected(f"{number} is bad")
    return number**2


@pytest.mark.parametrize("jobs", [1, 2])
def test_sessions_over_processes_keep_their_order_and_reject_one_by_one(jobs: int) -> None:
    results = map_sessions(partial(work_on, bad=3), range(6), jobs=jobs, label="squares")
    assert [r if isinstance(r, int) else str(r) for r in results] == [0, 1, 4, "3 is bad", 16, 25]


def test_another_error_ends_the_work() -> None:
    with pytest.raises(PsfaceError, match="disk"):
        map_sessions(fail, [1, 2], jobs=1, label="x")


def fail(_: int) -> int:
    raise PsfaceError("disk")


def exists(name: str) -> bool:
    return Path(name).exists()


def test_workers_work_where_their_caller_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: joblib keeps its workers, and they kept the folder of the first call."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"only in {name}").touch()
        monkeypatch.chdir(tmp_path / name)
        assert map_sessions(exists, [f"only in {name}"] * 4, jobs=2, label="x") == [True] * 4


def test_a_failed_publication_leaves_the_old_result(workspace: Path) -> None:
    Path("out").mkdir()
    Path("out/old").write_text("old")
    with StageWork("crop", key=key_of(1)) as work, pytest.raises(OSError, match="nowhere"):
        work.publish(work.dir / "nowhere", "out")
    assert [p.name for p in Path(".").glob("*") if p.name != ".psface"] == ["out"]
    assert Path("out/old").read_text() == "old"


def test_a_link_to_a_folder_is_replaced_and_what_it_points_to_is_left_alone(workspace: Path) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/mine").write_text("mine")
    Path("out").symlink_to("elsewhere")
    with StageWork("crop", key=key_of(1)) as work:
        (work.dir / "made").mkdir()
        work.publish(work.dir / "made", "out")
    assert not Path("out").is_symlink()
    assert Path("elsewhere/mine").read_text() == "mine"


def test_another_table_than_that_of_sessions_is_the_users_mistake(workspace: Path) -> None:
    """It was a KeyError."""
    write_parquet("x.parquet", pd.DataFrame({"a": [1]}))
    with pytest.raises(UserError, match="not the table that `psface ingest` writes: it has no column id"):
        read_sessions("x.parquet")


def test_a_killed_worker_is_a_failure_in_one_line() -> None:
    """It was joblib's TerminatedWorkerError."""
    with pytest.raises(PsfaceError, match="a worker process was killed"):
        map_sessions(end_this_process, [1, 2], jobs=2, label="test")


def end_this_process(_: int) -> None:
    os.kill(os.getpid(), 9)
