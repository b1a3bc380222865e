"""Directions of the flashes: angles, conditioning, checks, and the table ``lights.csv``.

  y up   . light        zenith:  angle from z (the camera's axis), degrees
  |    /                azimuth: angle from x towards y in the image plane, degrees
  |  /
  |/_____ x right       A light is a unit vector from the face TOWARDS the flash.
 /
z towards the camera    lights.csv: frame,x,y,z and optionally strength, a row a frame
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import PsfaceError, Rejected, UserError
from pipeline.tables import read_text

COLUMNS = ("frame", "x", "y", "z", "strength")  # of a table of lights, the last one optional
MAX_SIZE = 1e6  # of a light's vector, as written, and one over it at least: squares of smaller ones lose their digits
MAX_STRENGTH = 1e3  # and 1 / 1000 at least: beyond it an albedo, which is light over strength, leaves the range of half
LONGEST_NAME, LONGEST_PATH = 255, 1024  # bytes: systems refuse names that are longer, some of them paths
MAX_CONDITION = 50.0  # three lights in a cone of about 1.6 degrees: beyond it normals are noise


def from_angles(zenith: ArrayLike, azimuth: ArrayLike) -> np.ndarray:
    """Unit vectors (..., 3) from angles in degrees.

    >>> from_angles(90.0, 90.0).round(6).tolist()
    [0.0, 1.0, 0.0]
    """
    zenith, azimuth = np.deg2rad(np.asarray(zenith, float)), np.deg2rad(np.asarray(azimuth, float))
    return np.stack(
        np.broadcast_arrays(np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)),
        axis=-1,
    )


def to_angles(lights: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Zenith in [0, 180] and azimuth in (-180, 180], degrees, of vectors (..., 3) of any length."""
    x, y, z = np.moveaxis(np.asarray(lights, float), -1, 0)
    return np.rad2deg(np.arctan2(np.hypot(x, y), z)), np.rad2deg(np.arctan2(y, x))


def condition(lights: ArrayLike) -> float:
    """Ratio of the largest to the smallest singular value of the (k, 3) lights; inf where they are coplanar.

    The smallest value is that of the third direction: errors of the frames grow by it on their way to the normal.
    """
    values = np.linalg.svd(np.asarray(lights, float), compute_uv=False)
    if len(values) < 3 or values[2] <= 1e-12 * values[0]:
        return float("inf")
    return float(values[0] / values[2])


def check_lights(lights: ArrayLike, *, where: str = "lights", error: type[PsfaceError] = Rejected) -> np.ndarray:
    """The lights as unit vectors, or an error that says why no normals can come from them.

    Parameters
    ----------
    lights : (k, 3), towards the flashes, of any length but zero.
    where : what the message begins with: a file, a rig, a key of params.yaml.
    error : the class to raise: `Rejected` for a session, `UserError` for what the user typed.

    Returns
    -------
    (k, 3) float64, unit.
    """
    vectors: np.ndarray = np.asarray(lights, float)
    if vectors.ndim != 2 or vectors.shape[1] != 3:
        raise error(f"{where}: lights must be (k, 3), got {vectors.shape}")
    if len(vectors) < 3:
        raise error(f"{where}: {len(vectors)} lights; photometric stereo needs at least three")
    with np.errstate(over="ignore"):  # a length that overflows is infinite
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(length).all() or (length == 0).any():
        raise error(f"{where}: a light is zero or not a finite number")
    vectors = vectors / length
    if (vectors[:, 2] <= 0).any():
        at = int(np.argmax(vectors[:, 2] <= 0))
        raise error(f"{where}: light {at} is behind the face (z = {vectors[at, 2]:.3g}); z points to the camera")
    ratio = condition(vectors)
    if ratio > MAX_CONDITION:
        raise error(
            f"{where}: the lights are coplanar or too close to one another (condition {ratio:.3g} > {MAX_CONDITION:g})"
        )
    return vectors


