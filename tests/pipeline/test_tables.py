"""Tables and JSON: written whole or not at all, the same bytes twice, read back as written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.sessions import read_sessions, write_sessions
from pipeline.tables import read_parquet, write_json, write_parquet, written_together
from tests.pipeline.made import session


def test_a_failed_write_leaves_the_old_file(workspace: Path) -> None:
    write_json("x.json", {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json("x.json", {"a": float("nan")})
    assert Path("x.json").read_text() == '{\n  "a": 1\n}\n'
    assert [p.name for p in workspace.iterdir()] == ["x.json"]


class Killed(BaseException):
    """What no code expects."""


NAMES = ("a.csv", "metrics.json", "z.npz")


@pytest.mark.parametrize("replaced", range(len(NAMES) + 1))
def test_files_of_two_runs_never_lie_beside_a_whole_last_one(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, replaced: int
) -> None:
    """Killed between two files, `psface evaluate` left new metrics beside old embeddings and figures."""
    folder = Path("runs/normal/evaluate")
    for text in ("old", "new"):
        replace, left = os.replace, iter([True] * (replaced if text == "new" else len(NAMES)))

        def die(source: Any, target: Any, replace: Any = replace, left: Any = left) -> None:
            if not next(left, False):
                raise Killed
            replace(source, target)

        monkeypatch.setattr(os, "replace", die)
        expected = pytest.raises(Killed) if text == "new" and replaced < len(NAMES) else contextlib.nullcontext()
        with expected, written_together(folder, last="metrics.json") as beside:
            for name in NAMES:
                (beside / name).write_text(text)
        monkeypatch.setattr(os, "replace", replace)
        (folder / "own.csv").write_text("mine")
    assert sum(path.read_text() == "new" for path in folder.iterdir()) == replaced
    assert (folder / "metrics.json").exists() == (replaced == len(NAMES))
    assert (folder / "own.csv").read_text() == "mine"
    assert not (folder / ".new").exists()


def test_a_failure_before_all_files_are_there_changes_none(workspace: Path) -> None:
    folder = Path("evaluate")
    for text in ("old", "new"):
        with contextlib.suppress(OSError), written_together(folder, last="a.json") as beside:
            (beside / "a.json").write_text(text)
            if text == "new":
                raise OSError(28, "No space left on device", str(beside / "b.json"))
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("a.json", "old")]
    named = pytest.raises(OSError, match=r"\[Errno 28\] .*: 'evaluate'$")
    with named, written_together(folder, last="a.json") as beside:
        raise OSError(28, "No space left on device", str(beside / "b.json"))
    (folder / ".new").mkdir()  # of a killed run
    with written_together(folder, last="a.json") as beside:
        assert list(beside.iterdir()) == []


def test_tables_have_the_same_bytes_twice_and_say_who_makes_them(workspace: Path) -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert write_parquet("1.parquet", table).read_bytes() == write_parquet("2.parquet", table).read_bytes()
    with pytest.raises(UserError, match="run `psface ingest`"):
        read_parquet("none.parquet", made_by="ingest")
    Path("bad.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(UserError, match="cannot be read"):
        read_parquet("bad.parquet", made_by="ingest")


def test_nobody_is_told_to_delete_a_folder(workspace: Path) -> None:
    Path("data").mkdir()
    with pytest.raises(UserError, match=r"^data is a folder: name the table in it that"):
        read_parquet("data", made_by="ingest")


def test_text_that_is_none_is_told_when_it_is_read(workspace: Path) -> None:
    """Regression: pandas decodes a column when it is first looked at, and a UnicodeDecodeError came from there."""
    path = write_parquet("s.parquet", pd.DataFrame({"id": ["abcd", "efgh"]}))
    whole = path.read_bytes()
    assert whole.count(b"efgh") >= 1
    path.write_bytes(whole.replace(b"efgh", b"e\xffgh"))
    with pytest.raises(UserError, match="cannot be read"):
        read_parquet(path, made_by="ingest")


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


def test_another_table_than_that_of_sessions_is_the_users_mistake(workspace: Path) -> None:
    """It was a KeyError."""
    write_parquet("x.parquet", pd.DataFrame({"a": [1]}))
    with pytest.raises(UserError, match="not the table that `psface ingest` writes: it has no column id"):
        read_sessions("x.parquet")
