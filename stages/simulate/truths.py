"""The truth of ageing: test subjects' sessions as they would be at other ages, to hold synthesised faces to.

Pose, rig, flashes, expression, spectacles, mask, haircut, texture and the sensor's noise are those of the session; age
alone differs, and what it does. A session of 2008-01-07_09-00-00 at 45 is the folder 2008-01-07_09-00-00_age45.
"""

from __future__ import annotations

from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from pipeline.errors import UserError
from pipeline.files import check_replaceable
from pipeline.options import jobs_option
from pipeline.parallel import Jobs, map_sessions
from pipeline.params import Simulate, section
from pipeline.progress import wrote
from pipeline.sessions import TRUTH, truth_id
from pipeline.tables import read_parquet
from pipeline.work import StageWork, key_of, source
from stages.simulate.command import CODE
from stages.simulate.sessions import clear_torn, make_session
from stages.simulate.subject import draw_subject
from stages.simulate.visit import at_age, draw_masks, draw_visit, visit_counts

COLUMNS = {"session": str, "subject": str, "split": str}


class Item(NamedTuple):
    """A session to be photographed again: of which subject, its number, its name, and at what age."""

    subject: int
    number: int
    name: str
    years: int


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
    check_replaceable(out, option="--out", what="folder of truths", is_own=_is_of_truths(out), made_from=[splits])
    items = plan(settings, splits)
    with StageWork("truths", key=key_of(settings, Path(splits), *source(*CODE))) as work:
        make = partial(photograph_at, settings, work.dir)
        groups = [list(group) for _, group in groupby(items, key=itemgetter(0, 1, 2))]
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
        visits = [v for number in range(counts[index]) for v in draw_masks(params, draw_visit(params, subject, number))]
        own = [visit for visit in visits if f"{subject.name}/{visit.name}" in kept]
        found += len(own)
        chosen = {int(i) for i in np.linspace(0, len(own) - 1, params.truths.sessions).round()} if own else set()
        of = [own[i] for i in sorted(chosen)]
        items += [Item(index, visit.number, visit.name, years) for visit in of for years in params.truths.ages]
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
    for item in items:
        subject = draw_subject(params, item.subject)
        visits = draw_masks(params, draw_visit(params, subject, item.number))
        visit = next(visit for visit in visits if visit.name == item.name)
        target = folder / truth_id(f"{subject.name}/{visit.name}", item.years)
        make_session(params, target, subject, at_age(visit, subject, item.years))


def _is_of_truths(folder: Path) -> bool:
    """Whether all sessions in a folder are truths."""
    sessions = list(folder.glob("*/*"))
    return bool(sessions) and all(TRUTH in session.name for session in sessions)
