"""Small files, written whole: beside their place first, then renamed, with the same bytes for the same content."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.files import check_regular


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call ``write(beside)`` on a name beside ``path``, then rename it into place.

    Raises
    ------
    OSError
        The disk is full, or the place cannot be written to; it names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(beside)
        os.replace(beside, path)
    except OSError as error:
        raise _named(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return path


def _named(error: OSError, path: Path) -> OSError:
    """The error with the name that the user knows, and the reason in the system's words."""
    known = error.errno or next((n for n in (errno.ENOSPC, errno.EROFS) if os.strerror(n) in str(error)), errno.EIO)
    return OSError(known, os.strerror(known), str(path))


def read_text(path: str | Path, *, most: int = 1 << 26, errors: str = "strict") -> str:
    """A small text in UTF-8, with or without a byte-order mark; ``errors`` as `bytes.decode` takes it.

    Raises
    ------
    OSError
        It cannot be read, is larger than ``most`` bytes, or is a pipe or a device.
    UnicodeDecodeError
        It is not UTF-8.
    """
    path = Path(path)
    check_regular(path)
    if path.stat().st_size > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return path.read_text(encoding="utf-8-sig", errors=errors)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text with ``\\n`` line ends; half characters, as a name that is not UTF-8 has them, are spelt out."""
    return write_atomic(path, lambda p: p.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n"))


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
        check_regular(path)
        return read(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read ({reason}): delete it and run `psface {made_by}` again") from error
