"""Sessions over processes: their order, what is set aside, and workers that are killed or left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipeline.errors import PsfaceError, Rejected
from pipeline.parallel import map_sessions


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


def test_a_killed_worker_is_a_failure_in_one_line() -> None:
    """It was joblib's TerminatedWorkerError."""
    with pytest.raises(PsfaceError, match="a worker process was killed"):
        map_sessions(end_this_process, [1, 2], jobs=2, label="test")


def test_a_worker_killed_while_it_warms_up_prints_no_traceback(workspace: Path) -> None:
    """Regression: the warming thread printed joblib's TerminatedWorkerError."""
    Path("slow_to_import.py").write_text(
        "import os, pathlib, time\npathlib.Path(str(os.getpid())).touch()\ntime.sleep(9)\n"
    )
    script = """
import os, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, os.getcwd()); os.environ["PYTHONPATH"] = os.getcwd()
from pipeline.parallel import warm_up
warm_up(2, "slow_to_import")
while not (workers := [p for p in Path().iterdir() if p.name.isdigit()]): time.sleep(0.1)
os.kill(int(workers[0].name), signal.SIGKILL)
for thread in threading.enumerate():
    if thread is not threading.main_thread(): thread.join(5)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in ended.stderr
    assert len(list(workspace.iterdir())) > 1


def test_workers_end_with_their_killed_caller(workspace: Path) -> None:
    """Regression: busy or idle, they waited for more work for five minutes, and kept the caller's output open."""
    script = """
import os, time
from pathlib import Path
from pipeline.parallel import map_sessions
def work(number):
    Path(str(os.getpid())).touch()
    time.sleep(1000)
map_sessions(work, [1, 2], jobs=3, label="test")
"""
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as caller:
        until(lambda: len(list(workspace.iterdir())) == 2)
        children = psutil.Process(caller.pid).children()
        assert len(children) > 3  # one of the workers is idle
        caller.kill()
        until(lambda: not any(child.is_running() for child in children))
        assert caller.stderr is not None
        assert caller.stderr.read() == ""  # nor of the semaphores that were left


def until(condition: Callable[[], bool]) -> None:
    """Wait half a minute at most."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def end_this_process(_: int) -> None:
    os.kill(os.getpid(), 9)
