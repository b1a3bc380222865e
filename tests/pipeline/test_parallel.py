"""Sessions over a Dask cluster of two local workers; the option that says so; one thread a session."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click
import cv2
import dask
import pytest
from click.testing import CliRunner
from distributed import LocalCluster
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline import cluster as cluster_module
from pipeline.cli import main
from pipeline.errors import PsfaceError, Rejected, UserError
from pipeline.options import jobs_option
from pipeline.parallel import Jobs, imap_sessions, map_sessions

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """
simulate:
  seed: 7
  subjects: 2
  sessions: 2
  size: 128
  rigs: [{name: near, lights: [{zenith: 35, azimuth: 45}, {zenith: 35, azimuth: 165}, {zenith: 35, azimuth: 285}]}]
ingest: {source: photoface, root: data/simulated, quality: [ok, blur, dark], poses: [1, 2, 3, 4, 5], occluded: true}
reconstruct: {}
crop: {size: 64, seed: 7}
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two worker processes."""
    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.worker.daemon": True}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=60) as cluster,
    ):
        yield cluster.scheduler_address


def square(number: int, *, bad: int) -> int:
    if number == bad:
        raise Rejected(f"{number} is bad")
    return number**2


def test_a_cluster_keeps_the_order_and_sets_sessions_aside_one_by_one(address: str, workspace: Path) -> None:
    results = map_sessions(partial(square, bad=3), range(6), jobs=address, label="squares")
    assert [r if isinstance(r, int) else str(r) for r in results] == [0, 1, 4, "3 is bad", 16, 25]
    assert map_sessions(partial(square, bad=3), [], jobs=address, label="squares") == []


def is_here(name: str) -> tuple[int, bool]:
    return os.getpid(), Path(name).exists()


def test_a_cluster_works_where_its_caller_stands_and_in_other_processes(address: str, workspace: Path) -> None:
    Path("mine").touch()
    results = map_sessions(is_here, ["mine"] * 4, jobs=address, label="x")
    assert {found for _, found in results} == {True}
    assert os.getpid() not in {process for process, _ in results}
    assert list(Path(".psface").iterdir()) == []


def wait_for(name: str) -> str:
    while name == "second" and not Path("first was seen").exists():
        pass
    return name


def test_what_a_cluster_has_done_comes_before_the_rest_is_done(address: str, workspace: Path) -> None:
    results = imap_sessions(wait_for, ["first", "second"], jobs=address, label="x")
    assert next(results) == "first"
    Path("first was seen").touch()
    assert next(results) == "second"


def fail(_: int) -> int:
    raise UserError("wrong from the start")


def end_this_process(_: int) -> None:
    os.kill(os.getpid(), 9)


def test_another_error_ends_the_work_of_a_cluster_as_it_is(address: str, workspace: Path) -> None:
    with pytest.raises(UserError, match=r"^wrong from the start$"):
        map_sessions(fail, [1, 2], jobs=address, label="x")


def test_workers_that_see_other_files_are_told_apart(
    address: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "_token", lambda: nullcontext(Path("/nowhere/.psface/token")))
    with pytest.raises(PsfaceError, match=r"does not see /nowhere as .* has it: workers need the same files"):
        map_sessions(partial(square, bad=3), [1], jobs=address, label="x")


def test_a_killed_worker_of_a_cluster_is_a_failure_in_one_line(address: str, workspace: Path) -> None:
    with pytest.raises(PsfaceError, match="lost a worker to this work, mostly for want of memory"):
        map_sessions(end_this_process, [1], jobs=address, label="x")


def test_a_cluster_that_does_not_answer_is_the_users_mistake(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCE", 0.2)
    for wrong in ("tcp://127.0.0.1:1", "nonsense://here:1"):
        with pytest.raises(UserError, match=f"--jobs {wrong}: no Dask scheduler answers there"):
            map_sessions(partial(square, bad=3), [1], jobs=wrong, label="x")


def test_without_dask_one_line_says_what_to_install(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"needs Dask: pip install 'psface\[dask\]'"):
        map_sessions(partial(square, bad=3), [1], jobs="tcp://127.0.0.1:1", label="x")


@click.command()
@jobs_option(default=1)
def show(jobs: Jobs) -> None:
    """Say what the option was read as."""
    click.echo(repr(jobs))


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, "1"),
        (["--jobs", "-1"], {}, "-1"),
        (["--jobs", "tcp://a:8786"], {}, "'tcp://a:8786'"),
        ([], {"PSFACE_JOBS": "a:8786"}, "'a:8786'"),
        (["--jobs", "3"], {"PSFACE_JOBS": "a:8786"}, "3"),
    ],
)
def test_jobs_are_a_number_or_an_address(arguments: list[str], environment: dict[str, str], expected: str) -> None:
    assert CliRunner().invoke(show, arguments, env=environment).output.strip() == expected


def test_jobs_that_are_neither_are_refused() -> None:
    result = CliRunner().invoke(show, ["--jobs", "two"])
    assert result.exit_code == 2
    assert "'two' is neither a number of processes nor the address of a Dask scheduler" in result.output


def threads(_: int) -> set[int]:
    return {cv2.getNumThreads(), *(pool["num_threads"] for pool in threadpool_info())}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_session_takes_one_thread(jobs: int) -> None:
    """Libraries with threads of their own made two jobs on two cores no faster than one."""
    with threadpool_limits(2, user_api="blas"):
        before = threads(0)
        assert 2 in before
        assert map_sessions(threads, range(4), jobs=jobs, label="x") == [{1}] * 4
        assert threads(0) == before


def threads_of_torch(_: int) -> int:
    import torch

    return torch.get_num_threads()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_library_that_a_session_loads_takes_one_thread(jobs: int) -> None:
    """torch, which the detector loads, asks how many threads there are when it is loaded."""
    ask = f"""
