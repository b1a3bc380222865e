"""The typed schema of params.yaml: one class a section, checked before any work.

An unknown key, a wrong type or an impossible value ends in one line that names the key, the value and what would be
valid. A section's class documents each of its keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self, TypeVar, get_args

from pydantic import ValidationError, field_validator, model_validator

from pipeline.errors import UserError, nearest
from pipeline.faults import explain, kind_of
from pipeline.params.base import Modality, RunName, Section
from pipeline.params.recognition import ArcFace, Augment, CosFace, Evaluate, Fuse, MagFace, Report, Train, Triplet
from pipeline.params.sessions import Balance, Crop, Deal, Ingest, Photographs, Reconstruct, WearMask
from pipeline.params.simulate import Ages, Effects, Frequencies, Light, Rig, Simulate, Truths, Variation
from pipeline.params.synthesis import Synthesise
from pipeline.yamlfile import read_yaml

__all__ = [
    "Ages", "ArcFace", "Augment", "Balance", "CosFace", "Crop", "Deal", "Effects", "Evaluate", "Frequencies", "Fuse",
    "Ingest", "Light", "MagFace", "Params", "Photographs", "Reconstruct", "Report", "Rig", "Simulate", "Synthesise",
    "Train", "Triplet", "Truths", "Variation", "WearMask", "load", "section",
]  # fmt: skip


DEFAULTS = "defaults"  # the entry of `train:` that only holds the YAML anchor which the others share


class Params(Section):
    """All of params.yaml. A workspace names only the sections of the stages that it has."""

    simulate: Simulate | None = None
    ingest: Ingest | None = None
    wear_mask: WearMask | None = None
    reconstruct: Reconstruct | None = None
    crop: Crop | None = None
    balance: Balance | None = None
    train: dict[RunName, Train] | None = None
    fuse: dict[RunName, Fuse] | None = None
    synthesise: dict[RunName, Synthesise] | None = None
    evaluate: Evaluate | None = None
    report: Report | None = None

    @field_validator("train")
    @classmethod
    def _named_after_their_modality(cls, entries: dict[str, Train] | None) -> dict[str, Train] | None:
        known = list(get_args(Modality))
        for name, entry in (entries or {}).items():
            if entry.modalities is None and name not in (*known, DEFAULTS):
                raise ValueError(
                    f"`train.{name}` is no modality and has no `modalities: [...]`; {nearest(name, known)}"
                )
        return entries and {
            name: entry.model_copy(update={"modalities": (name,)}) if name in known and not entry.modalities else entry
            for name, entry in entries.items()
        }

    @model_validator(mode="after")
    def _runs_of_different_names(self) -> Self:
        shared = sorted(set(self.train or ()) & set(self.fuse or ()))
        if shared:
            raise ValueError(f"`train.{shared[0]}` and `fuse.{shared[0]}` would both be runs/{shared[0]}: rename one")
        return self


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
        entries = {key: entry for key, entry in value.items() if key != DEFAULTS}
        if item not in entries:
            raise UserError(f"{path}: `{name}.{item}` is missing; {nearest(item, sorted(entries))}")
        value = entries[item]
    assert isinstance(value, kind)
    return value
