"""Readers of data sets: what one yields, and the registry that finds one by the name of its source.

A reader walks a data set and yields sessions, refusals (a session that cannot be used, with its reason) and notes (what
the user should hear, once). It translates the habits of its data set into the conventions of docs/conventions.md at
this border: lights in the camera frame (x right, y up, z to the camera), labels as codes of `pipeline.attributes`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from pipeline.errors import Rejected, UserError, nearest
from pipeline.lights import to_angles
from pipeline.params import Ingest
from pipeline.sessions import Session
from stages.ingest.oddities import leads_back

MODULES = ("photoface", "yaleb", "folder", "photographs")
RIG_STEP = 5.0  # degrees: lights that agree within it count as the same rig
AMBIENT = "ambient"
ESTIMATE = "set ingest.uncalibrated: true in params.yaml to have the lights estimated from the frames"


class Refusal(NamedTuple):
    """A session that cannot be used."""

    id: str
    reason: str


class Note(NamedTuple):
    """What the user should hear of a data set, beside its sessions."""

    text: str


Found: TypeAlias = Session | Refusal | Note
Reader: TypeAlias = Callable[[Path, Ingest], Iterator[Found]]
_READERS: dict[str, Reader] = {}


def reader(name: str) -> Callable[[Reader], Reader]:
    """Register a function as the reader of a source."""

    def register(function: Reader) -> Reader:
        _READERS[name] = function
        return function

    return register


def find_reader(name: str) -> Reader:
    """The reader of a source; an unknown name lists the known ones."""
    for module in MODULES:
        importlib.import_module(f"stages.ingest.{module}")
    if name not in _READERS:
        raise UserError(f"no reader `{name}`; {nearest(name, sorted(_READERS))}")
    return _READERS[name]


def rig_name(lights: np.ndarray) -> str:
    """A name for a set of lights (k, 3), the same whatever their order: ``rig4-`` and a hash of their rounded angles.

    Angles are rounded to `RIG_STEP` degrees, so that two calibrations of one rig mostly share its name.
    """
    zenith, azimuth = (np.rint(angles / RIG_STEP).astype(int) for angles in to_angles(lights))
    azimuth = np.where(zenith == 0, 0, azimuth % round(360 / RIG_STEP))
    text = ";".join(f"{z},{a}" for z, a in sorted(zip(zenith.tolist(), azimuth.tolist(), strict=True)))
    return f"rig{len(lights)}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def unknown_lights(count: int) -> np.ndarray:
    """(count, 3) NaN: the lights of a session are to be estimated from its frames.

    Raises
    ------
    Rejected
        There are fewer than three frames.
    """
    if count < 3:
        raise Rejected(f"{count} frames; without known lights it takes at least three, and better four")
    return np.full((count, 3), np.nan)


def folders(root: Path) -> list[Path]:
    """The folders in a folder, by name; hidden ones and links that lead back are left out.

    Raises
    ------
    Rejected
        The folder cannot be looked into.
    """
    try:
        return [path for path in visible(root) if path.is_dir() and not leads_back(path)]
    except OSError as error:
        raise Rejected(f"{root}: cannot be looked into ({error.strerror or error})") from error


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name; hidden entries are left out.

    Raises
    ------
    Rejected
        The folder cannot be looked into.
    """
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)
    except OSError as error:
        raise Rejected(f"{folder}: cannot be looked into ({error.strerror or error})") from error


def session_folders(root: Path, holds: str) -> list[Path | Refusal]:
    """All ``<subject>/<session>`` folders of a data set, in order; a subject's that cannot be looked into is refused.

    Raises
    ------
    UserError
        There is none, where ``holds`` says what one should hold; or the data set cannot be looked into.
    """
    found: list[Path | Refusal] = []
    try:
        subjects = folders(root)
    except Rejected as reason:
        raise UserError(f"{reason}; give yourself the right to read it") from reason
    for subject in subjects:
        try:
            found += folders(subject)
        except Rejected as reason:
            found.append(Refusal(subject.name, str(reason)))
    if not found:
        raise UserError(f"{root}: no folder <subject>/<session>/ in it; each should hold {holds}")
    return found


def first_ambient(files: Iterable[Path]) -> str | None:
    """The photograph without flash, ``ambient.*``, among the files of a session."""
    return next((path.as_posix() for path in files if path.stem.lower() == AMBIENT), None)