from pipeline.parallel import map_sessions
from tests.pipeline.test_parallel import threads_of_torch
print(map_sessions(threads_of_torch, range(2), jobs={jobs}, label="x"))
"""
    many = {**os.environ, "OMP_NUM_THREADS": "3"}
    said = subprocess.run([sys.executable, "-c", ask], env=many, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[1, 1]"


def data_files() -> dict[str, str]:
    return {p.as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in Path("data").rglob("*") if p.is_file()}


@pytest.mark.slow
def test_the_data_stages_give_the_same_bytes_over_a_cluster(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, str]] = []
    for name, jobs in (("one", "1"), ("cluster", address)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Path("params.yaml").write_text(PARAMS)
        for stage in ("simulate", "ingest", "reconstruct", "crop"):
            main([stage, "--jobs", jobs])
        found.append(data_files())
    assert found[0] == found[1]
    assert {Path(p).name for p in found[0]} >= {"normal.npy", "index.parquet", "quality.parquet", "truth.exr"}


TOGETHER = """
import os, time
from pathlib import Path

def meet(kind):
    Path(f"{os.getpid()}.{kind}").touch()
    end = time.monotonic() + 120
    while len(list(Path().glob(f"*.{kind}"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)

def work(_):
    meet("work")
    return os.getpid()
"""


def test_workers_start_and_import_while_their_caller_works(workspace: Path) -> None:
    """And it is these workers that then work; the caller does not import it. Each waits for the other, as one that is
    late would leave both tasks to the first."""
    Path("together.py").write_text(TOGETHER)
    Path("slow.py").write_text("import together; together.meet('slow')")
    script = """
import os, sys
sys.path.insert(0, os.getcwd())
from together import work
from pipeline.parallel import map_sessions, warm_up
warm_up(1, "slow")
warm_up(2, "slow")
print(*sorted(set(map_sessions(work, range(8), jobs=2, label="test"))))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    workers = done.stdout.split()
    assert len(workers) == 2
    assert sorted(p.stem for p in Path().glob("*.slow")) == sorted(workers)
