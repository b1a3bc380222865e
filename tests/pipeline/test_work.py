"""Locks, scratch that survives, whole moves."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipeline import cli
from pipeline.errors import UserError
from pipeline.sessions import write_sessions
from pipeline.work import StageWork, hold, key_of, source
from tests.pipeline.made import session


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


STAGES = {
    "simulate": ("simulate", []),
    "ingest": ("ingest", []),
    "reconstruct": ("reconstruct", []),
    "crop": ("crop", []),
    "balance": ("balance", []),
    "train/albedo": ("train", ["albedo"]),
    "fuse/all": ("fuse", ["all"]),
    "synthesise/frame": ("synthesise", ["frame"]),
    "evaluate/normal": ("evaluate", ["normal"]),
    "report": ("report", []),
}


@pytest.mark.parametrize("run", ["../../../elsewhere", "/elsewhere", "a/../b", "", "."])
def test_an_item_that_leads_out_of_the_workspace_is_refused(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    Path("inside").mkdir()
    before = sorted(workspace.rglob("*"))
    monkeypatch.chdir("inside")
    with pytest.raises(UserError, match="is not the name of a run"), hold(f"evaluate/{run}"):
        pass
    assert sorted(workspace.rglob("*")) == before


def test_every_stage_is_here() -> None:
    assert {name for name, _ in STAGES.values()} == set(cli.STAGES)


@pytest.mark.parametrize("held", STAGES)
def test_no_stage_runs_beside_itself(
    held: str, workspace: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is stopped by its lock alone: what it would read is not even looked for before."""
    text = (repository / "params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("\nsynthesise: {}", "\nsynthesise: {frame: {recogniser: frame}}"))
    write_sessions("data/sessions.parquet", [session("2/b")])
    for module in ("stages.synthesise.build", "stages.train.mixing"):  # first: imported below, they would keep the
        importlib.import_module(module)  # stand-ins
    monkeypatch.setattr("pipeline.samples.read_to_fit", lambda *_, **__: ((None, None), (None, None)))
    monkeypatch.setattr("pipeline.contract.load_run", lambda *_: (SimpleNamespace(attributes={}, vocabulary=""), {}))
    name, arguments = STAGES[held]
    before = sorted(p for p in workspace.rglob("*") if ".psface" not in p.parts)
    with hold(held), pytest.raises(SystemExit) as stopped:
        cli.main([name, *arguments])
    assert stopped.value.code == 1
    command = " ".join([name, *arguments])
    said = f"psface: `psface {command}` is already running here (process {os.getpid()}): wait for it or end it\n"
    assert capsys.readouterr().err == said
    assert sorted(p for p in workspace.rglob("*") if ".psface" not in p.parts) == before


def finish(key: str = "a") -> bool:
    """A stage of one step, whose result is the folder `out`; whether the step was still to do."""
    with StageWork("crop", key=key_of(key)) as work:
        step = work.dir / "faces" / "step"
        todo = not step.exists()
        if todo:
            step.parent.mkdir(exist_ok=True)
            step.write_text(key)
        work.publish(work.dir / "faces", "out")
    return todo


def record(**stages: str) -> None:
    """Write entries into dvc.lock, beside those of other stages, as DVC does."""
    path = Path("dvc.lock")
    lock = yaml.safe_load(path.read_text()) if path.exists() else {"schema": "2.0", "stages": {}}
    for stage, md5 in stages.items():
        lock["stages"][stage] = {"cmd": f"psface {stage}", "outs": [{"path": "out", "hash": "md5", "md5": md5}]}
    path.write_text(yaml.safe_dump(lock, sort_keys=False))


@pytest.mark.parametrize("stage", ["crop", "recipes/yale/dvc.yaml:crop"])
def test_under_dvc_finished_work_is_kept_until_it_is_recorded(
    stage: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC killed before it has written dvc.lock empties the outs and runs the stage again: hours of work were lost."""
    monkeypatch.setenv("DVC_STAGE", stage)
    assert finish()
    shutil.rmtree("out")
    assert not finish()  # there was nothing left to do
    assert Path("out/step").read_text() == "a"
    record(crop="a")
    assert finish()  # recorded since: whoever runs it again wants it done again
    shutil.rmtree("out")
    assert finish("b")  # other parameters
    assert Path("out/step").read_text() == "b"


@pytest.mark.parametrize("before", [{}, {"crop": "older"}])
def test_what_dvc_records_of_other_stages_is_not_taken_for_it(
    before: dict[str, str], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: DVC was killed before it recorded a stage, and wrote dvc.lock for others before it came to it again:
    by the file's time the stage's work counted as recorded, and was thrown away."""
    monkeypatch.setenv("DVC_STAGE", "crop")
    record(simulate="a", **before)
    assert finish()
    record(simulate="b")
    with StageWork("train/albedo", key=key_of(1)):
        pass
    assert not finish()
    Path("dvc.lock").write_text("stages: {simulate: {}, crop: {cmd: psf")  # torn as DVC was killed
    assert not finish()
    Path("dvc.lock").unlink()
    assert not finish()
    record(crop="a")
    assert finish()


@pytest.mark.parametrize("cleared", [False, True])
def test_forced_twice_it_is_done_twice(cleared: bool, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run by force is recorded by the same entry once more."""
    monkeypatch.setenv("DVC_STAGE", "crop")
    for _ in range(4):
        assert finish()
        record(crop="a")
        if cleared:
            with StageWork("train/albedo", key=key_of(1)):
                pass
    assert finish("b")
    record(simulate="other")
    assert not finish("b")  # that entry speaks of other work


def test_what_is_kept_shares_no_bytes_with_what_is_published(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that goes on may write into its files, which may be files of DVC's cache by then."""
    monkeypatch.setenv("DVC_STAGE", "crop")
    finish()
    os.link("out/step", "cached")
    with StageWork("crop", key=key_of("a")) as work:
        (work.dir / "faces" / "step").write_text("torn")
    assert Path("cached").read_text() == Path("out/step").read_text() == "a"


def test_what_dvc_has_recorded_is_cleared_by_the_next_stage(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "crop")
    finish()
    kept = Path(".psface/crop") / key_of("a")
    with StageWork("train/albedo", key=key_of(1)):
        assert kept.exists()
    record(crop="a")
    with hold("crop"), StageWork("train/albedo", key=key_of(1)):
        assert kept.exists()  # somebody works there
    with StageWork("train/albedo", key=key_of(1)):
        assert not kept.exists()


def test_by_hand_nothing_is_kept(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert finish()
    assert [p.name for p in Path(".psface/crop").iterdir()] == ["lock"]
    assert finish()


@pytest.mark.parametrize("under_dvc", [False, True])
@pytest.mark.parametrize("moment", range(5))
def test_a_kill_inside_publish_is_mended(
    moment: int, under_dvc: bool, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each moment the place holds the old result, the new one or nothing, and the next run puts it right."""
    if under_dvc:
        monkeypatch.setenv("DVC_STAGE", "crop")
    Path("out").mkdir()
    Path("out/old").write_text("old")
    Path("out/older").write_text("older")
    killed = f"""
import os, sys
from pathlib import Path
from pipeline.work import StageWork, key_of
count = 0
def watch(event, arguments):
    global count
    if event in ("os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"):
        if count == {moment}:
            os.kill(os.getpid(), 9)
        count += 1
with StageWork("crop", key=key_of("a")) as work:
    (work.dir / "faces").mkdir()
    (work.dir / "faces" / "step").write_text("a")
    sys.addaudithook(watch)
    work.publish(work.dir / "faces", "out")
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", killed], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    here = {p.name for p in Path("out").iterdir()} if Path("out").exists() else set()
    assert here in ({"old", "older"}, {"step"}, set())
    finish()
    assert {p.name for p in Path("out").iterdir()} == {"step"}
    assert {p.name for p in workspace.iterdir()} == {"out", ".psface"}


def test_what_a_kill_left_half_written_is_not_taken_up(workspace: Path) -> None:
    interrupt("a")
    scratch = Path(".psface/crop") / key_of("a")
    (scratch / "maps").mkdir()
    (scratch / "maps" / ".one.4711.exr").write_text("half")
    (scratch / ".two.4711").mkdir()
    (scratch / ".two.4711" / "frame").touch()
    with StageWork("crop", key=key_of("a")) as work:
        assert sorted(p.name for p in work.dir.rglob("*")) == ["half", "maps"]


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
    (package / "model.npz").write_bytes(b"one")  # what the code reads is part of it, what Python compiles is not
    before = key_of(*source("made_up"))
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "part.pyc").write_bytes(b"")
    assert key_of(*source("made_up")) == before
    (package / "model.npz").write_bytes(b"two")
    assert key_of(*source("made_up")) != before
    with pytest.raises(ModuleNotFoundError):
        source("made_up.nothing")


def test_the_code_is_found_without_importing_it(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To find `models.mtcnn` imported `models`, and with it torch, for two seconds in which no worker worked."""
    inner = Path("never_run/inner")
    inner.mkdir(parents=True)
    for file in (inner.parent / "__init__.py", inner.parent / "part.py", inner / "deep.py"):
        file.write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(workspace)
    assert [f.name for f in source("never_run.part", "never_run.inner")] == ["part.py", "deep.py"]
    assert [f.name for f in source("never_run")] == ["__init__.py", "deep.py", "part.py"]


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


def test_a_full_disk_elsewhere_is_told_in_the_systems_words(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where results are copied: what a full disk took stayed beside, and the message was shutil's list of all files."""

    def elsewhere(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def full(source: str, target: str) -> None:
        Path(target).touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with StageWork("crop", key="0" * 16) as work:
        (work.dir / "faces").mkdir()
        (work.dir / "faces/frame.npy").touch()
        monkeypatch.setattr(os, "replace", elsewhere)
        monkeypatch.setattr(shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left") as told:
            work.publish(work.dir / "faces", "out/faces")
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, "out/faces")
    assert not list(Path("out").iterdir())
