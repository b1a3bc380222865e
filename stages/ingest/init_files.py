"""The files of a workspace, from the templates in `workspace/`: dvc.yaml, params.yaml, README.md, ignore files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.faces import MODALITIES
from pipeline.params import Balance, Crop

FUSIONS = {
    "albedo-depth": ("albedo", "depth"),
    "normal-depth": ("normal", "depth"),
    "normal-albedo": ("normal", "albedo"),
    "all": ("albedo", "normal", "depth"),
}
FACE_SIZE: int = Crop.model_fields["size"].default
RUNS = (*MODALITIES, *FUSIONS)
FEW_SUBJECTS = 50  # below it validation takes a larger share, or it would be a handful
IGNORED = """\
# what the stages write; metrics are small and kept in git
.psface/
/data/*
!/data/*.dvc
!/data/.gitignore
/runs/*/train/
/runs/*/evaluate/*
/runs/report/*
!/runs/*/evaluate/metrics.json
!/runs/report/comparison.json
"""
TEMPLATES = ("dvc.yaml", "params.yaml", "README.md")
DVC_IGNORED = "__pycache__\n*.pyc\n.psface\n.venv\n"


@dataclass(frozen=True)
class Choices:
    """What the files of a workspace depend on.

    Attributes
    ----------
    name : str
        Of the workspace.
    source : str
        The reader.
    sessions, subjects : int
        How many were found.
    flashes : str
        How many frames a session has.
    uncalibrated : bool
        Whether sessions of unknown lights are taken.
    attributes : sequence of str
        Those that can be learnt.
    trained : str
        Folder of recognisers that were trained elsewhere, relative to the workspace; "" to train.
    size : int
        Pixels of a face.
    runs : sequence of str
        What is evaluated.
    notes : sequence of str
        What is missing, without full stops.
    git : bool
        Whether the workspace lies in a git repository.
    ignored : str
        Lines for `.dvcignore`: what DVC must not read of the data set.
    """

    name: str
    source: str
    sessions: int
    subjects: int
    flashes: str
    attributes: Sequence[str]
    uncalibrated: bool = False
    trained: str = ""
    size: int = FACE_SIZE
    runs: Sequence[str] = RUNS
    notes: Sequence[str] = field(default_factory=tuple)
    git: bool = True
    ignored: str = ""


def render(choices: Choices) -> dict[str, str]:
    """Text by file name."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("stages.ingest", "workspace"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shell"] = shlex.quote
    values: dict[str, Any] = {
        **vars(choices),
        "face_size": FACE_SIZE,
        "modalities": MODALITIES,
        "fusions": FUSIONS,
        "balanced": [name for name in Balance.model_fields["attributes"].default if name in choices.attributes],
        "validation": 0.2 if choices.subjects < FEW_SUBJECTS else 0.12,
    }
    files = {name: environment.get_template(f"{name}.j2").render(values) for name in TEMPLATES}
    return {**files, ".gitignore": IGNORED, ".dvcignore": DVC_IGNORED + choices.ignored}
