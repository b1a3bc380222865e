"""One's own sessions: lights.csv near or far, labels.csv, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.images import write_picture
from pipeline.params import Ingest
from pipeline.sessions import Session
from stages.ingest import folder
from stages.ingest.folder import read_folder
from stages.ingest.labels import Labels
from stages.ingest.readers import Note, Refusal

TABLE = "frame,x,y,z,strength\na.png,1,0,2,1\nb.png,-1,1,2,1.5\nc.png,0,-1,2,1\n"
PARAMS = Ingest(source="folder", root="own")


def make(folder: Path, names: str = "abc") -> None:
    folder.mkdir(parents=True)
    for name in names:
        write_picture(folder / f"{name}.png", np.full((5, 4), 0.3))


def read() -> tuple[dict[str, Session], dict[str, str], list[str]]:
    found = list(read_folder(Path("own"), PARAMS))
    return (
        {item.id: item for item in found if isinstance(item, Session)},
        {item.id: item.reason for item in found if isinstance(item, Refusal)},
        [item.text for item in found if isinstance(item, Note)],
    )


def test_the_nearest_table_holds(workspace: Path) -> None:
    for place in ("own/ann/one", "own/ann/two", "own/bob/one", "own/bob/two"):
        make(Path(place))
    Path("own/lights.csv").write_text(TABLE)
    Path("own/ann/lights.csv").write_text(TABLE.replace("a.png,1,0,2", "a.png,2,0,2"))
    Path("own/bob/two/lights.csv").write_text("frame,x,y,z\na.png,0,1,2\nb.png,1,-1,2\nc.png,-1,-1,2\n")
    sessions, refused, _ = read()
    assert not refused
    first = {name: s.lights[0] / s.lights[0, 2] for name, s in sessions.items()}
    np.testing.assert_allclose(first["ann/one"], [1, 0, 1])
    np.testing.assert_allclose(first["ann/two"], [1, 0, 1])
    np.testing.assert_allclose(first["bob/one"], [0.5, 0, 1])
    np.testing.assert_allclose(first["bob/two"], [0, 0.5, 1])
    assert sessions["bob/one"].frames == ("own/bob/one/a.png", "own/bob/one/b.png", "own/bob/one/c.png")
    np.testing.assert_allclose(sessions["bob/one"].strengths, [1, 1.5, 1])
    assert sessions["ann/one"].rig == sessions["ann/two"].rig != sessions["bob/two"].rig


def test_one_table_with_paths_serves_sessions_of_their_own(workspace: Path) -> None:
    make(Path("own/ann/one"), "abc")
    make(Path("own/ann/two"), "bcd")
    rows = [f"ann/{s}/{n}.png,{x},{y},2" for s, names in (("one", "abc"), ("two", "bcd"))
            for n, (x, y) in zip(names, ((1, 0), (-1, 1), (0, -1)), strict=True)]  # fmt: skip
    Path("own/lights.csv").write_text("\n".join(["frame,x,y,z", *rows]))
    sessions, refused, _ = read()
    assert not refused
    assert [Path(f).name for f in sessions["ann/two"].frames] == ["b.png", "c.png", "d.png"]


def test_what_is_missing_is_said_and_the_others_go_on(workspace: Path) -> None:
    make(Path("own/ann/one"))
    make(Path("own/ann/two"), "ab")
    make(Path("own/bob/one"))
    Path("own/ann/lights.csv").write_text(TABLE)
    sessions, refused, _ = read()
    assert list(sessions) == ["ann/one"]
    assert "missing frame c.png" in refused["ann/two"]
    assert "no lights.csv" in refused["bob/one"]


def test_labels_by_subject_and_by_session(workspace: Path) -> None:
    make(Path("own/ann/one"))
    make(Path("own/ann/two"))
    make(Path("own/bob/one"))
    Path("own/lights.csv").write_text(TABLE)
    Path("own/labels.csv").write_text(
        "subject, session, gender, spectacles, age, rig\nann,,female,no,31,\nann,two,,yes,,desk\nbob,,man,,,\n"
    )
    sessions, _, notes = read()
    one, two, bob = (sessions[name] for name in ("ann/one", "ann/two", "bob/one"))
    assert (one.gender, one.spectacles, one.age) == (0, 0, 31.0)
    assert (two.gender, two.spectacles, two.age, two.rig) == (0, 1, 31.0, "desk")
    assert (bob.gender, bob.age) == (-1, -1.0)
    assert len(notes) == 1
    assert "'man'" in notes[0]


def test_labels_that_contradict_each_other_or_name_nobody_are_told(workspace: Path) -> None:
    """The last row held and stray ones were passed over, both in silence."""
    for session in ("ann/one", "ann/two", "bob/one"):
        make(Path("own", session))
    Path("own/lights.csv").write_text(TABLE)
    rows = [
        "ann,one,no,female",
        "ann,one,yes,female",
        "ann,two,no,male",
        "ann,,yes,",
        "bob,on,no,male",
        "eve,,no,female",
    ]
    Path("own/labels.csv").write_text("\n".join(["subject,session,spectacles,gender", *rows, ",,no,"]))
    sessions, _, notes = read()
    assert sessions["ann/one"].spectacles == 1
    assert notes == [
        "own/labels.csv: 1 labels contradict an earlier row (the last holds), such as spectacles = 'yes' of ann/one",
        "own/labels.csv: 3 rows name nobody who is there, such as bob/on",
        "own/labels.csv: 1 subjects have sessions of two genders, such as ann",
    ]
    rows = ["ann,one,no,female", "ann,one,,female", "ann,,yes,female", "bob,one,no,male"]  # a session's goes before
    Path("own/labels.csv").write_text("\n".join(["subject,session,spectacles,gender", *rows]))
    assert read()[2] == []


def test_labels_or_lights_that_are_a_folder_are_called_so(workspace: Path) -> None:
    """A lights.csv that is a folder was said not to be there, a labels.csv passed over."""
    make(Path("own/ann/one"))
    Path("own/lights.csv").write_text(TABLE)
    Path("own/ann/lights.csv").mkdir()
    assert read()[1]["ann/one"] == "own/ann/lights.csv is a folder, not a file of lights; put the file there"
    Path("own/ann/lights.csv").rmdir()
    assert list(read()[0]) == ["ann/one"]
    Path("own/labels.csv").mkdir()
    with pytest.raises(UserError, match=r"own/labels.csv: cannot be read as a table of labels \(Is a directory\)"):
        read()


def test_a_column_that_nobody_knows_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("subject,sex\nann,female\n")
    with pytest.raises(UserError, match="unknown column sex"):
        Labels.read(tmp_path / "labels.csv")


def test_a_row_of_a_sessions_own_table_that_names_no_frame_of_it_is_no_silent_loss(workspace: Path) -> None:
    make(Path("own/ann/one"), "abcd")
    make(Path("own/bob/one"))
    rows = "frame,x,y,z\na.png,1,0,2\nb.png,-1,1,2\nc.png,0,-1,2\n"
    Path("own/ann/one/lights.csv").write_text(rows + "../../bob/one/a.png,0,1,2\n")
    Path("own/bob/one/lights.csv").write_text(rows)
    sessions, refused, _ = read()
    assert list(sessions) == ["bob/one"]
    assert "names ../../bob/one/a.png, which is not a frame of this folder" in refused["ann/one"]


def test_a_folder_that_cannot_be_looked_into_is_refused_and_the_others_go_on(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a subject or of a session; whoever may read everything, as root may, meets none: so one is made."""
    for place in ("own/ann/one", "own/bob/one", "own/bob/two"):
        make(Path(place))
    Path("own/lights.csv").write_text(TABLE)
    closed, iterdir = {Path("own/ann"), Path("own/bob/two")}, Path.iterdir

    def denied(place: Path) -> Iterator[Path]:
        if place in closed:
            raise PermissionError(13, "Permission denied", str(place))
        return iterdir(place)

    monkeypatch.setattr(Path, "iterdir", denied)
    sessions, refused, _ = read()
    assert list(sessions) == ["bob/one"]
    assert refused == {
        "ann": "own/ann: cannot be looked into (Permission denied)",
        "bob/two": "own/bob/two: cannot be looked into (Permission denied)",
    }
    closed.add(Path("own"))
    with pytest.raises(UserError, match=r"own: cannot be looked into \(Permission denied\); give yourself the right"):
        read()


def test_the_rows_of_a_table_are_looked_at_once_however_many_sessions_it_serves(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took a minute for 800 sessions: each looked at all the rows again."""
    for number in range(20):
        make(Path(f"own/s{number}/one"))
    rows = [f"s{number}/one/{line}" for number in range(20) for line in TABLE.splitlines()[1:]]
    Path("own/lights.csv").write_text("\n".join(["frame,x,y,z,strength", *rows]))
    made: list[str] = []
    plain = folder.Path
    monkeypatch.setattr(folder, "Path", lambda name: made.append(name) or plain(name))
    sessions, refused, _ = read()
    assert len(sessions) == 20
    assert not refused
    assert len(made) < 4 * len(rows)
