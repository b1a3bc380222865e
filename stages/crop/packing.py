"""All sessions' faces as packed arrays: found in batches, cut in parallel, written straight into the files.

Work in progress survives a kill and is taken up again: `sightings.jsonl` holds a line a session that was looked at,
`cuts.jsonl` one a face that lies in the arrays, or cannot.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import PsfaceError, Rejected, UserError
from pipeline.faces import COLOUR, MODALITIES, PHOTOGRAPHED
from pipeline.flashes import light_order
from pipeline.geometry import scale_of
from pipeline.maps import read_maps
from pipeline.parallel import Jobs, imap_sessions
from pipeline.params import Crop
from pipeline.sessions import Session
from pipeline.tables import write_parquet
from stages.crop.align import (
    alignment,
    cut_colour,
    cut_face,
    cut_photograph,
    drawn_frame,
    maps_path,
    read_frames,
)
from stages.crop.looks import Sighting, eye_distance, find_faces

if TYPE_CHECKING:
    import pandas as pd

BATCH = 16  # sessions that are looked at together
NO_MAPS = "no maps: not reconstructed"


@dataclass(frozen=True)
class Job:
    """A face to cut: its session, its landmarks, its row in the arrays."""

    session: Session
    landmarks: np.ndarray
    row: int


def pack_faces(
    sessions: Sequence[Session], maps: Path, work: Path, params: Crop, *, jobs: Jobs, device: str = "cpu"
) -> pd.DataFrame:
    """Find, align and pack the faces of all sessions that have maps.

    Parameters
    ----------
    maps : Path
        Folder of the maps.
    work : Path
        Scratch folder; the arrays and the index come to lie in its ``faces/``.

    Returns
    -------
    DataFrame
        The index, a row a session, sorted by session.

    Raises
    ------
    UserError
        No session has maps.
    PsfaceError
        No face was found at all.
    """
    single = are_photographs(sessions)
    arrays = (*(PHOTOGRAPHED if single else MODALITIES), *([COLOUR] if params.colour else ()), "mask")
    ready = [s for s in sessions if single or maps_path(maps, s.id).is_file()]
    if not ready:
        raise UserError(f"none of {len(sessions)} sessions has maps in {maps}: run `psface reconstruct` first")
    ready, unlike = alike(ready)
    seen = look_at(ready, work / "sightings.jsonl", params, jobs=jobs, device=device) | unlike
    found = [s for s in ready if seen[s.id].landmarks is not None]
    tasks = [Job(s, np.asarray(seen[s.id].landmarks), row) for row, s in enumerate(found)]
    faces = work / "faces"
    log = work / "cuts.jsonl"
    if not (log.exists() and all((faces / f"{name}.npy").exists() for name in arrays)):
        log.unlink(missing_ok=True)  # it speaks of arrays that are gone
        _create(faces, arrays, len(tasks), len(ready[0].frames), params.size)
    failed = cut_faces(
        tasks, log, partial(_cut_into, maps=None if single else maps, faces=faces, params=params), jobs=jobs
    )
    tasks = _keep(faces, [t for t in tasks if t.session.id not in failed], len(tasks), arrays)
    seen |= {s.id: Sighting(None, 0.0, 0, NO_MAPS) for s in sessions if s.id not in seen}
    index = _index(sessions, seen, failed, {t.session.id: t for t in tasks}, params)
    if not tasks:
        reason, times = Counter(index["reason"]).most_common(1)[0]
        raise PsfaceError(f"no face in any of {len(ready)} sessions; the commonest reason, {times} times: {reason}")
    write_parquet(faces / "index.parquet", index)
    return index


def are_photographs(sessions: Sequence[Session]) -> bool:
    """Whether all are single photographs, which have no maps."""
    return all(len(s.frames) == 1 for s in sessions)


def alike(sessions: Sequence[Session]) -> tuple[list[Session], dict[str, Sighting]]:
    """The sessions of the commonest number of frames, and why each of the others, by id, cannot be packed with them.

    Frames are the channels of one array. Where two numbers are as common, the larger counts.
    """
    counts = Counter(len(s.frames) for s in sessions)
    usual = max(counts, key=lambda count: (counts[count], count))
    others = {
        s.id: Sighting(None, 0.0, 0, f"{len(s.frames)} frames, the others have {usual}")
        for s in sessions
        if len(s.frames) != usual
    }
    return [s for s in sessions if s.id not in others], others


def look_at(
    sessions: Sequence[Session], path: Path, params: Crop, *, jobs: Jobs, device: str = "cpu"
) -> dict[str, Sighting]:
    """What was seen of each session by id; what an interrupted run has seen is read from ``path``.

    Nobody looks at a session whose landmarks are known.
    """
    seen = {session: _sighting(*rest) for session, *rest in _whole_lines(path)}
    seen |= {s.id: Sighting(s.landmarks.astype(np.float32), 1.0, 1) for s in sessions if s.landmarks is not None}
    unknown = [s for s in sessions if s.landmarks is None]
    batches = [unknown[i : i + BATCH] for i in range(0, len(unknown), BATCH)]
    waiting = [batch for batch in batches if any(s.id not in seen for s in batch)]
    look = partial(_look, params=params, device=device)
    label = f"crop: looking for faces ({BATCH} sessions a step)"
    with path.open("a", encoding="utf-8") as file:
        results = imap_sessions(look, waiting, jobs=jobs if device == "cpu" else 1, label=label)
        for batch, sightings in zip(waiting, results, strict=True):
            assert not isinstance(sightings, Rejected)
            for session, sighting in zip(batch, sightings, strict=True):
                seen[session.id] = sighting
                file.write(_line(session.id, sighting))
            file.flush()
    return {s.id: seen[s.id] for s in sessions}


def cut_faces(tasks: Sequence[Job], path: Path, cut: Callable[[Job], None], *, jobs: Jobs) -> dict[str, str]:
    """Cut all faces; the reason of each that could not be, by session; those that ``path`` names are done already."""
    reasons: dict[str, str | None] = dict(_whole_lines(path))
    waiting = [task for task in tasks if task.session.id not in reasons]
    with path.open("a", encoding="utf-8") as file:
        results = imap_sessions(cut, waiting, jobs=jobs, label="crop: cutting faces")
        for task, result in zip(waiting, results, strict=True):
            reason = reasons[task.session.id] = str(result) if isinstance(result, Rejected) else None
            file.write(json.dumps([task.session.id, reason]) + "\n")
            file.flush()
    return {session: reason for session, reason in reasons.items() if reason is not None}


def _look(batch: Sequence[Session], *, params: Crop, device: str) -> list[Sighting]:
    """Look at a batch."""
    images: dict[int, np.ndarray] = {}
    sightings: dict[int, Sighting] = {}
    for i, session in enumerate(batch):
        try:
            images[i] = read_frames(session).mean(axis=0)
        except Rejected as reason:
            sightings[i] = Sighting(None, 0.0, 0, str(reason))
    found = find_faces(
        list(images.values()),
        border=params.border,
        min_face=params.min_face,
        confidence=params.confidence,
        device=device,
    )
    sightings |= dict(zip(images, found, strict=True))
    return [sightings[i] for i in range(len(batch))]


def _line(session: str, sighting: Sighting) -> str:
    points = None if sighting.landmarks is None else sighting.landmarks.astype(float).tolist()
    return json.dumps([session, points, sighting.score, sighting.n_faces, sighting.reason]) + "\n"


def _sighting(points: list[list[float]] | None, score: float, n_faces: int, reason: str) -> Sighting:
    return Sighting(None if points is None else np.array(points, np.float32), score, n_faces, reason)


def _whole_lines(path: Path) -> Iterator[list[Any]]:
    """What the lines of a log say that were written whole; nothing where there is no log."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text and not text.endswith("\n"):  # a kill cut the last line: what follows must not run on from it
        text = text[: text.rfind("\n") + 1]
        path.write_text(text, encoding="utf-8")
    yield from map(json.loads, text.splitlines())


