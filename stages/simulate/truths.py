"""The truth of ageing: test subjects' sessions as they would be at other ages, to hold synthesised faces to.

Pose, rig, flashes, expression, spectacles, haircut, texture and the sensor's noise are those of the session; age alone
differs, and what it does. A session of 2008-01-07_09-00-00 at 45 is the folder 2008-01-07_09-00-00_age45.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import numpy as np

from pipeline.errors import UserError
from pipeline.options import jobs_option
from pipeline.parallel import Jobs, map_sessions
from pipeline.params import Simulate, section
from pipeline.progress import wrote
from pipeline.sessions import truth_id
from pipeline.tables import read_parquet
from pipeline.work import StageWork, key_of, source
from stages.simulate.sessions import clear_torn, make_session
from stages.simulate.subject import draw_subject
from stages.simulate.visit import at_age, draw_visit, visit_counts

CODE = ("stages.simulate", "pipeline.images", "pipeline.lights", "pipeline.maps", "pipeline.shading")
COLUMNS = {"session": str, "subject": str, "split": str}
Item = tuple[int, int, int]  # subject, session, years


@click.command("truths")
@click.option("--out", type=click.Path(path_type=Path), default=Path("data/truths"), show_default=True)
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
@click.option("--splits", default="data/splits.parquet", show_default=True, help="Whose subjects of the test split.")
@jobs_option()
def command(out: Path, params: Path, splits: str, jobs: Jobs) -> None:
    """Photograph test subjects' sessions at other ages.

    Takes `simulate.truths.sessions` sessions of each subject of the test split and photographs each at all of
    `simulate.truths.ages`; nothing but the age differs. Writes a root that `psface ingest --root` reads, where session
    S at 45 years is S_age45.
    """
    settings = section(params, "simulate", Simulate)
    if not settings.ages:
        raise UserError(f"{params}: simulate.ages is empty, so that nobody ages: give it, e.g. {{oldest: 75}}")
    items = plan(settings, splits)
    with StageWork("truths", key=key_of(settings, Path(splits), *source(*CODE))) as work:
        make = partial(photograph_at, settings, work.dir)
        groups = [[item for item in items if item[:2] == session] for session in dict.fromkeys(i[:2] for i in items)]
        map_sessions(make, groups, jobs=jobs, label=f"truths ({len(settings.truths.ages)} ages a step)")
        clear_torn(work.dir)
        work.publish(work.dir, out)
    wrote(out, note=f"{len(groups)} sessions of the test split at {len(settings.truths.ages)} ages each")


def plan(params: Simulate, splits: str) -> list[Item]:
    """All (subject, session, years): of each test subject's sessions that are kept, some that lie evenly among them.

    Raises
    ------
    UserError
        The test split has none, or others than `simulate` makes by these parameters.
    """
    table = read_parquet(splits, made_by="balance", columns=COLUMNS, key="session")
    kept = set(table.loc[table["split"] == "test", "session"])
    counts = visit_counts(params)
    items, found = [], 0
    for index in sorted({_index(name) for name in table.loc[table["split"] == "test", "subject"]}):
        if not 0 <= index < len(counts):
            continue
        subject = draw_subject(params, index)
        names = [f"{subject.name}/{draw_visit(params, subject, number).name}" for number in range(counts[index])]
        own = [number for number, name in enumerate(names) if name in kept]
        found += len(own)
        chosen = {own[int(i)] for i in np.linspace(0, len(own) - 1, params.truths.sessions).round()} if own else set()
        items += [(index, number, years) for number in sorted(chosen) for years in params.truths.ages]
    if not items or found < len(kept):
        strangers = f"{len(kept) - found} of {len(kept)} test sessions"
        raise UserError(
            f"{splits}: {strangers} are not of `psface simulate` by these parameters: run all up to balance again"
        )
    return items


def _index(name: str) -> int:
    return int(name) - 1001 if name.isdecimal() else -1


def photograph_at(params: Simulate, folder: Path, items: list[Item]) -> None:
    """Make one session at several ages, each whole or not at all; those that are there are left alone."""
    for index, number, years in items:
        subject = draw_subject(params, index)
        visit = at_age(draw_visit(params, subject, number), subject, years)
        make_session(params, folder / truth_id(f"{subject.name}/{visit.name}", years), subject, visit)
