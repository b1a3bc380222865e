"""Reader of Photoface's layout, as published and as `psface simulate` writes it.

    <root>/<subject>/<YYYY-MM-DD_hh-mm-ss>/  im0.bmp im1.bmp ...   the frames, one flash each (simulated: or .exr)
                                             LightSource.m         zenith and azimuth of each flash
                                             metadataII.txt        gender, spectacles, facial hair, pose, quality,
                                                                   occlusion, emotion, and more: one line, commas
                                                                   (simulated: `mask no`, or `mask` and its design)
                                             metadata.txt          eleven landmarks by hand (not needed here)
                                             truth.exr             simulated only; its header knows the age
                                             ambient.bmp           optional: no flash

Source: S. Zafeiriou et al., "The Photoface database", CVPR Workshops 2011; S. Zafeiriou et al., "Face recognition and
verification using photometric stereo: the Photoface database and a comprehensive evaluation", IEEE TIFS 8(1), 2013,
doi:10.1109/TIFS.2012.2224109.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.attributes import ATTRIBUTES, MISSING
from pipeline.errors import Rejected
from pipeline.lights import check_lights, from_angles
from pipeline.maps import read_attributes
from pipeline.maskdesigns import TYPES
from pipeline.params import Ingest
from pipeline.sessions import UNKNOWN_RIG, Session
from pipeline.tables import read_text
from stages.ingest.readers import (
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

FRAME = re.compile(r"im(\d+)\.(bmp|exr)", re.IGNORECASE)
RIG = re.compile(r"^[ \t]*%[ \t]*rig[ \t]+(\S{1,80})", re.IGNORECASE | re.MULTILINE)
QUALITIES = ("ok", "blur", "dark")
MAX_TEXT = 1 << 16  # bytes of a LightSource.m or a metadataII.txt
MASK = "mask "  # begins the field that says which is worn
NO_OCCLUSION = ("", "-", "no", "none")


@reader("photoface")
def read_photoface(root: Path, params: Ingest) -> Iterator[Found]:
    """Yield the sessions of a folder in Photoface's layout."""
    for folder in session_folders(root, "im0.bmp, im1.bmp, ... and LightSource.m"):
        if isinstance(folder, Refusal):
            yield folder
            continue
        try:
            yield read_session(folder, uncalibrated=params.uncalibrated)
        except Rejected as reason:
            yield Refusal(f"{folder.parent.name}/{folder.name}", str(reason))


def read_session(folder: Path, *, uncalibrated: bool = False) -> Session:
    """The session in one folder; with ``uncalibrated`` one without a LightSource.m has unknown lights.

    Raises
    ------
    Rejected
        A frame or the lights are missing, do not fit one another, or cannot be understood.
    """
    files = visible(folder)
    named = {path.name.lower(): path for path in files}
    frames = {int(match[1]): path for path in files if (match := FRAME.fullmatch(path.name))}
    if "lightsource.m" in named:
        text = _text(named["lightsource.m"])
        lights, name = check_lights(parse_light_source(text), where="LightSource.m"), RIG.search(text)
        rig = name[1] if name else rig_name(lights)
    elif uncalibrated:
        lights, rig = unknown_lights(len(frames)), UNKNOWN_RIG
    else:
        raise Rejected(f"LightSource.m is missing; {ESTIMATE}")
    for i in range(len(lights)):
        if i not in frames:
            raise Rejected(f"missing frame im{i} (LightSource.m has {len(lights)} lights)")
    if len(frames) > len(lights):
        raise Rejected(f"{len(frames)} frames, and LightSource.m has {len(lights)} lights")
    metadata = parse_metadata(_text(named["metadataii.txt"])) if "metadataii.txt" in named else {}
    return Session(
        id=f"{folder.parent.name}/{folder.name}",
        subject=folder.parent.name,
        session=folder.name,
        rig=rig,
        frames=tuple(frames[i].as_posix() for i in range(len(lights))),
        ambient=first_ambient(files),
        lights=lights,
        strengths=np.ones(len(lights)),
        source="photoface",
        age=_age(named.get("truth.exr")),
        **metadata,  # type: ignore[arg-type]
    )


