"""The typed schema of params.yaml: one class a section, checked before any work.

An unknown key, a wrong type or an impossible value ends in one line that names the key, the value and what would be
valid. A section's class documents each of its keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from pipeline.errors import UserError, nearest
from pipeline.faults import explain, kind_of
from pipeline.params.base import Section
from pipeline.params.recognition import Augment, Evaluate, Fuse, MagFace, Report, Train
from pipeline.params.sessions import Balance, Crop, Deal, Ingest, Reconstruct
from pipeline.params.simulate import Effects, Frequencies, Light, Rig, Simulate, Variation
from pipeline.yamlfile import read_yaml

__all__ = [
    "Augment", "Balance", "Crop", "Deal", "Effects", "Evaluate", "Frequencies", "Fuse", "Ingest", "Light", "MagFace",
    "Params", "Reconstruct", "Report", "Rig", "Simulate", "Train", "TrainByModality", "Variation", "load", "section",
]  # fmt: skip


class TrainByModality(Section):
    """`train.<modality>`; `defaults` only holds the YAML anchor that they share."""

    defaults: Train | None = None
    albedo: Train | None = None
    normal: Train | None = None
    depth: Train | None = None
    frame: Train | None = None
    frames: Train | None = None


class Params(Section):
    """All of params.yaml. A workspace names only the sections of the stages that it has."""

    simulate: Simulate | None = None
    ingest: Ingest | None = None
    reconstruct: Reconstruct | None = None
    crop: Crop | None = None
    balance: Balance | None = None
    train: TrainByModality | None = None
    fuse: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], Fuse] | None = None
    evaluate: Evaluate | None = None
    report: Report | None = None


SectionType = TypeVar("SectionType", bound=Section)


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check params.yaml.

    Raises
    ------
    UserError
        One line that names the file, the key, its value and what is valid.
    """
    values = read_yaml(path)
    if values is None:
        raise UserError(f"{path} is empty: it must hold sections such as `crop:`")
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold sections such as `crop:`, and is {kind_of(values)}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, values, Params)}") from error


def section(path: str | Path, name: str, kind: type[SectionType], item: str | None = None) -> SectionType:
    """One section of params.yaml, checked with all the others; with ``item``, one entry of it (``train.albedo``)."""
    value = getattr(load(path), name)
    if value is None:
        raise UserError(f"{path}: the section `{name}` is missing; `psface {name}` needs it")
    if item is not None:
        entries = value if isinstance(value, dict) else {k: v for k, v in value if k != "defaults" and v is not None}
        if item not in entries:
            raise UserError(f"{path}: `{name}.{item}` is missing; {nearest(item, sorted(entries))}")
        value = entries[item]
    assert isinstance(value, kind)
    return value
