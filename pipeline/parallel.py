"""Sessions over cores: one call for one process, many (joblib), or a Dask cluster; one thread for each session.

On one thread a session costs the least of a core, and `jobs` says how many cores are used.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TypeVar

import cv2
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

from pipeline.cluster import over_cluster
from pipeline.errors import PsfaceError, Rejected, UserError
from pipeline.progress import track

Item = TypeVar("Item")
Value = TypeVar("Value")
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")  # joblib replaces one that has grown
# joblib's helper process clears away the semaphores that a killed run has left, and need not tell of each kind
sys.warnoptions.append("ignore:resource_tracker")
LATER = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # what torch and others ask for when they are loaded
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h
Jobs = int | str  # processes on this machine (-1: all cores), or the address of a Dask scheduler


def _call(function: Callable[[Item], Value], item: Item) -> Value | Rejected:
    try:
        return function(item)
    except Rejected as reason:
        return Rejected(str(reason))  # without its traceback and causes, so that it always travels between processes


def end_with_parent(parent: int) -> None:
    """Let this worker end when its parent, for which it works, is killed: left to itself, it waits for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _call_in(folder: Path, function: Callable[[Item], Value], item: Item) -> Value | Rejected:
    """In a worker process, this machine's or a cluster's."""
    os.chdir(folder)  # a worker that is used again stands where its first caller stood
    _keep_memory()
    _one_thread_for_good()
    return _call(function, item)


@cache
def _keep_memory() -> None:
    """Let freed memory stay with this process: to give it back, as the C library does and Dask asks for, maps the pages
    of each large array anew.
    """
    with suppress(AttributeError):  # another C library than GNU's
        library = ctypes.CDLL(None)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 30)
        library.mallopt(M_MMAP_THRESHOLD, 1 << 25)


@cache
def _one_thread_for_good() -> None:
    cv2.setNumThreads(1)
    threadpool_limits(1)  # what joblib and Dask tell a worker by its environment can be outvoted there
    os.environ |= LATER


@contextmanager
def _one_thread() -> Iterator[None]:
    threads, told = cv2.getNumThreads(), {name: os.environ.get(name) for name in LATER}
    cv2.setNumThreads(1)
    os.environ |= LATER
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(threads)
        for name in LATER:
            del os.environ[name]
        os.environ |= {name: value for name, value in told.items() if value is not None}


def imap_sessions(
    function: Callable[[Item], Value], items: Sequence[Item], *, jobs: Jobs, label: str
) -> Iterator[Value | Rejected]:
    """Yield ``function(item)`` for each item, in the order of ``items``, as they become ready.

    Parameters
    ----------
    function : callable
        Picklable (a module's function or a `functools.partial` of one). `Rejected` raised inside is yielded as a value;
        any other exception ends the work.
    jobs : int or str
        Worker processes; 1 works in this process, -1 takes all cores, any other number below 1 is refused. A text is
        the address of a Dask scheduler, whose workers need the same files under the same paths.
    label : str
        What the progress bar says.

    Raises
    ------
    UserError
        There is no such number of jobs, or no such cluster.
    PsfaceError
        A worker process was killed.
    """
    if isinstance(jobs, str):
        yield from track(
            over_cluster(jobs, partial(_call_in, Path.cwd(), function), items, label=label), label, total=len(items)
        )
        return
    if jobs < 1 and jobs != -1:
        raise UserError(f"--jobs {jobs}: give a number of processes, or -1 for all cores")
    jobs = _processes(jobs)
    if jobs == 1 or len(items) <= 1:
        _keep_memory()
        with _one_thread():
            yield from track((_call(function, item) for item in items), label, total=len(items))
        return
    results = _pool(jobs)(delayed(_call_in)(Path.cwd(), function, item) for item in items)
    try:
        yield from track(results, label, total=len(items))
    except TerminatedWorkerError:
        raise PsfaceError(
            f"{label}: a worker process was killed, mostly for want of memory: give fewer --jobs"
        ) from None


def warm_up(jobs: Jobs, module: str) -> None:
    """Let the processes that `imap_sessions` will use start, and import a module that takes long, while their caller
    does work of its own.
    """
    if isinstance(jobs, str) or _processes(jobs) < 2:
        return
    pool, task = _pool(_processes(jobs)), delayed(_call_in)(Path.cwd(), _import, module)

    def start() -> None:
        with suppress(TerminatedWorkerError):  # who gives the pool its work next is told
            list(pool([task] * _processes(jobs)))

    Thread(target=start, daemon=True).start()


def _import(module: str) -> None:
    import_module(module)  # a module that was returned would be imported by the caller too


def _processes(jobs: int) -> int:
    return cpu_count() if jobs == -1 else jobs


def _pool(jobs: int) -> Parallel:
    """Worker processes; those of an earlier call work on."""
    ending = {"initializer": end_with_parent, "initargs": (os.getpid(),)}
    return Parallel(n_jobs=jobs, return_as="generator", batch_size=1, pre_dispatch="3*n_jobs", **ending)


def map_sessions(
    function: Callable[[Item], Value], items: Sequence[Item], *, jobs: Jobs, label: str
) -> list[Value | Rejected]:
    """`imap_sessions`, collected into a list."""
    return list(imap_sessions(function, items, jobs=jobs, label=label))