def parse_light_source(text: str) -> np.ndarray:
    """Light directions (k, 3), unit, from the text of a ``LightSource.m``.

    The last bracket is the matrix: a row of zeniths and a row of azimuths, or k rows of zenith and azimuth. Rows end at
    ``;`` or at a line's end, numbers stand apart by commas or blanks, ``%`` begins a comment and ``...`` goes on in the
    next line. Angles of at most 2 pi in magnitude throughout are radians, others degrees.

    Raises
    ------
    Rejected
        There is no such matrix.

    >>> parse_light_source("s = [30 30 30; 0 120 240];").round(2).tolist()
    [[0.5, 0.0, 0.87], [-0.25, 0.43, 0.87], [-0.25, -0.43, 0.87]]
    """
    lines = [line.partition("%")[0].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    code = "".join(line.partition("...")[0] + (" " if "..." in line else "\n") for line in lines)
    brackets = re.findall(r"\[([^\[\]]*)\]", code)
    if not brackets:
        raise Rejected("LightSource.m: no bracketed matrix of zeniths and azimuths")
    rows = [re.split(r"[\s,]+", row.strip(" \t\r,")) for row in re.split(r"[;\n]", brackets[-1]) if row.strip(" \t\r,")]
    try:
        table = np.array([[float(cell) for cell in row] for row in rows])
    except ValueError:
        raise Rejected("LightSource.m: the matrix must hold numbers, in rows of one length") from None
    if table.ndim != 2 or 2 not in table.shape:
        shape = " x ".join(map(str, table.shape))
        raise Rejected(f"LightSource.m: expected a 2 x k or k x 2 matrix of zenith and azimuth, found {shape}")
    if not (np.abs(table) <= 360).all():
        raise Rejected("LightSource.m: angles must be finite, and at most 360 degrees in magnitude")
    zenith, azimuth = table if table.shape[0] == 2 else table.T
    if np.abs(table).max() <= 2 * np.pi + 1e-6:
        zenith, azimuth = np.rad2deg(zenith), np.rad2deg(azimuth)
    return from_angles(zenith, azimuth)


def parse_metadata(text: str) -> dict[str, int | str]:
    """Labels from the line of a ``metadataII.txt``; what is absent or not in the vocabulary is missing (-1, "")."""
    fields = [field.strip() for field in text.split(",")]
    gender, spectacles, hair, pose, quality, occlusion, emotion = [*fields, *[""] * 7][:7]
    worn = next((field.lower().removeprefix(MASK) for field in fields[7:] if field.lower().startswith(MASK)), "")
    words = {"gender": gender, "spectacles": spectacles, "facial_hair": hair, "pose": pose, "expression": emotion}
    labels: dict[str, int | str] = {name: ATTRIBUTES[name].code(word) for name, word in words.items()}
    labels["quality"] = quality.lower() if quality.lower() in QUALITIES else ""
    labels["mask"] = 1 if worn.partition("/")[0] in TYPES else ATTRIBUTES["mask"].code(worn)
    labels["mask_design"] = worn if worn.partition("/")[0] in TYPES else ""
    labels["occlusion"] = "" if occlusion.lower() in NO_OCCLUSION else occlusion.lower()
    return labels


def _age(truth: Path | None) -> float:
    """Years, from the header of a simulated session's ground truth; -1 where there is none."""
    if truth is None:
        return float(MISSING)
    try:
        years = float(read_attributes(truth).get("age", MISSING))
    except (Rejected, ValueError):
        return float(MISSING)
    return years if 0 <= years < math.inf else float(MISSING)


def _text(path: Path) -> str:
    try:
        return read_text(path, most=MAX_TEXT, errors="replace")
    except OSError as error:
        raise Rejected(f"{path.name} cannot be read ({error.strerror or error})") from error
