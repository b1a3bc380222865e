"""Work in progress: a lock a stage, a scratch folder that survives a kill, and moving whole results into place.

DVC empties a stage's outs before it runs, so resuming needs a place of its own: `.psface/<stage>/<key>/`, where the key
is a hash of the parameters, the inputs and the code. A run with the same key finds what an interrupted one left; a run
with another key starts afresh and clears what went stale.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pipeline.errors import PsfaceError

ROOT = Path(".psface")


def key_of(*parts: Any) -> str:
    """A short hash of parameters and inputs.

    A `Path` counts by its content (a folder by its files' names, sizes and times); anything else by its JSON text.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(_describe(part))
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def source(*names: str) -> list[Path]:
    """Source files of modules and packages by their dotted names, for `key_of`.

    What one version of the code began, another must not go on with.
    """
    files: list[Path] = []
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no source of {name}")
        origin = Path(spec.origin)
        files += sorted(origin.parent.glob("*.py")) if spec.submodule_search_locations else [origin]
    return files


def stamps_of(paths: Iterable[str | Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of files, for `key_of`: what is too much to be hashed by content. -1 for what is missing."""
    named = [(str(path), Path(path)) for path in paths]
    stats = [(name, path.stat() if path.exists() else None) for name, path in named]
    return [(name, s.st_size, s.st_mtime_ns) if s else (name, -1, -1) for name, s in stats]


def _describe(part: Any) -> bytes:
    if isinstance(part, Path):
        if part.is_dir():
            stats = ((f.relative_to(part).as_posix(), f.stat()) for f in sorted(part.rglob("*")) if f.is_file())
            return json.dumps([(name, s.st_size, s.st_mtime_ns) for name, s in stats]).encode()
        return hashlib.sha256(part.read_bytes()).digest() if part.exists() else b"absent"
    if hasattr(part, "model_dump"):
        part = part.model_dump(mode="json")
    return json.dumps(part, sort_keys=True, default=str).encode()


class StageWork:
    """The place of one stage's work in progress, held by one process at a time.

    Parameters
    ----------
    name : str
        The stage, with its item where it has one: ``"reconstruct"``, ``"train/albedo"``.
    key : str
        From `key_of`; work of another key is cleared.

    Raises
    ------
    PsfaceError
        Another process holds the stage.
    """

    def __init__(self, name: str, *, key: str) -> None:
        self.name = name
        self.home = ROOT / name
        self.dir = self.home / key
        self._lock: IO[str] | None = None

    def __enter__(self) -> StageWork:
        self.home.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.home / "lock", "a+")  # held open until __exit__
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise PsfaceError(
                f"`psface {self.name}` is already running here (process {holder}): wait for it or end it"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        for other in self.home.iterdir():
            if other.is_dir() and other.name != self.dir.name and _is_key(other.name):
                shutil.rmtree(other)
        self.dir.mkdir(exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            shutil.rmtree(self.dir, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def publish(self, source: str | Path, target: str | Path) -> Path:
        """Move a finished file or folder from the scratch folder into its place, replacing what is there."""
        target = Path(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            aside = target.with_name(f".{target.name}.old")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(target, aside)
            try:
                _move(Path(source), target)
            except BaseException:
                os.replace(aside, target)
                raise
            shutil.rmtree(aside)
        else:
            if target.is_symlink() and target.is_dir():
                target.unlink()  # the link goes, as a file would; what it points to is not ours
            _move(Path(source), target)
        return target


def _is_key(name: str) -> bool:
    return len(name) == 16 and all(c in "0123456789abcdef" for c in name)


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError:  # another file system: copy beside the target, then rename
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        if source.is_dir():
            shutil.copytree(source, beside)
        else:
            shutil.copy2(source, beside)
        os.replace(beside, target)
