"""Sessions masked before they are reconstructed: all frames of one get one mask, each lit as it is itself.

A masked session's frames are PNG under ``<out>/<subject>/<session>/``; those that it is made from stay as they are. The
points of its face, found before it was painted, go with it: a detector misses most masked faces that fill the picture.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import Rejected
from pipeline.images import read_frame, read_levels, write_picture
from pipeline.images.transfer import redrawn
from pipeline.maskdesigns import TWIN, Design, draw_design
from pipeline.maskpaint import wear
from pipeline.parallel import Jobs, imap_sessions
from pipeline.params import Crop, WearMask
from pipeline.sessions import Session, write_sessions
from pipeline.tables import write_atomic
from stages.crop.looks import find_faces

BATCH = 8  # sessions that are looked at together
LANDMARKS, TABLE = "landmarks.json", "sessions.parquet"


def mask_all(
    sessions: Sequence[Session], work: Path, out: Path, params: WearMask, *, jobs: Jobs
) -> tuple[int, list[str]]:
    """Mask the sessions that are drawn.

    Parameters
    ----------
    work, out : Path
        Where the frames and ``sessions.parquet`` are written, and where that folder will lie in the end.

    Returns
    -------
    How many were masked, and why others stay bare.
    """
    there = {s.id for s in sessions}
    drawn = {
        s.id: design
        for s in sessions
        if not (params.twins and s.id + TWIN in there) and (design := drawn_design(s, params)) is not None
    }
    waiting = [s for s in sessions if s.id in drawn]
    batches = [waiting[i : i + BATCH] for i in range(0, len(waiting), BATCH)]
    reasons: dict[str, str] = {}
    mask = partial(_mask_batch, drawn=drawn, work=work, twins=params.twins)
    for done in imap_sessions(mask, batches, jobs=jobs, label=f"wear-mask ({BATCH} sessions a step)"):
        assert not isinstance(done, Rejected)
        reasons |= done
    table: list[Session] = []
    for session in sessions:
        bare = replace(session, mask=0) if session.mask < 0 else session
        if session.id not in drawn or session.id in reasons:
            table.append(bare)
            continue
        table += [bare] if params.twins else []
        table.append(masked_session(session, drawn[session.id], work, out, twin=params.twins))
    write_sessions(work / TABLE, table)
    return len(drawn) - len(reasons), [f"{name}: {reason}" for name, reason in sorted(reasons.items())]


def is_masked_folder(folder: Path) -> bool:
    """Whether a folder holds what `mask_all` writes, and nothing else."""
    loose = [path for path in folder.glob("*") if path.name != TABLE and not path.is_dir()]
    sessions = folder.glob("*/*")
    return (folder / TABLE).is_file() and not loose and all((path / LANDMARKS).is_file() for path in sessions)


def drawn_design(session: Session, params: WearMask) -> Design | None:
    """The mask that a session is to wear, by its id and the seed alone; none where one is worn already."""
    rng = np.random.default_rng([params.seed, zlib.crc32(session.id.encode())])
    if rng.random() >= params.share or session.mask == 1:
        return None
    return draw_design(rng, params.designs)


def masked_session(session: Session, design: Design, work: Path, out: Path, *, twin: bool) -> Session:
    """The session with its masked frames in place of its own."""
    name = session.session + (TWIN if twin else "")
    folder = f"{session.subject}/{name}"
    files = sorted((work / folder).glob("im*.png"))
    ambient = (work / folder / "ambient.png").exists()
    points = np.array(json.loads((work / folder / LANDMARKS).read_text(encoding="utf-8")))
    return replace(
        session,
        id=folder,
        session=name,
        frames=tuple((out / folder / file.name).as_posix() for file in files),
        ambient=(out / folder / "ambient.png").as_posix() if ambient else None,
        mask=1,
        mask_design=design.name,
        landmarks=points,
    )


def _mask_batch(batch: Sequence[Session], *, drawn: dict[str, Design], work: Path, twins: bool) -> dict[str, str]:
    """Mask sessions that are not yet; why others cannot be, by id."""
    reasons: dict[str, str] = {}
    frames: dict[str, np.ndarray] = {}
    todo = [s for s in batch if not (work / s.subject / (s.session + (TWIN if twins else ""))).exists()]
    for session in todo:
        try:
            frames[session.id] = _read(session)
        except Rejected as reason:
            reasons[session.id] = str(reason)
    usual = Crop(seed=0)
    means = [frames[s.id][: len(s.frames)].mean(axis=0) for s in todo if s.id in frames]
    seen = find_faces(means, border=usual.border, min_face=usual.min_face, confidence=usual.confidence)
    for session, sighting in zip([s for s in todo if s.id in frames], seen, strict=True):
        if sighting.landmarks is None:
            reasons[session.id] = sighting.reason
            continue
        try:
            masked = wear(drawn[session.id], frames[session.id], sighting.landmarks)
        except ValueError as error:
            reasons[session.id] = str(error)
            continue
        target = work / session.subject / (session.session + (TWIN if twins else ""))
        _write(session, masked, sighting.landmarks, target)
    return reasons


def _read(session: Session) -> np.ndarray:
    """All photographs of a session, linear, its ambient one last: (k, H, W) float32 in [0, 1].

    Raises
    ------
    Rejected
        One cannot be read, they differ in size, or they are brighter than white.
    """
    names = [*session.frames, *([session.ambient] if session.ambient else [])]
    read = [read_frame(name, session.camera.transfer) for name in names]
    if len({frame.shape for frame in read}) > 1:
        raise Rejected("its frames differ in size")
    stack = np.stack(read)
    if stack.max() > 1:
        raise Rejected("its floating-point frames go beyond white")
    return stack


def _write(session: Session, masked: np.ndarray, landmarks: np.ndarray, folder: Path) -> None:
    """Write a session's masked frames, whole or not at all: 8-bit where its own are, else 16-bit.

    They get the tone curve that its own have: a mask must not be told by that.
    """
    fine = read_levels(session.frames[0]).dtype != np.uint8
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    names = [f"im{i:02d}" for i in range(len(session.frames))] + (["ambient"] if session.ambient else [])
    for name, light in zip(names, masked, strict=True):
        frame = redrawn(np.clip(light, 0, 1), session.camera.transfer)
        if fine:
            levels = np.rint(frame * 65535).astype(np.uint16)
            data = cv2.imencode(".png", levels)[1].tobytes()
            write_atomic(beside / f"{name}.png", lambda path, data=data: path.write_bytes(data))  # type: ignore[misc]
        else:
            write_picture(beside / f"{name}.png", frame)
    (beside / LANDMARKS).write_text(json.dumps(landmarks.astype(float).tolist()), encoding="utf-8")
    beside.rename(folder)
