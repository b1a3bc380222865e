"""The record of a session and the table of all of them, `data/sessions.parquet`: a row a session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.attributes import ATTRIBUTES, MISSING
from pipeline.errors import UserError
from pipeline.rig import Camera
from pipeline.tables import read_parquet, write_parquet

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN_RIG = "unknown"


@dataclass(frozen=True, eq=False)
class Session:
    """One visit of one subject to the rig.

    Attributes
    ----------
    id : str
        ``"<subject>/<session>"``, unique in a workspace.
    rig : str
        Which set of lights; gallery and probes may come from different ones.
    frames : tuple of str
        Paths of the frames, relative to the workspace, with ``/``; they stay where they are.
    ambient : str or None
        A frame without flash, or none.
    lights : ndarray (k, 3) float64
        Unit vectors towards each frame's light in the camera frame (x right, y up, z to the camera); all NaN where
        nobody knows them, see `known_lights`.
    strengths : ndarray (k,) float64
        Relative strengths of the flashes, 1 unless known.
    landmarks : ndarray (5, 2) float64 or None
        Points of the face in the frames' pixels, where they are known and nobody needs to look: of a painted mask's
        face, which a detector may miss.
    positions : ndarray (k, 3) float64 or None
        Where near flashes are, mm from where the camera's axis meets the face.
    camera : Camera
        What is known of the camera, :class:`pipeline.rig.Camera`.
    gender, spectacles, facial_hair, pose, expression, mask : int
        Codes of `pipeline.attributes`; -1 where missing.
    age : float
        Years; -1 where missing.
    mask_design : str
        Of the mask that is worn, `pipeline.maskdesigns`; empty where none is or nobody knows.
    """

    id: str
    subject: str
    session: str
    rig: str
    frames: tuple[str, ...]
    lights: np.ndarray
    strengths: np.ndarray
    ambient: str | None = None
    source: str = ""
    quality: str = ""
    occlusion: str = ""
    gender: int = MISSING
    spectacles: int = MISSING
    facial_hair: int = MISSING
    pose: int = MISSING
    expression: int = MISSING
    mask: int = MISSING
    age: float = float(MISSING)
    mask_design: str = ""
    landmarks: np.ndarray | None = None
    positions: np.ndarray | None = None
    camera: Camera = field(default_factory=Camera)

    @property
    def known_lights(self) -> np.ndarray | None:
        """The lights, or none where they are to be estimated from the frames."""
        return None if np.isnan(self.lights).all() else self.lights

    def to_row(self) -> dict[str, object]:
        """The session as a table row of plain values."""
        row: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self)}
        row["frames"] = list(self.frames)
        row["lights"] = [float(v) for v in np.asarray(self.lights).ravel()]
        row["strengths"] = [float(v) for v in self.strengths]
        row["landmarks"] = [] if self.landmarks is None else [float(v) for v in np.asarray(self.landmarks).ravel()]
        row["positions"] = [] if self.positions is None else [float(v) for v in np.asarray(self.positions).ravel()]
        row["camera"] = self.camera.model_dump_json(exclude_none=True)
        return row

    @classmethod
    def from_row(cls, row: dict[str, object]) -> Session:
        """The session of a table row."""
        values = dict(row)
        values["frames"] = tuple(str(f) for f in values["frames"])  # type: ignore[attr-defined]
        values["lights"] = np.asarray(values["lights"], dtype=float).reshape(-1, 3)
        values["strengths"] = np.asarray(values["strengths"], dtype=float)
        landmarks = np.asarray(values["landmarks"], dtype=float).reshape(-1, 2)
        values["landmarks"] = landmarks if len(landmarks) else None
        positions = np.asarray(values["positions"], dtype=float).reshape(-1, 3)
        values["positions"] = positions if len(positions) else None
        values["camera"] = Camera.model_validate_json(str(values["camera"]))
        values["ambient"] = values["ambient"] if isinstance(values["ambient"], str) else None
        return cls(**values)  # type: ignore[arg-type]


TRUTH = "_age"


def truth_id(session: str, years: int) -> str:
    """The id of a simulated session as it would be at another age, as `psface truths` names it.

    >>> truth_id("1001/2008-01-07_09-00-00", 8), truth_of("1001/2008-01-07_09-00-00_age08")
    ('1001/2008-01-07_09-00-00_age08', ('1001/2008-01-07_09-00-00', 8))
    """
    return f"{session}{TRUTH}{years:02d}"


def truth_of(truth: str) -> tuple[str, int]:
    """The session that a truth belongs to, and the years at which it shows it.

    Raises
    ------
    UserError
        The id is not that of a truth.
    """
    session, _, years = truth.rpartition(TRUTH)
    if not session or not years.isdecimal():
        raise UserError(f"session `{truth}` is no truth of `psface truths`, whose names end in {TRUTH}08 and the like")
    return session, int(years)


KINDS = {"str": str, "int": int, "float": float}
COLUMNS = {f.name: KINDS.get(str(f.type), object) for f in fields(Session)}


def sessions_frame(sessions: Iterable[Session]) -> pd.DataFrame:
    """The sessions as a table, sorted by id; an empty list keeps its columns."""
    import pandas as pd  # here: a worker that is sent sessions needs no tables

    rows = sorted((s.to_row() for s in sessions), key=lambda r: str(r["id"]))
    return pd.DataFrame(rows, columns=[f.name for f in fields(Session)])


def write_sessions(path: str | Path, sessions: Iterable[Session]) -> Path:
    """Write `data/sessions.parquet`."""
    return write_parquet(path, sessions_frame(sessions))


def read_sessions(path: str | Path = "data/sessions.parquet") -> list[Session]:
    """Read `data/sessions.parquet`, sorted by id.

    Raises
    ------
    UserError
        There is no such file, it is not a table of sessions, or an id could lead out of the folder of the results.
    """
    table = read_parquet(path, made_by="ingest", columns=COLUMNS)[list(COLUMNS)]
    try:
        read = [Session.from_row(row) for row in table.sort_values("id").to_dict("records")]  # type: ignore[arg-type]
        fault = next((fault for session in read if (fault := _fault(session))), "")
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is not a table of sessions: run `psface ingest` again") from error
    if not fault and len({session.id for session in read}) < len(read):
        fault = "two sessions share their id"
    if fault:
        raise UserError(f"{path}: {fault}: run `psface ingest` again")
    return read


def _fault(session: Session) -> str:
    """What is wrong with a row; an id is a path of two names, since results are written under it."""
    names = (session.subject, session.session)
    if session.id != "/".join(names) or any(not n or n in (".", "..") or "/" in n or "\0" in n for n in names):
        return f"session `{session.id}` is not named <subject>/<session>"
    if not len(session.frames) == len(session.lights) == len(session.strengths):
        return f"session `{session.id}` has other than one light and one strength a frame"
    for name, attribute in ATTRIBUTES.items():
        if not attribute.knows(np.array(getattr(session, name))):
            return f"session `{session.id}` has {getattr(session, name)} for its {name}, which stands for nothing"
    points = session.landmarks
    if points is not None and not (points.shape == (5, 2) and np.isfinite(points).all()):
        return f"session `{session.id}` has other landmarks than five points"
    if session.positions is not None and not (
        session.positions.shape == session.lights.shape and np.isfinite(session.positions).all()
    ):
        return f"session `{session.id}` has other than one position a frame"
    known = session.known_lights is None or np.isfinite(session.lights).all()
    if not (known and np.isfinite(session.strengths).all() and (session.strengths > 0).all()):
        return f"session `{session.id}` has lights or strengths that are no numbers"
    return ""
