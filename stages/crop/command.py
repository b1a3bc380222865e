"""`psface crop`: the faces of all maps, found, aligned and packed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from pipeline.files import check_replaceable
from pipeline.options import jobs_option
from pipeline.parallel import Jobs, warm_up
from pipeline.params import Crop, section
from pipeline.progress import wrote
from pipeline.sessions import read_sessions
from pipeline.work import StageWork, key_of, source, stamps_of
from stages.crop.contact import contact_sheet
from stages.crop.packing import pack_faces

CODE = (
    "stages.crop",
    "models.mtcnn",
    "pipeline.faces",
    "pipeline.flashes",
    "pipeline.geometry",
    "pipeline.images",
    "pipeline.lights",
    "pipeline.maps",
)


@click.command("crop")
@click.option("--params", "params_path", default="params.yaml", show_default=True, help="The parameters.")
@click.option("--sessions", default="data/sessions.parquet", show_default=True, help="The table of sessions.")
@click.option("--maps", default="data/maps", show_default=True, help="The folder of the maps.")
@click.option("--out", default="data/faces", show_default=True, help="The folder of the packed faces.")
@click.option("--device", default="cpu", show_default=True, help="Where the detector runs, as torch names it.")
@jobs_option()
def command(params_path: str, sessions: str, maps: str, out: str, device: str, jobs: Jobs) -> None:
    """Find, align and pack the faces of all maps.

    The face of each session is found on the mean of its frames; all its maps are warped by one transform onto five
    points, normals turned and depth scaled with it. Writes an array a modality, a mask and an index that says why a
    session has no face.
    """
    params = section(params_path, "crop", Crop)
    own = Path(out, "index.parquet").is_file()
    check_replaceable(Path(out), option="--out", what="folder of faces", is_own=own, made_from=[sessions, maps])
    if device == "cpu":
        warm_up(jobs, "stages.crop.detector")  # with torch, which takes longer than all that is read here
    table = read_sessions(sessions)
    frames = stamps_of(name for session in table for name in session.frames)
    with StageWork("crop", key=key_of(params, Path(sessions), Path(maps), frames, *source(*CODE))) as work:
        index = pack_faces(table, Path(maps), work.dir, params, jobs=jobs, device=device)
        contact_sheet(work.dir / "faces")
        work.publish(work.dir / "faces", out)
    missing = Counter(index.loc[index["row"] < 0, "reason"].str.split(" (", regex=False).str[0])
    reasons = "".join(f"; {times} {reason}" for reason, times in missing.most_common(3))
    wrote(out, note=f"{(index['row'] >= 0).sum()} faces of {len(index)} sessions{reasons}")
