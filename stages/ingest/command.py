"""`psface ingest`: a data set becomes a table of sessions; what cannot be used is listed with the reason."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import click

from pipeline.errors import Rejected, UserError, one_line
from pipeline.images import SUFFIXES, read_frame
from pipeline.options import jobs_option
from pipeline.parallel import Jobs, map_sessions
from pipeline.params import Ingest, section
from pipeline.params.base import Transfer
from pipeline.progress import wrote
from pipeline.sessions import Session, write_sessions
from pipeline.tables import write_csv
from pipeline.work import alone
from stages.ingest.checks import ambient_fault, check_session
from stages.ingest.oddities import note, oddities
from stages.ingest.readers import Note, Refusal, find_reader

CODE = (
    "stages.ingest",
    "pipeline.attributes",
    "pipeline.images",
    "pipeline.lights",
    "pipeline.maps",
    "pipeline.maskdesigns",
    "pipeline.rig",
    "pipeline.sessions",
)
FLOATING = (".exr", ".tif", ".tiff")
LEADING_FILE = re.compile(r"^[^:;(]+\.\w+: ")
FRAME_NAME = re.compile(rf"\S+({'|'.join(map(re.escape, SUFFIXES))})\b|\bim\d+\b", re.IGNORECASE)
FOLDERS = re.compile(r"\S+/(?=\S+\.(csv|m)\b)")


@click.command("ingest")
@click.option("--params", "params_path", default="params.yaml", show_default=True, help="The parameters.")
@click.option("--out", default="data/sessions.parquet", show_default=True, help="The table of sessions.")
@click.option("--rejected", default="data/rejected.csv", show_default=True, help="What cannot be used, and why.")
@jobs_option(1, note="It reads headers alone.")
@alone("ingest")
def command(params_path: str, out: str, rejected: str, jobs: Jobs) -> None:
    """Read a data set into a table of sessions.

    Takes `ingest.source` (photoface, yaleb or folder) from `ingest.root` and writes a row a session: its frames, which
    stay where they are, the lights, the labels. A session that cannot be used is listed with the reason; the others go
    on.
    """
    for option, path, suffix in (("--out", out, ".parquet"), ("--rejected", rejected, ".csv")):
        if Path(path).suffix != suffix:  # or a slip of the pen is the end of a photograph
            raise UserError(f"{option} {path}: expected a name that ends in {suffix}")
    params = section(params_path, "ingest", Ingest)
    sessions, refusals, notes = ingest(params, jobs=jobs)
    for text in notes:
        click.echo(f"note: {text}", err=True)
    import pandas as pd  # here: `--help` needs no tables

    write_csv(
        rejected, pd.DataFrame([(r.id, "ingest", r.reason) for r in refusals], columns=["session", "stage", "reason"])
    )
    if not sessions:
        raise UserError(
            f"{params.root}: none of {len(refusals)} sessions can be used, such as {refusals[0].id}: "
            f"{refusals[0].reason}; {rejected} lists them"
        )
    write_sessions(out, sessions)
    subjects, rigs = len({s.subject for s in sessions}), len({s.rig for s in sessions})
    wrote(
        out,
        rejected,
        note=f"{_count(len(sessions), 'session')} of {_count(subjects, 'subject')} under "
        f"{_count(rigs, 'rig')}; {len(refusals)} rejected{_why(refusals)}",
    )


def ingest(params: Ingest, *, jobs: Jobs) -> tuple[list[Session], list[Refusal], list[str]]:
    """Read and check a data set.

    Returns
    -------
    sessions : list of Session
        Those that can be used, by id.
    refusals : list of Refusal
        The others, by id.
    notes : list of str
        What the user should hear.

    Raises
    ------
    UserError
        The root is missing, or holds no such data set.
    """
    root = workspace_path(params.root)
    if not root.is_dir():
        raise UserError(f"{params.root}: no such folder; set ingest.root to the data set's")
    found = list(find_reader(params.source)(root, params))
    read = sorted((item for item in found if isinstance(item, Session)), key=lambda s: s.id)
    shared = {s.id for s, following in pairwise(read) if s.id == following.id}
    read = [encoded(s, params.transfer) for s in read if s.id not in shared]
    notes = [item.text for item in found if isinstance(item, Note)]
    refusals = [item for item in found if isinstance(item, Refusal)]
    refusals += [Refusal(name, "two sessions share this name; rename the files of one") for name in shared]
    checked = map_sessions(partial(check_session, params=params), read, jobs=jobs, label="ingest")
    refusals += [Refusal(s.id, str(c)) for s, c in zip(read, checked, strict=True) if isinstance(c, Rejected)]
    sessions = [c for c in checked if isinstance(c, Session)]
    dropped = [
        before
        for before, after in zip(read, checked, strict=True)
        if before.ambient is not None and isinstance(after, Session) and after.ambient is None
    ]
    if dropped:
        why = f"{dropped[0].id}: {ambient_fault(dropped[0])}"
        notes.append(one_line(f"the ambient photographs of {len(dropped)} sessions are ignored, such as that of {why}"))
    notes += [*note(params.root, oddities(root)), *_look(sessions)]
    return sessions, sorted(Refusal(one_line(r.id), one_line(r.reason)) for r in refusals), notes


def encoded(session: Session, transfer: Transfer) -> Session:
    """The session with the tone curve of its data set, where its rig does not give the camera's."""
    if session.camera.transfer is not None or transfer == "linear":
        return session
    return replace(session, camera=session.camera.model_copy(update={"transfer": transfer}))


def _look(sessions: list[Session]) -> list[str]:
    """What is wrong with the pixels of the first frame that may be floating-point, whose scale no header tells."""
    frame = next((f for s in sessions for f in s.frames if f.lower().endswith(FLOATING)), None)
    try:
        _ = None if frame is None else read_frame(frame)
    except Rejected as reason:
        return [f"{reason}; `psface reconstruct` sets aside the sessions of such frames"]
    return []


def workspace_path(root: str) -> Path:
    """The root as the workspace names it: relative where it lies below the workspace, symlinks kept as they are."""
    path = Path(root)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd())
    return path


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def kind_of_reason(reason: str) -> str:
    """A reason without the names of one session's own files and what is in brackets, so that like ones count as one.

    >>> kind_of_reason("im1.bmp is empty (0 bytes)"), kind_of_reason("own/ann/lights.csv: 2 lights; it takes three")
    ('a frame is empty', '2 lights')
    >>> kind_of_reason("filtered: quality blur (kept: ok)"), kind_of_reason("missing frame im2 (of 4)")
    ('filtered: quality blur', 'missing frame')
    >>> kind_of_reason("own/Nguyễn Văn A/lần 1/lights.csv: 2 lights; it takes three")
    '2 lights'
    """
    text = LEADING_FILE.sub("", reason).split(" (")[0].split("; ")[0]
    if not text.startswith("filtered:"):
        text = text.split(": ")[0]
    text = FOLDERS.sub("", FRAME_NAME.sub("a frame", text))
    return text.replace("frame a frame", "frame").strip()


def _why(refusals: list[Refusal]) -> str:
    """The commonest kinds of reason, with how often they come."""
    kinds = Counter(kind_of_reason(r.reason) for r in refusals)
    return f": {', '.join(f'{kind} ({n})' for kind, n in kinds.most_common(3))}" if kinds else ""
