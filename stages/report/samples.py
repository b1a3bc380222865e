"""Sample sessions as pictures inside the page: frames, normals, albedo and depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np

from pipeline.attributes import ATTRIBUTES, MISSING
from pipeline.errors import Rejected
from pipeline.images import normal_picture, read_frame, stretched
from pipeline.maps import read_maps
from pipeline.sessions import Session
from stages.report.relight import Relit, data_uri, pack

SIDE = 180
MOST_FRAMES = 4


@dataclass(frozen=True)
class Sample:
    """A session to look at: what is known of it, its pictures and their size, its maps to relight.

    Attributes
    ----------
    name, facts
        The session, and its labels in words.
    pictures
        As (caption, data URI).
    size
        Width and height of each, in pixels.
    relit
        None where the mask is empty.
    """

    name: str
    facts: str
    pictures: list[tuple[str, str]]
    size: tuple[int, int]
    relit: Relit | None


def draw_samples(sessions: list[Session], maps: Path, *, examples: int, seed: int) -> list[Sample]:
    """One session each of some subjects, as unlike as they come, where maps and frames are at hand.

    Each subject's session is drawn by the seed; then one after another is taken that shows the most rigs and labels not
    shown yet.

    Parameters
    ----------
    sessions
        Of the workspace, which is the current folder: frames are relative to it.
    maps
        Folder of the reconstructed maps.
    examples
        Number of subjects.
    """
    rng = np.random.default_rng(seed)
    by_subject: dict[str, list[Session]] = {}
    for session in sessions:
        if (maps / f"{session.id}.exr").is_file():
            by_subject.setdefault(session.subject, []).append(session)
    drawn = [each[rng.integers(len(each))] for _, each in sorted(by_subject.items())]
    left = [drawn[i] for i in rng.permutation(len(drawn))]
    chosen: list[Session] = []
    shown: set[tuple[str, object]] = set()
    while left and len(chosen) < examples:
        chosen.append(max(left, key=lambda session: len(_traits(session) - shown)))
        left.remove(chosen[-1])
        shown |= _traits(chosen[-1])
    found = (_sample(session, maps) for session in sorted(chosen, key=lambda session: session.id))
    return [sample for sample in found if sample is not None]


def _traits(session: Session) -> set[tuple[str, object]]:
    """The rig and the labels of a session, as pairs of name and value."""
    return {(name, getattr(session, name)) for name in ("rig", *ATTRIBUTES)}


def _sample(session: Session, folder: Path) -> Sample | None:
    try:
        maps = read_maps(folder / f"{session.id}.exr")
        frames = [read_frame(path) for path in session.frames[:MOST_FRAMES]]
    except Rejected:
        return None
    size = _size(maps.shape)
    white = max(1e-6, *(float(np.quantile(frame, 0.995)) for frame in frames))  # one exposure for all of them
    pictures = [(f"flash {i}", _picture(frame / white, size)) for i, frame in enumerate(frames, start=1)]
    depth = mpl.colormaps["viridis"](stretched(maps.depth, maps.mask))[..., :3] * maps.mask[..., None]
    pictures += [
        ("normals", _picture(normal_picture(maps.normal, maps.mask), size)),
        ("albedo", _picture(stretched(maps.albedo, maps.mask), size)),
        ("depth", _picture(depth, size)),
    ]
    relit = pack(session.id, maps) if maps.mask.any() else None
    return Sample(session.id, _facts(session), pictures, size, relit)


def _facts(session: Session) -> str:
    labels = [f"rig {session.rig}"] if session.rig else []
    for name, attribute in ATTRIBUTES.items():
        code = getattr(session, name)
        if code != MISSING:
            labels.append(f"{name.replace('_', ' ')} {attribute.classes[code]}")
    if len(session.frames) > MOST_FRAMES:
        labels.append(f"{len(session.frames)} frames, the first {MOST_FRAMES} shown")
    return " · ".join(labels)


def _size(shape: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the small picture of an image (H, W)."""
    scale = SIDE / max(shape)
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _picture(image: np.ndarray, size: tuple[int, int]) -> str:
    """An image (H, W) grey or (H, W, 3) RGB in [0, 1] as a small JPEG in a data URI."""
    return data_uri(cv2.resize(np.clip(image, 0, 1).astype(np.float32), size, interpolation=cv2.INTER_AREA), ".jpg")
