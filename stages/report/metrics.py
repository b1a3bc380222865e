"""What the page needs of metrics.json and validation.json, so that a damaged one is named before it is drawn."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Loose(BaseModel):
    """Other keys may stand beside those that are needed."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Rate(Loose):
    """A rate with its interval, where the subjects suffice for one."""

    value: float
    low: float | None
    high: float | None


class Absent(Loose):
    """Why there is no rate."""

    absent: str


class Pairs(Loose):
    """Rates over all pairs by name."""

    __pydantic_extra__: dict[str, Rate | Absent]
    auc: Rate
    folds: dict[str, Any] = {}


class Recognition(Loose):
    """Verification, and by protocol the ranks of identification."""

    verification: Pairs
    identification: dict[str, dict[str, Rate | Absent] | Absent]


class AttributeScores(Loose):
    """An attribute's rates, or why it has none."""

    auroc: Rate | None = None
    balanced_accuracy: Rate | None = None
    f1: Rate | None = None
    absent: str | None = None


class Named(Loose):
    """What the run was."""

    name: str
    modalities: str


class Sessions(Loose):
    """How many there are."""

    sessions: int


class Counts(Loose):
    """Of the test subjects."""

    subjects: int
    sessions: int
    without_face: int
    genuine: int
    impostor: int
    attributes: dict[str, dict[str, Sessions]]


class Metrics(Recognition):
    """All of metrics.json."""

    run: Named
    attributes: dict[str, AttributeScores]
    raw_pixels: Recognition
    macro: Recognition | None = None
    invariance: dict[str, dict[str, Any]] = {}
    quality: dict[str, Any] = {}
    differentials: dict[str, Any] = {}
    counts: Counts


class Validation(Loose):
    """What training says of the state that it kept."""

    auc: float
