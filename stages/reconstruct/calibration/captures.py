"""The captures of one rig: which sessions share its lights, samples of their faces, and the pattern of each light."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.images import linear, read_clipped, read_frame
from pipeline.rig import Camera, natural_order
from pipeline.sessions import Session
from stages.reconstruct.calibration.gains import Samples
from stages.reconstruct.calibration.near import Surface, near_lights
from stages.reconstruct.masking import foreground

SAME = 1.0  # degrees: recorded directions this close are one light
CLIPPED = 0.99  # of white: a colour from there on is not to be believed
PIXELS = 4000  # of a session, on a regular grid over its face
MOST_SESSIONS = 400  # spread evenly; more make no gain surer than its own scatter between sessions


@dataclass(frozen=True, eq=False)
class Captures:
    """Sessions of one rig: directions (k, 3) unit of its lights, a session's lights as indices (k_s,), and patterns for
    the names of each light's frames, or none where names do not tell the lights apart; positions (k, 3) in mm, and the
    camera, where all sessions agree in them."""

    sessions: list[Session]
    directions: np.ndarray
    lights: list[np.ndarray]
    patterns: list[str] | None
    positions: np.ndarray | None
    camera: Camera


def captures_of(sessions: Sequence[Session], only: str | None = None) -> Captures:
    """The captures of one rig among sessions, at most `MOST_SESSIONS` of them.

    Parameters
    ----------
    only : the name of the rig, where the sessions are of several.

    Raises
    ------
    UserError : no such rig, no known lights, or sessions that share no lights, so that gains cannot be compared.
    """
    chosen = [s for s in sessions if (only is None or s.rig == only) and s.known_lights is not None]
    rigs = sorted({s.rig for s in sessions if s.known_lights is not None})
    if not chosen:
        if only is None:
            raise UserError(
                "no session has known lights: gains take directions, of lights.csv or of a mirror ball (--sphere)"
            )
        raise UserError(f"no session is of the rig {only}; there are {', '.join(rigs)}")
    chosen = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, MOST_SESSIONS).astype(int))]
    directions, lights = _distinct(chosen)
    if _parts(lights, len(directions)) > 1:
        raise UserError(
            f"the sessions are of {len(rigs)} rigs that share no lights ({', '.join(rigs[:6])}); give one by --only"
        )
    camera = chosen[0].camera if all(s.camera == chosen[0].camera for s in chosen) else Camera()
    patterns = patterns_of(chosen, lights, len(directions))
    return Captures(chosen, directions, lights, patterns, _positions(chosen, lights, len(directions)), camera)


def read_samples(session: Session, lights: np.ndarray, *, level: float = 0.03) -> Samples:
    """Samples (k, P) of a session's face, ambient subtracted; near flashes light it as a plane at its distance.

    Raises
    ------
    Rejected : a file cannot be read, sizes differ, no face stands out.
    """
    read = [read_clipped(path, session.camera.transfer, top=CLIPPED) for path in session.frames]
    if any(levels.shape != read[0][0].shape for levels, _ in read):
        raise Rejected(f"{session.id}: frames differ in size")
    flash = np.stack([linear(levels) for levels, _ in read])
    if session.ambient is not None:
        ambient = read_frame(session.ambient, session.camera.transfer)
        if ambient.shape == flash.shape[1:]:
            flash = np.maximum(flash - ambient, 0)
    for frame, (_, clipped) in zip(flash, read, strict=True):
        if clipped is not None:
            frame[clipped] = 1  # beyond what counts
    mask = foreground(flash, level=level)
    at = np.flatnonzero(mask)
    at = at[np.linspace(0, len(at) - 1, min(PIXELS, len(at))).astype(int)]
    values = flash.reshape(len(flash), -1)[:, at]
    if session.positions is None or session.camera.scale is None:
        return Samples(values, lights)
    points = Surface(mask, session.camera).points(slice(None), at)
    return Samples(values, lights, near_lights(session.positions, np.ones(len(lights)), points))


def _distinct(sessions: Sequence[Session]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Directions (k, 3) that differ by more than `SAME`, and the light of each frame of each session."""
    known: list[np.ndarray] = []
    lights = []
    for session in sessions:
        taken: list[int] = []
        for direction in session.lights:
            cosines = np.array(known).reshape(-1, 3) @ direction
            cosines[taken] = -1
            best = int(np.argmax(cosines)) if len(known) > len(taken) else -1
            if best < 0 or cosines[best] < np.cos(np.deg2rad(SAME)):
                known.append(direction)
                best = len(known) - 1
            taken.append(best)
        lights.append(np.array(taken))
    return np.array(known), lights


def _positions(sessions: Sequence[Session], lights: Sequence[np.ndarray], count: int) -> np.ndarray | None:
    """(count, 3) in mm, or none where a session knows none or puts a flash elsewhere than another does."""
    found = np.full((count, 3), np.nan)
    for session, of_session in zip(sessions, lights, strict=True):
        if session.positions is None:
            return None
        known = ~np.isnan(found[of_session, 0])
        if not np.allclose(found[of_session][known], session.positions[known], atol=1.0):
            return None
        found[of_session] = session.positions
    return found


def _parts(lights: Sequence[np.ndarray], count: int) -> int:
    """Number of groups of lights that no session joins."""
    label = np.arange(count)
    for of_session in lights:
        together = np.isin(label, label[of_session])
        label[together] = label[of_session[0]]
    return len(np.unique(label))


def patterns_of(sessions: Sequence[Session], lights: Sequence[np.ndarray], count: int) -> list[str] | None:
    """For each light a pattern that its frames' names fit, and no frame of another light."""
    names: list[set[str]] = [set() for _ in range(count)]
    for session, of_session in zip(sessions, lights, strict=True):
        for frame, light in zip(session.frames, of_session, strict=True):
            names[light].add(Path(frame).name)
    patterns = [_common(sorted(of_light)) for of_light in names]
    for light, pattern in enumerate(patterns):
        others = (name for other, of_light in enumerate(names) if other != light for name in of_light)
        if any(fnmatchcase(name, pattern) for name in others):
            return None
    return patterns


def _common(names: list[str]) -> str:
    """What names share at their ends, with a star between; characters with a meaning in patterns become ``?``.

    >>> _common(["ann_A+005E+10.pgm", "bob_A+005E+10.pgm"])
    '*_A+005E+10.pgm'
    """
    head = _beginning(names)
    tail = _beginning([name[len(head) :][::-1] for name in names])[::-1]
    text = names[0] if len(names) == 1 else f"{head}*{tail}"
    return re.sub(r"[\[\]]", "?", text)


def _beginning(names: list[str]) -> str:
    """The longest text that all names begin with; the first and the last in order differ soonest."""
    low, high = min(names), max(names)
    return low[: next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]


def in_order(captures: Captures) -> bool:
    """Whether the frames of every session, by name, come in the order of the lights, none missing."""
    return all(
        [int(light) for _, light in sorted(zip(map(natural_order, s.frames), lights, strict=True))]
        == list(range(len(captures.directions)))
        for s, lights in zip(captures.sessions, captures.lights, strict=True)
    )
