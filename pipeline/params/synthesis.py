"""`synthesise:` in params.yaml: generators that make faces older and younger."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.base import Count, NonNegative, Positive, Precision, RunName, Section, Seed
from pipeline.params.recognition import Augment

MIRRORED = Augment(rotate=0, zoom=0, shift=0, tilt=0, light=0)  # as published


class Synthesise(Section):
    """One generator of faces at other ages (docs/age.md)."""

    recogniser: RunName  # a run of `train:` that tells the age; it sees the faces and does not learn
    seed: Seed = 7
    steps: Count = 1200
    batch: Annotated[int, Field(ge=2)] = 16
    lr: Positive = 0.0001  # of both players
    precision: Precision = "auto"
    condition: Literal["masks", "onehot"] = "masks"
    filters: Annotated[int, Field(ge=1, le=512)] = 32  # of each group of ages; 128 as published
    shared: Annotated[float, Field(ge=0, lt=1)] = 0.125  # of them, with each neighbour
    width: Annotated[int, Field(ge=8, le=256)] = 32  # of the discriminator; 64 as published
    adversarial: NonNegative = 75.0  # weights of the losses
    identity: NonNegative = 0.002
    age: NonNegative = 10.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.995  # share of the old in the mean of the generator's states
    augment: Augment = MIRRORED
