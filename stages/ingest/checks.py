"""Checks of a session before any work is spent on it: its labels against what is kept, its files by their headers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.attributes import ATTRIBUTES, MISSING
from pipeline.errors import Rejected
from pipeline.files import strange
from pipeline.images import frame_size
from pipeline.params import Ingest
from pipeline.sessions import Session


def check_session(session: Session, params: Ingest) -> Session:
    """The session if it can be used; without its ambient photograph where that has a fault.

    Raises
    ------
    Rejected
        A filter leaves it out, a frame is missing, empty, too large or no image, the frames differ in size, or a name
        cannot be written down.
    """
    check_filters(session, params)
    for name in (session.id, *session.frames, session.ambient or ""):
        if not name.isprintable():  # nor can a table hold a name that is not UTF-8
            raise Rejected(f"{name!a}: a name with characters that cannot be shown; rename it")
    sizes = [_size(frame) for frame in session.frames]
    for frame, size in zip(session.frames, sizes, strict=True):
        if size != sizes[0]:
            raise Rejected(f"frames differ in size: {_named(session.frames[0], sizes[0])}, {_named(frame, size)}")
    return replace(session, ambient=None) if ambient_fault(session, sizes[0]) else session


def ambient_fault(session: Session, size: tuple[int, int] | None = None) -> str:
    """Why the ambient photograph cannot be subtracted from frames of a size (height, width), or "" where it can be."""
    if session.ambient is None:
        return ""
    try:
        own, size = _size(session.ambient), size or _size(session.frames[0])
    except Rejected as reason:
        return str(reason)
    return "" if own == size else f"{_named(session.ambient, own)} beside frames of {size[1]} x {size[0]}"


def check_filters(session: Session, params: Ingest) -> None:
    """Raise `Rejected` where quality, occlusion or pose is not among those kept; an unknown label passes."""
    if session.quality and session.quality not in params.quality:
        raise Rejected(f"filtered: quality {session.quality} (kept: {', '.join(params.quality)})")
    if session.occlusion and not params.occluded:
        raise Rejected(f"filtered: occlusion {session.occlusion}")
    if session.pose != MISSING:
        pose = ATTRIBUTES["pose"].classes[session.pose]
        if int(pose) not in params.poses:
            raise Rejected(f"filtered: pose {pose} (kept: {', '.join(map(str, params.poses))})")


def _size(path: str) -> tuple[int, int]:
    """(height, width) of a frame; an error names the file alone, since the session is known."""
    file = Path(path)
    if what := strange(file):
        raise Rejected(f"{file.name} is {what}, not a file; put the frame there")
    try:
        held = file.stat().st_size if file.is_file() else -1
        height, width = frame_size(file) if held > 0 else (0, 0)
    except Rejected as reason:
        fault = str(reason).removeprefix(f"{file}: ").replace("not an image", "is not an image")
        raise Rejected(f"{file.name} {fault}") from None
    except OSError as error:  # its name may be longer than any file's
        raise Rejected(f"{file.name} cannot be read ({error.strerror or error})") from error
    if held <= 0:
        raise Rejected(f"missing frame {file.name}" if held < 0 else f"{file.name} is empty (0 bytes)")
    if height < 1 or width < 1:
        raise Rejected(f"{file.name} has no pixels ({width} x {height})")
    return height, width


def _named(path: str, size: tuple[int, int]) -> str:
    return f"{Path(path).name} {size[1]} x {size[0]}"
