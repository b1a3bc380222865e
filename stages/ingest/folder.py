"""Reader of one's own sessions: frames in folders, and the light of each frame in a `lights.csv`.

<root>/<subject>/<session>/*.{bmp,pgm,png,tif,exr,jpg}   the frames; `ambient.*` is the one without flash
lights.csv    frame,x,y,z[,strength]: in the session's folder, else in the subject's, else in the root. A frame
              is named by its file name, or by its path from the table; a name alone holds for every session
rig.json      the lights of a rig instead (docs/calibration.md): found as lights.csv is, and before it in one folder
              with neither, and `ingest.uncalibrated: true`, all pictures of a session are its frames
labels.csv    optional, in the root: subject[,session] and any of rig, gender, spectacles, facial_hair, pose,
              expression, age, quality, occlusion; a row without a session holds for all of the subject's
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.files import strange
from pipeline.images import SUFFIXES
from pipeline.lights import check_lights, read_lights_csv
from pipeline.params import Ingest
from pipeline.rig import RIG, Camera, Rig, natural_order, read_rig
from pipeline.sessions import UNKNOWN_RIG, Session
from stages.ingest.labels import LABELS, Labels
from stages.ingest.readers import (
    AMBIENT,
    ESTIMATE,
    Found,
    Refusal,
    first_ambient,
    reader,
    rig_name,
    session_folders,
    unknown_lights,
    visible,
)

LIGHTS = "lights.csv"


@reader("folder")
def read_folder(root: Path, params: Ingest) -> Iterator[Found]:
    """Yield the sessions of a folder of folders with lights.csv."""
    tables: dict[Path, Table | Rig] = {}
    found = session_folders(root, f"its frames, and {LIGHTS} or {RIG} there or above")
    labels = Labels.read(root / LABELS)
    for folder in found:
        if isinstance(folder, Refusal):
            yield folder
            continue
        try:
            yield read_session(root, folder, tables, labels, uncalibrated=params.uncalibrated)
        except (Rejected, UserError) as reason:
            yield Refusal(f"{folder.parent.name}/{folder.name}", str(reason))
    yield from labels.notes(root / LABELS, found)


def read_session(
    root: Path, folder: Path, tables: dict[Path, Table | Rig], labels: Labels, *, uncalibrated: bool = False
) -> Session:
    """The session in one folder; ``tables`` keeps the lights.csv and rig.json files that were read.

    With ``uncalibrated`` one that has neither is a session of unknown lights.

    Raises
    ------
    Rejected, UserError
        No lights.csv or rig.json, a frame that it names is missing, the lights cannot be used; or the folder cannot be
        looked into.
    """
    visible(folder)  # what cannot be looked into is refused here, not by the first question about a file in it
    file = _file_of_lights(root, folder)
    if file is not None and file not in tables:
        tables[file] = read_rig(file) if file.name == RIG else Table(file)
    if file is not None:
        table = tables[file]
        lit = _by_rig(file, table, folder) if isinstance(table, Rig) else _by_table(table, folder)
        name = table.name if isinstance(table, Rig) and table.name else rig_name(lit.lights)
    elif uncalibrated:
        lit, name = _in_the_dark(folder), UNKNOWN_RIG
    else:
        raise Rejected(f"no {LIGHTS} here, in the subject's folder or in {root}; write one, or {ESTIMATE}")
    known = labels.of(folder.parent.name, folder.name)
    return Session(
        id=f"{folder.parent.name}/{folder.name}",
        subject=folder.parent.name,
        session=folder.name,
        frames=tuple(frame.as_posix() for frame in lit.frames),
        ambient=lit.ambient,
        lights=lit.lights,
        strengths=lit.strengths,
        source="folder",
        positions=lit.positions,
        camera=lit.camera,
        **{"rig": name, **known},  # type: ignore[arg-type]
    )


def _file_of_lights(root: Path, folder: Path) -> Path | None:
    """The nearest rig.json or lights.csv of a session's folder; none where there is none."""
    for file in (place / name for place in (folder, folder.parent, root) for name in (RIG, LIGHTS)):
        if file.is_file():
            return file
        if what := strange(file) or ("a folder" if file.is_dir() else ""):
            raise Rejected(f"{file} is {what}, not a file of lights; put the file there")
    return None


