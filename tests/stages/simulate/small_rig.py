"""One tiny data set's parameters, with changes, and one of its sessions rendered."""

from __future__ import annotations

from typing import Any

from pipeline.params import Simulate
from stages.simulate.render import Shot, photograph
from stages.simulate.subject import Subject, draw_subject
from stages.simulate.visit import Visit, draw_visit

RIGS = [
    {"name": "near", "lights": [{"zenith": 35, "azimuth": a} for a in (45, 135, 225, 315)]},
    {"name": "wide", "lights": [{"zenith": 40, "azimuth": a} for a in (0, 90, 180, 270)]},
]
PLAIN = {  # the textbook's image: every effect off
    "cast_shadows": False, "attached_shadows": False, "specular": 0, "ambient": 0, "strobe_gains": 0, "distance": 0,
    "motion": 0, "noise": 0, "quantise": False, "light_error": 0,
}  # fmt: skip
ALWAYS = {
    "spectacles": {"no": 1}, "quality": {"ok": 1}, "occlusion": {"": 1}, "pose": {"1": 1}, "facial_hair": {"none": 1},
}  # fmt: skip


def settings(**changes: Any) -> Simulate:
    """Parameters of a small data set, with changes."""
    return Simulate.model_validate({"seed": 7, "subjects": 3, "sessions": 4, "size": 96, "rigs": RIGS} | changes)


def shoot(params: Simulate, subject: int = 0, session: int = 0) -> tuple[Subject, Visit, Shot]:
    """One session, rendered."""
    who = draw_subject(params, subject)
    visit = draw_visit(params, who, session)
    return who, visit, photograph(who, visit, params.size, params.effects, params.seed)
