"""All sessions of a simulated data set, and how one of them is made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.params import Simulate
from stages.simulate.subject import draw_subject
from stages.simulate.visit import draw_visit, visit_counts


def plan(params: Simulate) -> list[tuple[int, int]]:
    """(subject, session) of all sessions, in order."""
    return [(subject, number) for subject, count in enumerate(visit_counts(params)) for number in range(count)]


def simulate_session(params: Simulate, folder: Path, item: tuple[int, int]) -> None:
    """Make one session below ``folder``, whole or not at all; one that is there already is left alone."""
    from stages.simulate.photoface import write_session
    from stages.simulate.render import photograph

    subject = draw_subject(params, item[0])
    visit = draw_visit(params, subject, item[1])
    target = folder / subject.name / visit.name
    if target.exists():
        return
    shot = photograph(subject, visit, params.size, params.effects, params.seed)
    beside = folder / subject.name / f".{visit.name}.{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    write_session(beside, visit, shot, quantise=params.effects.quantise, seed=params.seed)
    beside.rename(target)


def clear_torn(folder: Path) -> None:
    """Remove what a killed run left half-made."""
    for torn in folder.glob("*/.*"):
        shutil.rmtree(torn)
