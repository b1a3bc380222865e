"""Work in progress: a lock a stage, a scratch folder that survives a kill, and moving whole results into place.

DVC empties a stage's outs before it runs, so resuming needs a place of its own: `.psface/<stage>/<key>/`, where the key
is a hash of the parameters, the inputs and the code. A run with the same key finds what an interrupted one left; a run
with another key starts afresh and clears what went stale.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from pipeline.errors import PsfaceError, UserError
from pipeline.recorded import DONE, is_recorded, keep_lock, mark_done, settle
from pipeline.tables import named

ROOT = Path(".psface")
Command = TypeVar("Command", bound=Callable[..., Any])


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
    """Source files of modules and of whole packages, with the data in them, by their dotted names, for `key_of`;
    nothing is imported.

    What one version of the code began, another must not go on with.
    """
    files: list[Path] = []
    for name in names:
        top, *inner = name.split(".")
        spec = importlib.util.find_spec(top)  # of a dotted name, it would import what stands before the last dot
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no source of {name}")
        place = Path(spec.origin).parent.joinpath(*inner)
        found = _files(place) if place.is_dir() else [place.with_suffix(".py")]
        if not any(path.suffix == ".py" and path.is_file() for path in found):
            raise ModuleNotFoundError(f"no source of {name}")
        files += found
    return files


def _files(package: Path) -> list[Path]:
    """All files of a package but what Python makes of them."""
    return sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


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


@contextmanager
def hold(name: str) -> Iterator[Path]:
    """Hold a stage of this workspace (``"crop"``, ``"train/albedo"``), and give its folder below `.psface/`.

    Raises
    ------
    PsfaceError
        Another process holds it.
    UserError
        Its item is not a name, and would lead out of the workspace.
    """
    stage, *item = name.split("/")
    if any(part in ("", ".", "..") for part in item):
        raise UserError(f"`psface {stage}`: {'/'.join(item)} is not the name of a run")
    home = ROOT / name
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "a+") as lock:  # the system lets go of it when its holder dies, however it dies
        if not _lock(lock):
            lock.seek(0)
            holder, command = lock.read().strip() or "unknown", name.replace("/", " ")
            raise PsfaceError(f"`psface {command}` is already running here (process {holder}): wait for it or end it")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        keep_lock(ROOT)
        yield home


def alone(stage: str, item: str | None = None) -> Callable[[Command], Command]:
    """Decorate a command that keeps nothing in progress, so that it holds its stage; ``item`` names its argument."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**arguments: Any) -> Any:
            with hold(stage if item is None else f"{stage}/{arguments[item]}"):
                return command(**arguments)

        return run  # type: ignore[return-value]

    return decorate


class StageWork:
    """The place of one stage's work in progress, held by one process at a time.

    Run by hand, it is cleared when the work is done. Run by DVC, it is kept until DVC has recorded the results: where
    DVC was killed before that, it empties the stage's outs and runs the stage again, which then has nothing to do.

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
        self.kept = "DVC_STAGE" in os.environ
        self._held = ExitStack()

    def __enter__(self) -> StageWork:
        self._held.enter_context(hold(self.name))
        if is_recorded(self.home):
            shutil.rmtree(self.dir, ignore_errors=True)  # the same work once more: asked for by force
            settle(self.home)
        (self.home / DONE).unlink(missing_ok=True)
        for other in self.home.iterdir():
            if other.is_dir() and other.name != self.dir.name and _is_key(other.name):
                shutil.rmtree(other)
        _clear_recorded()
        self.dir.mkdir(exist_ok=True)
        _mend(self.dir)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.kept:
            mark_done(self.home, self.dir.name)
        elif kind is None:
            shutil.rmtree(self.dir, ignore_errors=True)
        self._held.close()

    def publish(self, source: str | Path, target: str | Path) -> Path:
        """Move a finished file or folder from the scratch folder into its place, replacing what is there.

        Under DVC the scratch folder keeps links to the same files.
        """
        source, target = Path(source), Path(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.old")
        if target.is_symlink() and target.is_dir():
            target.unlink()  # the link goes, as a file would; what it points to is not ours
        elif target.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(target, aside)
        try:
            _place(source, target, move=not self.kept)
        except BaseException:
            if aside.exists():
                os.replace(aside, target)
            raise
        shutil.rmtree(aside, ignore_errors=True)  # also one that a killed run has left
        return target


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clear_recorded() -> None:
    """Remove what other stages have kept and DVC has recorded."""
    for done in [*ROOT.glob(f"*/{DONE}"), *ROOT.glob(f"*/*/{DONE}")]:
        if not is_recorded(done.parent):
            continue  # its lock is left to those who need it
        with open(done.with_name("lock"), "a+") as lock:
            if _lock(lock) and is_recorded(done.parent):
                for kept in done.parent.iterdir():
                    if kept.is_dir() and _is_key(kept.name):
                        shutil.rmtree(kept)
                settle(done.parent)


def _mend(folder: Path) -> None:
    """Remove what a kill left half-written, which has a hidden name; part files from published ones linked to them."""
    for path in sorted(folder.rglob("*")):
        if path.name.startswith("."):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        elif path.is_file() and path.stat().st_nlink > 1:
            beside = path.with_name(f".{path.name}")
            shutil.copyfile(path, beside)
            os.replace(beside, path)


def _is_key(name: str) -> bool:
    return len(name) == 16 and all(c in "0123456789abcdef" for c in name)


def _place(source: Path, target: Path, *, move: bool) -> None:
    beside = target.with_name(f".{target.name}.new")
    if move:
        try:
            os.replace(source, target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    shutil.rmtree(beside, ignore_errors=True)  # of a killed run
    beside.unlink(missing_ok=True)
    copy = shutil.copyfile if move else _link
    try:
        if source.is_dir():
            shutil.copytree(source, beside, copy_function=copy)
        else:
            copy(source, beside)
        os.replace(beside, target)
    except OSError as error:  # shutil's has a list of all files
        shutil.rmtree(beside, ignore_errors=True)
        beside.unlink(missing_ok=True)
        raise named(error, target) from error


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
