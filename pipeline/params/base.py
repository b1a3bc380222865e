"""What all sections of params.yaml share: their base class, and the types of keys that several have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.maskdesigns import expand

Modality = Literal["albedo", "normal", "depth", "frame", "frames", "colour"]
AttributeName = Literal["spectacles", "facial_hair", "expression", "pose", "gender", "mask"]
TaskName = Literal[AttributeName, "age"]  # what a recogniser tells beside the identity
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Transfer = Literal["linear", "srgb"] | Annotated[float, Field(ge=1, le=4)]  # a tone curve: its name or its gamma
Precision = Annotated[  # 32 without quotes is a number in YAML
    Literal["auto", "bf16", "32"], BeforeValidator(lambda value: str(value) if type(value) is int else value)
]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what all generators take


def known_designs(designs: tuple[str, ...]) -> tuple[str, ...]:
    """Names of designs of masks as they are, if all of them are such."""
    expand(designs)
    return designs


class Section(BaseModel):
    """A block of params.yaml; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)
