"""`psface reconstruct`: each session's frames to normals, albedo and depth."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import PsfaceError, Rejected
from pipeline.files import check_replaceable
from pipeline.maps import write_maps
from pipeline.options import device_option, jobs_option
from pipeline.parallel import Jobs, map_sessions
from pipeline.params import Reconstruct, section
from pipeline.progress import wrote
from pipeline.sessions import Session, read_sessions
from pipeline.tables import write_json, write_parquet
from pipeline.work import StageWork, key_of, source, stamps_of
from stages.reconstruct.reading import read_photographs
from stages.reconstruct.session import reconstruct

if TYPE_CHECKING:
    import pandas as pd
    import torch

CODE = (
    "stages.reconstruct", "pipeline.geometry", "pipeline.images", "pipeline.lights", "pipeline.maps", "pipeline.rig",
    "pipeline.shading",
)  # fmt: skip
NUMBERS = ("residual", "shadowed", "saturated", "condition", "integrability", "shift")


@click.command("reconstruct")
@click.option("--params", "params_path", default="params.yaml", show_default=True, help="The parameters.")
@click.option("--sessions", default="data/sessions.parquet", show_default=True, help="The table of sessions.")
@click.option("--out", default="data/maps", show_default=True, help="The folder of the maps.")
@click.option("--quality", default="data/quality.parquet", show_default=True, help="The table of quality numbers.")
@device_option()
@jobs_option(note="One process where there is a --device.")
def command(params_path: str, sessions: str, out: str, quality: str, device: torch.device | None, jobs: Jobs) -> None:
    """Turn each session's frames into normals, albedo and depth.

    Writes one OpenEXR file a session and a table that says how far each can be trusted, or why a session was rejected.
    An interrupted run goes on where it stopped.
    """
    settings = section(params_path, "reconstruct", Reconstruct)
    table = read_sessions(sessions)
    read = [sessions, *(name for session in table for name in session.frames)]
    check_replaceable(Path(out), option="--out", what="folder of maps", is_own=_is_of_maps(out), made_from=read)
    frames = stamps_of(name for session in table for name in (*session.frames, session.ambient) if name)
    with StageWork("reconstruct", key=key_of(settings, Path(sessions), frames, *source(*CODE))) as work:
        one = partial(reconstruct_session, settings=settings, folder=work.dir, device=device)
        jobs = jobs if device is None else 1
        rows = [row for row in map_sessions(one, table, jobs=jobs, label="reconstruct") if isinstance(row, dict)]
        rejected = [row for row in rows if row["rejected"]]
        if len(rejected) == len(rows):
            reason = f"; the first: {rejected[0]['session']}: {rejected[0]['rejected']}" if rejected else ""
            raise PsfaceError(f"{sessions}: none of {len(rows)} sessions could be reconstructed{reason}")
        write_parquet(quality, quality_table(rows))
        work.publish(work.dir / "maps", out)
    for note in told(rows):
        click.echo(f"note: {note}", err=True)
    wrote(out, quality, note=f"{len(rows) - len(rejected)} sessions, {len(rejected)} rejected")


def _is_of_maps(folder: str) -> bool:
    """Whether a folder holds maps alone, a folder a subject."""
    maps = list(Path(folder).glob("*/*"))
    return bool(maps) and all(path.suffix == ".exr" and path.is_file() for path in maps)


def told(rows: list[dict[str, Any]]) -> list[str]:
    """What a person should look at: each kind of note once, with a session that has it and how many others do."""
    sessions: dict[str, list[str]] = {}
    for row in rows:
        for note in filter(None, row["notes"].split("; ")):
            sessions.setdefault(note, []).append(row["session"])
    return [
        f"{having[0]}{f' and {len(having) - 1} more' if len(having) > 1 else ''}: {note}"
        for note, having in sessions.items()
    ]


def reconstruct_session(
    session: Session, *, settings: Reconstruct, folder: Path, device: torch.device | None
) -> dict[str, Any]:
    """Write ``folder/maps/<id>.exr`` and return the session's row; done work of an earlier run is taken as it is."""
    done = folder / "rows" / f"{session.id}.json"
    if done.exists():
        row: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return row
    row = {"session": session.id, **dict.fromkeys(NUMBERS, None), "notes": "", "rejected": ""}
    try:
        ambient = session.ambient if settings.ambient else None
        photographs = read_photographs(
            session.frames,
            session.known_lights,
            session.strengths,
            ambient=ambient,
            positions=session.positions,
            camera=session.camera,
            saturation=settings.saturation,
        )
        maps, quality = reconstruct(photographs, settings, device=device)
        maps.attributes |= {"session": session.id, "rig": session.rig, "frames": json.dumps(session.frames)}
        write_maps(folder / "maps" / f"{session.id}.exr", maps)
        row |= quality.row()
    except Rejected as reason:
        row["rejected"] = str(reason)
    write_json(done, row)
    return row


def quality_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as data/quality.parquet has them: sorted by session, numbers missing where a session was rejected."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=["session", *NUMBERS, "notes", "rejected"]).sort_values("session")
    return table.astype(dict.fromkeys(NUMBERS, float)).reset_index(drop=True)
