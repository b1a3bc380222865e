"""What a path leads to, told before it is opened or replaced, and why it cannot be written to.

A named pipe waits for a writer for ever, and a device never ends.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import UserError

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def strange(path: str | Path) -> str:
    """What a path leads to where that is neither a file nor a folder, in two or three words; "" otherwise.

    >>> strange(os.devnull), strange(os.curdir)
    ('a device', '')
    """
    try:
        return KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except OSError as error:
        if not os.path.islink(path):
            return ""
        return "a link to itself" if error.errno == errno.ELOOP else "a link that leads nowhere"
    except ValueError:  # a name that no file can have
        return ""


def check_regular(path: str | Path) -> None:
    """Refuse to open what would never end or never begin.

    Raises
    ------
    OSError
        It is a named pipe, a socket or a device; as strerror says.
    """
    what = strange(path)
    if what in KINDS.values():
        raise OSError(errno.EINVAL, f"{what}, not a file", str(path))


def check_replaceable(
    folder: Path, *, option: str, what: str, is_own: bool, made_from: Iterable[str | Path] = ()
) -> None:
    """Refuse to put a folder of results where something else would be lost: they take the place of older ones alone.

    Parameters
    ----------
    folder, option
        Where they go, and the option that says so.
    what
        What they are, such as ``"run"``.
    is_own
        Whether such results are what the folder holds.
    made_from
        What they are made from, of which nothing may lie in the folder.

    Raises
    ------
    UserError
        The folder holds something else, the workspace, or what the results are made from.
    """
    place = os.path.realpath(folder)
    inside = next((p for p in (os.curdir, *made_from) if Path(os.path.realpath(p)).is_relative_to(place)), None)
    if inside is not None:
        held = "this workspace" if inside == os.curdir else f"{inside}, which is read"
        raise UserError(f"{folder} holds {held}: choose another {option}")
    if folder.exists() and not is_own and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and is no {what}: choose another {option}")


def check_writable_beside(outs: Iterable[Path], *, read: Iterable[Path]) -> None:
    """Refuse to write files over those that they are made from, or where a folder is.

    Raises
    ------
    UserError
        One of ``outs`` is such a place; a folder among ``read`` stands for the files in it.
    """
    kept = {os.path.realpath(path) for path in read}
    for out in outs:
        place = os.path.realpath(out)
        if place in kept or (os.path.exists(place) and os.path.dirname(place) in kept):
            raise UserError(f"{out} is what is read: give another name, so that it stays")
        if os.path.isdir(place):
            raise UserError(f"{out} is a folder: give the name of a file")


def why_unwritable(place: Path) -> OSError:
    """Why nothing can be written to a place: the system's own word, which OpenEXR and torch do not hand on."""
    try:
        with place.open("ab") as file:
            file.write(bytes(1 << 16))
            file.flush()
    except OSError as error:
        return error
    return OSError(errno.EIO, os.strerror(errno.EIO), str(place))