@dataclass(frozen=True)
class LightTable:
    """Rows of a lights.csv: frames as they are written there, lights (k, 3) unit, strengths (k,) > 0."""

    path: Path
    frames: tuple[str, ...]
    lights: np.ndarray
    strengths: np.ndarray

    def match(self, frames: Sequence[str | Path]) -> np.ndarray:
        """Row of the table for each frame: the same path, else the same file name; order does not matter.

        Rows without a frame are left alone, so that one table may serve several calls.

        Raises
        ------
        UserError : a frame has no row, has several, or shares its row with another frame.
        """
        rows = [self._row(Path(frame)) for frame in frames]
        for i, row in enumerate(rows):
            if row in rows[:i]:
                raise UserError(
                    f"{self.path}: frames {frames[rows.index(row)]} and {frames[i]} both take the row "
                    f"'{self.frames[row]}'; give each frame once, and its path where names repeat"
                )
        return np.array(rows, dtype=int)

    def _row(self, frame: Path) -> int:
        written = [Path(name) for name in self.frames]
        same = [i for i, name in enumerate(written) if frame in (name, self.path.parent / name)]
        if not same:
            target = frame.resolve()
            same = [i for i, name in enumerate(written) if target == (self.path.parent / name).resolve()]
        if not same:
            same = [i for i, name in enumerate(written) if name.name == frame.name]
        if len(same) == 1:
            return same[0]
        named = ", ".join(self.frames[:4]) + (", ..." if len(self.frames) > 4 else "")
        if not same:
            raise UserError(f"{self.path}: no row for frame {frame}; its rows are for {named}")
        raise UserError(f"{self.path}: {len(same)} rows fit frame {frame}; write paths in the column frame")


def read_lights_csv(path: str | Path) -> LightTable:
    """Read ``frame,x,y,z[,strength]``; columns in any order, spaces and a byte-order mark allowed.

    Raises
    ------
    UserError : no such file, a column is missing or unknown, a row is too long, a value is no number, a direction is
        zero, a frame is named twice.
        The message names file and line. Whether a choice of rows can give normals, :func:`check_lights` says.
    """
    path = Path(path)
    header, *rows = _cells(path)
    missing = [name for name in COLUMNS[:4] if name not in header]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; the first line must be frame,x,y,z[,strength]")
    unknown = [name for name in header if name and name not in COLUMNS]
    if unknown:
        raise UserError(f"{path}: unknown column {', '.join(unknown)}; known are {', '.join(COLUMNS)}")
    frames: list[str] = []
    values: list[list[float]] = []
    for number, row in enumerate(rows, start=2):
        if not any(row):
            continue
        try:
            frame, numbers = _light(header, row)
            if frame in frames:
                raise ValueError(f"frame {frame} is named twice")
        except ValueError as fault:
            raise UserError(f"{path}: line {number}: {fault}") from None
        frames.append(frame)
        values.append(numbers)
    table = np.array(values, float).reshape(-1, 4)
    lights = table[:, :3] / np.linalg.norm(table[:, :3], axis=1, keepdims=True)
    return LightTable(path, tuple(frames), lights, table[:, 3])


def _cells(path: Path) -> list[list[str]]:
    """The cells of a table of lights, stripped, its names of columns in lower case; a file without a line has none."""
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it should be a table of lights, frame,x,y,z[,strength]") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8; save the table of lights as CSV in UTF-8") from error
    try:
        rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as a table of lights (frame,x,y,z): {error}") from error
    header, *others = rows or [[]]
    return [[name.strip().lower() for name in header], *([cell.strip() for cell in row] for row in others)]


def _light(header: list[str], row: list[str]) -> tuple[str, list[float]]:
    """The frame of a row, and its x, y, z and strength; ValueError where they are none."""
    if len(row) > len(header):
        raise ValueError(
            f"{len(row)} cells under {len(header)} names of columns; write decimals with a point, and name every column"
        )
    cells = dict(zip(header, row, strict=False))
    try:
        numbers = [float(cells[name]) for name in ("x", "y", "z")] + [float(cells.get("strength") or 1.0)]
    except (KeyError, ValueError):
        raise ValueError("x, y, z and strength must be numbers") from None
    frame = cells.get("frame", "")
    if not frame:
        raise ValueError("no frame is named")
    if not _may_be_a_name(frame):
        raise ValueError(f"{frame} is no name of a file")
    if not 1 / MAX_SIZE <= math.hypot(*numbers[:3]) < MAX_SIZE:
        raise ValueError("x, y, z must be finite and not all zero (of a length between 1e-6 and 1e6)")
    if not 1 / MAX_STRENGTH <= numbers[3] <= MAX_STRENGTH:
        raise ValueError(f"strength must be between 0.001 and 1000, got {cells['strength']}")
    return frame, numbers


def _may_be_a_name(text: str) -> bool:
    """Whether a cell can name a file or a path to one."""
    longest = max(len(part.encode()) for part in text.split("/"))
    return text.isprintable() and longest <= LONGEST_NAME and len(text.encode()) <= LONGEST_PATH
