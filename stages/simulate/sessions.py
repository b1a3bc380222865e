"""All sessions of a simulated data set, and how one of them is made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from pipeline.params import Simulate
from stages.simulate.subject import Subject, draw_subject
from stages.simulate.visit import Visit, draw_masks, draw_visit, visit_counts

TOGETHER = 6  # sessions of one subject that a worker makes one after the other


def plan(params: Simulate) -> list[tuple[int, int]]:
    """(subject, session) of all sessions, in order."""
    return [(subject, number) for subject, count in enumerate(visit_counts(params)) for number in range(count)]


def by_subject(items: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """A plan's sessions in groups for one worker, since to make a subject takes as long as to photograph it twice."""
    subjects = [list(group) for _, group in groupby(items, key=itemgetter(0))]
    return [group[i : i + TOGETHER] for group in subjects for i in range(0, len(group), TOGETHER)]


def simulate_sessions(params: Simulate, folder: Path, items: Sequence[tuple[int, int]]) -> None:
    """Make a group of sessions."""
    for item in items:
        simulate_session(params, folder, item)


def simulate_session(params: Simulate, folder: Path, item: tuple[int, int]) -> None:
    """Make one session below ``folder``, and its twin without a mask where there is one."""
    subject = draw_subject(params, item[0])
    for visit in draw_masks(params, draw_visit(params, subject, item[1])):
        make_session(params, folder / subject.name / visit.name, subject, visit)


def make_session(params: Simulate, target: Path, subject: Subject, visit: Visit) -> None:
    """Make a session's folder, whole or not at all; one that is there already is left alone."""
    from stages.simulate.photoface import write_session
    from stages.simulate.render import photograph

    if target.exists():
        return
    shot = photograph(subject, visit, params.size, params.effects, params.seed, colour=params.colour)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    write_session(beside, visit, shot, quantise=params.effects.quantise, seed=params.seed)
    beside.rename(target)


def clear_torn(folder: Path) -> None:
    """Remove what a killed run left half-made."""
    for torn in folder.glob("*/.*"):
        shutil.rmtree(torn)