def _create(faces: Path, arrays: Sequence[str], rows: int, frames: int, size: int) -> None:
    faces.mkdir(exist_ok=True)
    channels = {"normal": 3, "frames": frames, COLOUR: 3}
    for name in arrays:
        if name == "mask":
            _open_new(faces / "mask.npy", np.uint8, (rows, size, size))
        else:
            _open_new(faces / f"{name}.npy", np.float16, (rows, size, size, channels.get(name, 1)))


def _open_new(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A new array, memory-mapped, its room on the disk taken: to write into a map on a full disk ends the process."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
    return array


def _cut_into(job: Job, *, maps: Path | None, faces: Path, params: Crop) -> None:
    """Cut one face and write it to its row of each array; workers write to different rows."""
    session = job.session
    drawn = drawn_frame(session.id, len(session.frames), params.seed)
    frames, how = read_frames(session), {"size": params.size, "drawn": drawn}
    if maps is None:
        arrays = cut_photograph(frames, job.landmarks, order=[0], **how)
    else:
        own = read_maps(maps_path(maps, session.id))
        arrays = cut_face(own, frames, job.landmarks, order=light_order(session.lights), **how)
    if params.colour:
        arrays[COLOUR] = cut_colour(session.frames[drawn], job.landmarks, params.size)
    for name, values in arrays.items():
        np.lib.format.open_memmap(faces / f"{name}.npy", mode="r+")[job.row] = values


def _keep(faces: Path, tasks: list[Job], rows: int, arrays: Sequence[str]) -> list[Job]:
    """Close the gaps that faces which could not be cut have left in the arrays; a killed run may have closed some."""
    if len(tasks) < rows:
        for name in arrays:
            path = faces / f"{name}.npy"
            whole = np.load(path, mmap_mode="r")
            if len(whole) == len(tasks):
                continue
            beside = path.with_name(f".{path.name}")
            kept = _open_new(beside, whole.dtype.type, (len(tasks), *whole.shape[1:]))
            for row, task in enumerate(tasks):
                kept[row] = whole[task.row]
            kept.flush()
            beside.replace(path)
    return [Job(t.session, t.landmarks, row) for row, t in enumerate(tasks)]


def _index(
    sessions: Sequence[Session], seen: dict[str, Sighting], failed: dict[str, str], cut: dict[str, Job], params: Crop
) -> pd.DataFrame:
    """A row a session; landmarks, matrix and eye distance are empty or 0 where there is no face."""
    import pandas as pd

    rows = []
    for s in sorted(sessions, key=lambda s: s.id):
        sighting, task = seen[s.id], cut.get(s.id)
        points = np.empty((0, 2), np.float32) if task is None else task.landmarks
        matrix = np.empty(0) if task is None else alignment(points, params.size)
        rows.append(
            {
                "session": s.id,
                "subject": s.subject,
                "row": -1 if task is None else task.row,
                "reason": failed.get(s.id, sighting.reason),
                "n_faces": sighting.n_faces,
                "score": sighting.score,
                "landmarks": points.ravel().astype(np.float32).tolist(),
                "matrix": matrix.ravel().tolist(),
                "eye_distance": 0.0 if task is None else eye_distance(points),
                "scale": 0.0 if task is None else scale_of(matrix),
                "frame": -1 if task is None else drawn_frame(s.id, len(s.frames), params.seed),
            }
        )
    return pd.DataFrame(rows)
