"""What lies in a data set and is neither file nor folder: no reader opens it, and DVC would.

DVC hashes whatever lies below a folder that a stage depends on, hidden or not. It reads a named pipe and a device for
ever, and ends at a socket or a link that leads nowhere (tried with DVC 3.67); folders that are links it leaves out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UserError, one_line
from pipeline.files import strange

LOOP = "a link to a folder around it"
SPECIAL = re.compile(r"[\\*?\[\]!# ]")  # in a pattern of git's
SHOWN = 3


class Oddity(NamedTuple):
    """An entry by its path below the data set's folder, and what it is."""

    path: str
    what: str

    @property
    def stops_dvc(self) -> bool:
        """Whether DVC hangs or ends where it meets it."""
        return self.what != LOOP


def oddities(root: Path) -> list[Oddity]:
    """What lies below a folder and is neither file nor folder nor a link to one, and links that lead back, by path."""
    return sorted(_below(root, Path()))


def _below(root: Path, inside: Path) -> Iterator[Oddity]:
    try:
        entries = list(os.scandir(root / inside))
    except OSError:  # the readers say so, where they need what is in it
        return
    for entry in entries:
        path = inside / entry.name
        if entry.is_file(follow_symlinks=False):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(root, path)
        elif what := strange(entry.path) or (LOOP if leads_back(Path(entry.path)) else ""):
            yield Oddity(path.as_posix(), what)


def leads_back(path: Path) -> bool:
    """Whether a link leads to a folder that it lies in, so that going down it never ends."""
    return path.is_symlink() and path.is_dir() and path.parent.resolve().is_relative_to(path.resolve())


def note(root: str | Path, found: list[Oddity]) -> list[str]:
    """A line for all of them, or none."""
    if not found:
        return []
    some = ", ".join(f"{oddity.path} ({oddity.what})" for oddity in found[:SHOWN])
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    verb, them = ("is", "it") if len(found) == 1 else ("are", "them")
    return [
        one_line(
            f"{root}: {some}{more} {verb} left out; remove {them}, or name {them} in .dvcignore: DVC reads all there is"
        )
    ]


def ignored(place: str, found: list[Oddity]) -> str:
    """Lines for `.dvcignore`, so that DVC passes them by; ``place`` is the data set's in the workspace.

    Raises
    ------
    UserError
        One has a name that no pattern can hold.
    """
    stopping = [oddity for oddity in found if oddity.stops_dvc]
    for oddity in stopping:
        if not oddity.path.isprintable():
            raise UserError(f"{oddity.path!a} is {oddity.what}, at which DVC would stop: remove it from the data set")
    return "".join("/" + SPECIAL.sub(r"\\\g<0>", f"{place}/{oddity.path}") + "\n" for oddity in stopping)
