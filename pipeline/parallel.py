"""Sessions over cores: one call for one process, many, or a cluster (joblib's backends)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from pipeline.errors import PsfaceError, Rejected
from pipeline.progress import track

Item = TypeVar("Item")
Value = TypeVar("Value")


def _call(function: Callable[[Item], Value], item: Item) -> Value | Rejected:
    try:
        return function(item)
    except Rejected as reason:
        return Rejected(str(reason))  # without its traceback and causes, so that it always travels between processes


def _call_in(folder: Path, function: Callable[[Item], Value], item: Item) -> Value | Rejected:
    os.chdir(folder)  # a worker that is used again stands where its first caller stood
    return _call(function, item)


def imap_sessions(
    function: Callable[[Item], Value], items: Sequence[Item], *, jobs: int, label: str
) -> Iterator[Value | Rejected]:
    """Yield ``function(item)`` for each item, in the order of ``items``, as they become ready.

    Parameters
    ----------
    function : callable
        Picklable (a module's function or a `functools.partial` of one). `Rejected` raised inside is yielded as a value;
        any other exception ends the work.
    jobs : int
        Worker processes; 1 works in this process, -1 takes all cores.
    label : str
        What the progress bar says.

    Raises
    ------
    PsfaceError
        A worker process was killed.
    """
    jobs = cpu_count() if jobs < 1 else jobs
    if jobs == 1 or len(items) <= 1:
        results: Iterator[Value | Rejected] = (_call(function, item) for item in items)
    else:
        pool = Parallel(n_jobs=jobs, return_as="generator", batch_size=1, pre_dispatch="3*n_jobs")
        results = pool(delayed(_call_in)(Path.cwd(), function, item) for item in items)
    try:
        yield from track(results, label, total=len(items))
    except TerminatedWorkerError:
        raise PsfaceError(
            f"{label}: a worker process was killed, mostly for want of memory: give fewer --jobs"
        ) from None


def map_sessions(
    function: Callable[[Item], Value], items: Sequence[Item], *, jobs: int, label: str
) -> list[Value | Rejected]:
    """`imap_sessions`, collected into a list."""
    return list(imap_sessions(function, items, jobs=jobs, label=label))
