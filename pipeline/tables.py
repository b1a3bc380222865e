"""Small files, written whole: beside their place first, then renamed, with the same bytes for the same content."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline.errors import UserError
from pipeline.files import check_regular

if TYPE_CHECKING:  # pandas is imported where a table is read: most processes write small files alone
    import pandas as pd


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
        raise named(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def written_together(folder: str | Path, last: str) -> Iterator[Path]:
    """Give a folder to write files into, which then take their places in ``folder`` one after the other.

    Files of other names stay. The file ``last`` goes before the first is replaced and comes after all of them: where a
    kill leaves old files beside new ones, that one is missing.

    Raises
    ------
    OSError
        The disk is full, or the place cannot be written to; nothing has been replaced then.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / ".new"
    shutil.rmtree(beside, ignore_errors=True)  # of a killed run
    try:
        beside.mkdir()
        yield beside
        (folder / last).unlink(missing_ok=True)
        for path in sorted(beside.iterdir(), key=lambda path: path.name == last):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise named(error, folder) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def named(error: OSError, path: Path) -> OSError:
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


Columns: TypeAlias = Mapping[str, type]  # what each holds: str, int, float (whole numbers too), bool; object for any
NOTHING: Columns = {}
HOLDS = {str: "text", int: "whole numbers", float: "numbers", bool: "true or false"}


def read_parquet(path: str | Path, *, made_by: str, columns: Columns = NOTHING, key: str = "") -> pd.DataFrame:
    """Read a table, or say which stage makes it.

    One that lacks any of ``columns``, or holds something else in it, is some other table; so is one of which two rows
    have one ``key``.
    """
    return _checked(path, _read(path, _parquet, made_by), made_by, columns, key)


def _parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    table = pd.read_parquet(path)
    for name in table.columns:
        if isinstance(table[name].dtype, pd.StringDtype):
            table[name].tolist()  # only now is its UTF-8 decoded, or found to be none
    return table


def read_csv(path: str | Path, *, made_by: str, columns: Columns = NOTHING, **options: Any) -> pd.DataFrame:
    """Read a CSV, as `read_parquet` does; ``options`` are those of pandas."""
    import pandas as pd

    return _checked(path, _read(path, lambda p: pd.read_csv(p, **options), made_by), made_by, columns, "")


def _checked(path: str | Path, table: pd.DataFrame, made_by: str, columns: Columns, key: str) -> pd.DataFrame:
    missing = [name for name in columns if name not in table.columns]
    other = [name for name, kind in columns.items() if name in table.columns and not _holds(table[name], kind)]
    fault = ""
    if missing:
        fault = f"it has no column {', '.join(missing)}"
    elif other:
        fault = f"its column {other[0]} must hold {HOLDS[columns[other[0]]]}"
    elif key and table[key].duplicated().any():
        fault = f"two rows have the {key} {table[key][table[key].duplicated()].iloc[0]}"
    if fault:
        raise UserError(f"{path} is not the table that `psface {made_by}` writes: {fault}: run it again")
    return table


def _holds(values: pd.Series, kind: type) -> bool:
    from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

    if kind is object or values.empty:
        return True
    if kind is str:
        return all(isinstance(value, str) for value in values)
    test = {int: is_integer_dtype, float: is_numeric_dtype, bool: is_bool_dtype}[kind]
    return bool(test(values.dtype)) and not (kind is float and is_bool_dtype(values.dtype))


def _read(path: str | Path, read: Callable[[Path], pd.DataFrame], made_by: str) -> pd.DataFrame:
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is missing: run `psface {made_by}` (or `dvc repro`) first")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the table in it that `psface {made_by}` writes")
    try:
        check_regular(path)
        return read(path)
    except Exception as error:  # each of pandas, pyarrow and the system has errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read ({reason}): delete it and run `psface {made_by}` again") from error
