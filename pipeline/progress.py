"""Progress of long work, and the closing line of a command."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")
QUIET_SECONDS = 20.0  # between plain lines, where standard error is not a terminal


def track(iterable: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield from ``iterable`` while showing how far it is and when it will be done.

    A bar with an ETA on a terminal; elsewhere (a log, DVC's output) a plain line every now and then.
    """
    count = total if total is not None else len(iterable)  # type: ignore[arg-type]
    return _bar(iterable, label, count) if sys.stderr.isatty() else _lines(iterable, label, count)


def _bar(iterable: Iterable[T], label: str, total: int) -> Iterator[T]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("ETA"), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        yield from progress.track(iterable, total=total, description=label)


def _lines(iterable: Iterable[T], label: str, total: int) -> Iterator[T]:
    start = said = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - said > QUIET_SECONDS and done < total:
            said = now
            left = (now - start) / done * (total - done)
            print(f"{label}: {done}/{total}, about {left:.0f} s to go", file=sys.stderr, flush=True)


def wrote(*paths: str | Path, note: str = "") -> None:
    """Say on standard output what a command wrote."""
    print(f"wrote {', '.join(Path(p).as_posix() for p in paths)}" + (f" ({note})" if note else ""), flush=True)
