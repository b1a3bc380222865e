"""Small files, written whole: beside their place first, then renamed, with the same bytes for the same content."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call ``write(beside)`` on a name beside ``path``, then rename it into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text with ``\\n`` line ends."""
    return write_atomic(path, lambda p: p.write_text(text, encoding="utf-8", newline="\n"))


def write_json(path: str | Path, value: Any) -> Path:
    """Write indented JSON; NaN is refused, since no reader agrees on it."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a table as CSV without its index."""
    return write_text(path, table.to_csv(index=False, lineterminator="\n"))


def write_parquet(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a table as parquet without its index."""
    return write_atomic(path, lambda p: table.to_parquet(p, index=False, compression="zstd"))


def read_parquet(path: str | Path, *, made_by: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table, or say which stage makes it; one that lacks any of ``columns`` is some other table."""
    table = _read(path, pd.read_parquet, made_by)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise UserError(
            f"{path} is not the table that `psface {made_by}` writes: it has no column {', '.join(missing)}"
        )
    return table


def read_csv(path: str | Path, *, made_by: str, **options: Any) -> pd.DataFrame:
    """Read a CSV, or say which stage makes it."""
    return _read(path, lambda p: pd.read_csv(p, **options), made_by)


def _read(path: str | Path, read: Callable[[Path], pd.DataFrame], made_by: str) -> pd.DataFrame:
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is missing: run `psface {made_by}` (or `dvc repro`) first")
    try:
        return read(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read ({reason}): delete it and run `psface {made_by}` again") from error
