"""`psface simulate`: photograph simulated faces with a simulated rig."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from pipeline.files import check_replaceable
from pipeline.options import jobs_option
from pipeline.parallel import Jobs, map_sessions
from pipeline.params import Simulate, section
from pipeline.progress import wrote
from pipeline.work import StageWork, key_of, source

CODE = (
    "stages.simulate",
    "pipeline.images",
    "pipeline.lights",
    "pipeline.maps",
    "pipeline.maskdesigns",
    "pipeline.maskshape",
    "pipeline.shading",
)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("data/simulated"), show_default=True)
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
@jobs_option()
def command(out: Path, params: Path, jobs: Jobs) -> None:
    """Photograph simulated faces with a simulated rig.

    Writes a folder a session in the layout of the Photoface database, with the true maps beside the frames. An
    interrupted run goes on where it stopped.
    """
    settings = section(params, "simulate", Simulate)
    from stages.simulate.sessions import TOGETHER, by_subject, clear_torn, plan, simulate_sessions

    sessions = list(out.glob("*/*"))
    own = bool(sessions) and all((session / "truth.exr").is_file() for session in sessions)
    check_replaceable(out, option="--out", what="folder of simulated sessions", is_own=own)
    items = plan(settings)
    with StageWork("simulate", key=key_of(settings, *source(*CODE))) as work:
        make = partial(simulate_sessions, settings, work.dir)
        map_sessions(make, by_subject(items), jobs=jobs, label=f"simulate (up to {TOGETHER} sessions a step)")
        clear_torn(work.dir)
        work.publish(work.dir, out)
    wrote(out, note=f"{sum(1 for _ in out.glob('*/*'))} sessions of {settings.subjects} subjects")
