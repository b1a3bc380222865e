"""What only the pixels of a session tell: exposure, flashes that did not fire, lights in the wrong frame.

Looked at in a small copy of the frames, as a quick doubt and not as a measurement: `reconstruct` has the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from pipeline.errors import Rejected
from pipeline.images import read_frame
from pipeline.sessions import Session

Item = TypeVar("Item")
SIDE = 96  # px of the small copies
SATURATED = 0.99  # reconstruct's own default
FACE = 0.2  # of the brightest: pixels that some flash lights at least so much
UNLIT = 0.1  # of the middle frame's brightness, as in reconstruct


@dataclass(frozen=True, eq=False)
class Look:
    """What the frames of a session show.

    Attributes
    ----------
    session : str
        Its id.
    small : ndarray (k, h, w) float32, or None
        The frames, reduced to at most `SIDE` px, each divided by its flash's strength; of a session to be drawn.
    saturated : float
        Share of the samples that are at the end of the scale.
    brightest : float
        Level that one in a hundred pixels exceeds under some flash.
    unlit : tuple of str
        Names of the frames that are dark beside the others.
    bulge : tuple of two floats
        Correlation of the normals' x with the place along x, and of their y with that along y; below 0 the face looks
        hollow; 0 where the lights are not known.
    """

    session: str
    small: np.ndarray | None
    saturated: float
    brightest: float
    unlit: tuple[str, ...]
    bulge: tuple[float, float]


def look_at(session: Session, *, draw: bool) -> Look:
    """Read a session's frames and look at them; ``draw`` keeps a small copy.

    Raises
    ------
    Rejected
        A frame cannot be read.
    """
    frames = np.stack([read_frame(path, session.camera.transfer) for path in session.frames])
    flash = frames
    if session.ambient is not None:
        flash = np.maximum(frames - read_frame(session.ambient, session.camera.transfer), 0)
    small = np.stack([_reduced(frame) for frame in flash]) / session.strengths.astype(np.float32)[:, None, None]
    level = flash.mean(axis=(1, 2))
    known = session.known_lights is not None
    dark = level < UNLIT * np.median(level)
    return Look(
        session=session.id,
        small=small if draw else None,
        saturated=float((frames >= SATURATED).mean()),
        brightest=float(np.percentile(frames.max(axis=0), 99)),
        unlit=tuple(path.rsplit("/", 1)[-1] for path, is_dark in zip(session.frames, dark, strict=True) if is_dark),
        bulge=bulge(small[~dark], session.lights[~dark]) if known and (~dark).sum() >= 3 else (0.0, 0.0),
    )


def bulge(frames: np.ndarray, lights: np.ndarray) -> tuple[float, float]:
    """How far a face (k, h, w) under lights (k, 3) bulges towards the camera along x and along y, in [-1, 1].

    Normals on a face's right lean right, above its middle they lean up. Where they do the opposite, the lights were
    given in another frame.
    """
    brightest = frames.max(axis=0)
    rows, columns = np.nonzero(brightest > FACE * np.percentile(brightest, 99))
    if len(rows) < 16:
        return 0.0, 0.0
    scaled = np.linalg.pinv(lights) @ frames[:, rows, columns]
    normal = scaled / np.maximum(np.linalg.norm(scaled, axis=0), 1e-9)
    return _correlation(normal[0], columns), _correlation(normal[1], -rows)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of them, evenly chosen."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))
    return [items[i] for i in chosen]


def look_or_reason(session: Session, *, draw: bool) -> Look | Rejected:
    """`look_at`, with what is wrong as a value."""
    try:
        return look_at(session, draw=draw)
    except Rejected as reason:
        return reason


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def _reduced(frame: np.ndarray) -> np.ndarray:
    scale = SIDE / max(frame.shape)
    if scale >= 1:
        return frame
    height, width = (max(1, round(side * scale)) for side in frame.shape)
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
