"""A dvc.lock that a kill tore, as DVC writes it in place: told by `make repro`, put back without losing work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.kills import Pipeline, is_whole
from pipeline.work import hold

pytestmark = pytest.mark.e2e
STAGE = """\
import sys
from pathlib import Path
from pipeline.work import StageWork, key_of

name, out = sys.argv[1:]
with StageWork(name, key=key_of(name)) as work:
    if not (work.dir / out).exists():
        with open("ran.txt", "a") as log:
            print(name, file=log)
        (work.dir / out).write_text(name)
    work.publish(work.dir / out, out)
"""
NAMES = ("simulate", "crop", "train")


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    quiet = {"DVC_NO_ANALYTICS": "1", "PYTHONWARNINGS": "ignore"}
    environment = {**os.environ, "PATH": paths, **quiet}
    return subprocess.run(["dvc", *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def small(workspace: Path) -> Path:
    """A workspace of three stages, each of which reads the one before, run to its end."""
    Path("stage.py").write_text(STAGE)
    stages = {
        name: {"cmd": f"python stage.py {name} {name}.txt", "outs": [f"{name}.txt"], "deps": [f"{before}.txt"][:i]}
        for i, (before, name) in enumerate(zip(("", *NAMES), NAMES, strict=False))
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    dvc("init", "--no-scm", "-q")
    done = dvc("repro", "--no-run-cache")
    assert done.returncode == 0, done.stderr
    return workspace


def test_what_each_stage_keeps_puts_it_back_and_no_stage_runs_again(small: Path) -> None:
    whole = Path("dvc.lock").read_bytes()
    kept = yaml.safe_load(Path(".psface/dvc.lock").read_text())
    assert list(kept["stages"]) == ["simulate", "crop"]  # as it was when `train` began
    pipeline = Pipeline(small)
    assert not pipeline.put_back()
    Path("dvc.lock").write_bytes(whole[: len(whole) // 2])
    assert "dvc.lock" in dvc("repro", "--no-run-cache").stderr  # it refuses
    assert pipeline.put_back()  # cp .psface/dvc.lock dvc.lock
    done = dvc("repro", "--no-run-cache")
    assert done.returncode == 0, done.stderr
    assert Path("ran.txt").read_text().split() == list(NAMES)
    assert Path("dvc.lock").read_bytes() == whole


def test_the_copy_is_dvc_s_own(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("dvc.lock").write_text("stages: {simu")
    with hold("crop"):  # by hand: it may be torn already
        assert not Path(".psface/dvc.lock").exists()
    monkeypatch.setenv("DVC_STAGE", "crop")
    Path("dvc.lock").write_text("stages: {}")
    with hold("crop"):
        assert Path(".psface/dvc.lock").read_text() == "stages: {}"
    Path("dvc.lock").unlink()
    with hold("crop"):  # all was forgotten: so is the copy
        assert not Path(".psface/dvc.lock").exists()


@pytest.mark.parametrize(
    ("length", "whole"), [(0, False), (5, False), (20, False), (32, False), (40, True), (57, False), (10_000, True)]
)
def test_a_cut_is_told_by_the_benchmark_and_by_make(
    workspace: Path, repository: Path, length: int, whole: bool
) -> None:
    """A cut after which the rest is still a dvc.lock is none to DVC, which goes on: what is not in it runs again."""
    entry = {"cmd": "psface crop", "outs": [{"path": "data/faces", "hash": "md5", "md5": "0" * 32, "size": 2}]}
    text = yaml.safe_dump({"schema": "2.0", "stages": {"crop": entry}}, sort_keys=False)
    Path("dvc.lock").write_text(text[:length])
    assert is_whole(Path("dvc.lock")) == whole
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, name)
    Path(".venv/bin").mkdir(parents=True)
    for name, runs in (("python", f'exec "{sys.executable}" "$@"'), ("dvc", "echo ran")):
        Path(".venv/bin", name).write_text(f"#!/bin/sh\n{runs}\n")
        Path(".venv/bin", name).chmod(0o755)
    Path(".venv/bin/.ready").touch()
    made = subprocess.run(["make", "--no-print-directory", "repro"], capture_output=True, text=True, check=False)
    if whole:
        assert (made.returncode, made.stdout) == (0, "ran\n")
    else:
        assert made.returncode == 2
        assert "dvc.lock is torn, as by a kill: `cp .psface/dvc.lock dvc.lock`" in made.stderr
        assert "ran" not in made.stdout