class Lit(NamedTuple):
    """Frames of a session, their lights (k, 3) unit and strengths (k,), the photograph without flash; of a rig that
    knows them, positions (k, 3) in mm and the camera."""

    frames: list[Path]
    lights: np.ndarray
    strengths: np.ndarray
    ambient: str | None
    positions: np.ndarray | None = None
    camera: Camera = Camera()


def _by_rig(file: Path, rig: Rig, folder: Path) -> Lit:
    """All pictures of a folder, by the patterns or the order of a rig."""
    pictures = _pictures(folder)
    ambient = [path for path in pictures if rig.is_ambient(path)]
    frames = [path for path in pictures if not rig.is_ambient(path)]
    if not frames:
        raise Rejected("no frames here")
    found = rig.lights_for(frames, where=file.as_posix(), error=Rejected)
    dark = ambient[0].as_posix() if ambient else None
    return Lit(frames, found.directions, found.strengths, dark, found.positions, found.camera)


def _in_the_dark(folder: Path) -> Lit:
    """All pictures of a folder but `ambient.*`, in the natural order of their names, under lights that nobody knows."""
    pictures = _pictures(folder)
    frames = [path for path in pictures if path.stem.lower() != AMBIENT]
    return Lit(frames, unknown_lights(len(frames)), np.ones(len(frames)), first_ambient(pictures))


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, in the natural order of their names."""
    return sorted((p for p in visible(folder) if p.suffix.lower() in SUFFIXES), key=lambda p: natural_order(p.name))


class Table:
    """A lights.csv whose rows are found by the folder that they name a frame of.

    Attributes
    ----------
    place
        The folder that it lies in.
    lights
        Its rows.
    """

    def __init__(self, path: Path) -> None:
        self.place, self.lights = path.parent, read_lights_csv(path)
        self._anywhere: list[int] = []  # named without a folder: in every session
        self._inside: dict[Path, list[int]] = {}
        for row, name in enumerate(map(Path, self.lights.frames)):
            alone = len(name.parts) == 1
            (self._anywhere if alone else self._inside.setdefault((self.place / name).parent, [])).append(row)

    def rows_of(self, folder: Path) -> list[int]:
        """The rows that name a frame of a session."""
        rows = sorted(self._anywhere + self._inside.get(folder, []))
        if rows and self.place == folder and len(rows) < len(self.lights.frames):
            astray = next(name for row, name in enumerate(self.lights.frames) if row not in rows)
            raise Rejected(f"{self.place / LIGHTS} names {astray}, which is not a frame of this folder")
        return rows


def _by_table(named: Table, folder: Path) -> Lit:
    """The frames of a folder that a lights.csv names."""
    place, table, rows = named.place, named.lights, named.rows_of(folder)
    frames = [folder / Path(table.frames[row]).name for row in rows]
    if not any(frame.is_file() for frame in frames):
        names = [path.name for path in visible(folder) if path.suffix.lower() in SUFFIXES]
        raise Rejected(
            f"{place / LIGHTS} names no frame of this folder: it has {_some(table.frames)}; "
            f"the folder has {_some(names)}"
        )
    for frame in frames:
        if what := strange(frame):
            raise Rejected(f"{frame.name} is {what}, not a file; put the frame there")
        if not frame.is_file():
            raise Rejected(f"missing frame {frame.name} (named in {place / LIGHTS})")
    if len(set(frames)) < len(frames):
        raise Rejected(f"{place / LIGHTS} names a frame of this session twice")
    lights = check_lights(table.lights[rows], where=(place / LIGHTS).as_posix())
    return Lit(frames, lights, table.strengths[rows], first_ambient(visible(folder)))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "none"
