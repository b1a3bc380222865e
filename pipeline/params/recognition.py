"""`train:`, `fuse:`, `evaluate:` and `report:` in params.yaml: recognisers and what is asked of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from pipeline.params.base import (
    AttributeName,
    Count,
    Modality,
    NonNegative,
    Positive,
    Precision,
    RunName,
    Section,
    Seed,
    Share,
    TaskName,
)

Norm = Annotated[float, Field(gt=0, le=1e6)]  # of an embedding; its fourth power is no infinity


class MagFace(Section):
    """MagFace's constants (Meng et al. 2021): norms in [l_a, u_a], margins in [l_m, u_m], scale s, weight lambda_g."""

    loss: Literal["magface"] = "magface"
    scale: Positive = 64.0
    l_a: Norm = 10.0
    u_a: Norm = 110.0
    l_m: NonNegative = 0.45
    u_m: NonNegative = 0.8
    lambda_g: NonNegative = 35.0

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.u_a <= self.l_a:
            raise ValueError(f"u_a = {self.u_a} must be above l_a = {self.l_a}")
        if self.u_m < self.l_m:
            raise ValueError(f"u_m = {self.u_m} must not be below l_m = {self.l_m}")
        bound = self.lambda_bound
        if self.lambda_g < bound:
            raise ValueError(f"lambda_g = {self.lambda_g} is below its bound; the nearest valid value is {bound:.4g}")
        return self

    @property
    def lambda_bound(self) -> float:
        """The least lambda_g for which the loss has one optimum: s K u_a^2 l_a^2 / (u_a^2 - l_a^2)."""
        slope = (self.u_m - self.l_m) / (self.u_a - self.l_a)
        return self.scale * slope * self.u_a**2 * self.l_a**2 / (self.u_a**2 - self.l_a**2)


class ArcFace(Section):
    """ArcFace's constants (Deng et al. 2019): scale s, and the margin in radians."""

    loss: Literal["arcface"]
    scale: Positive = 64.0
    margin: Annotated[float, Field(ge=0, lt=1.6)] = 0.5


class CosFace(Section):
    """CosFace's constants (Wang et al. 2018): scale s, and the margin of the cosine."""

    loss: Literal["cosface"]
    scale: Positive = 64.0
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.35


class Triplet(Section):
    """Triplets of unit embeddings: which of them a batch gives, and the margin between their distances."""

    loss: Literal["triplet"]
    margin: Annotated[float, Field(gt=0, lt=2)] = 0.2
    miner: Literal["all", "semihard", "hard", "batch_hard"] = "semihard"


def _named(value: Any) -> str:
    """The `loss` of an `identity:`; MagFace where it names none."""
    return str(value.get("loss", "magface") if isinstance(value, dict) else getattr(value, "loss", "magface"))


Identity = Annotated[
    Annotated[MagFace, Tag("magface")]
    | Annotated[ArcFace, Tag("arcface")]
    | Annotated[CosFace, Tag("cosface")]
    | Annotated[Triplet, Tag("triplet")],
    Discriminator(_named),
]


def _distinct(modalities: tuple[Modality, ...] | None) -> tuple[Modality, ...] | None:
    if modalities is not None and len(set(modalities)) < len(modalities):
        raise ValueError("each modality once")
    return modalities


class Augment(Section):
    """How far training faces are varied (docs/train.md); each amount is the end of a range around no change."""

    mirror: Share = 0.5
    rotate: Annotated[float, Field(ge=0, le=45)] = 5.0
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    tilt: Annotated[float, Field(ge=0, le=30)] = 2.0
    light: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    gain: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    patches: Share = 0.0
    cut: Share = 0.0
    turn: bool = True  # normals along with the pixels; false only to see what that is worth


class Adversary(Section):
    """How the adversaries learn, and how their coefficients rise (docs/train.md)."""

    rise: Share = 0.3  # share of training over which the coefficients rise from 0
    steps: Count = 6  # of theirs for each of the network's
    lr: Positive = 0.001


AttributeWeights = dict[TaskName, Positive]
AttributeCoefficients = dict[TaskName, NonNegative]
COEFFICIENTS: AttributeCoefficients = {"spectacles": 1.0, "facial_hair": 1.0, "expression": 1.0}  # what people change
ERASED: tuple[TaskName, ...] = ("spectacles", "facial_hair", "expression")
ATTRIBUTE_WEIGHTS: AttributeWeights = {
    "spectacles": 1.0, "facial_hair": 1.0, "expression": 1.0, "pose": 1.0, "gender": 1.0,
}  # fmt: skip
SHORT_TRAINING = MagFace(scale=32, l_m=0.2, u_m=0.45, lambda_g=10)  # of a few hundred faces: docs/train.md


class Train(Section):
    """One recogniser (docs/train.md)."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)] | None = None  # that of the entry's name
    seed: Seed = 7
    epochs: Count = 24
    batch: Annotated[int, Field(ge=4)] = 32
    sampler: Literal["shuffle", "identities", "pk", "attributes", "masks"] = "shuffle"
    per_subject: Annotated[int, Field(ge=2)] = 4  # sessions of each subject in a batch of pk
    weighted: bool = True  # by the frequency of classes and of subjects
    lr: Positive = 0.002  # the highest, after the warm-up
    weight_decay: NonNegative = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of all steps
    patience: Count = 12  # epochs without a gain on validation
    precision: Precision = "auto"
    backbone: Literal["iresnet18", "iresnet50", "resnet18", "ir50"] = "iresnet18"
    width: Annotated[int, Field(ge=8, le=256)] = 32
    strides: Annotated[tuple[Literal[1, 2], ...], Field(min_length=4, max_length=4)] = (2, 2, 2, 2)
    activation: Literal["prelu", "relu"] = "prelu"
    attention: Literal["mean", "channel", "spatial", "cbam", "none"] = "mean"
    dimension: Annotated[int, Field(ge=16, le=2048)] = 512  # of the embedding
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    vocabulary: Literal["binary", "photoface"] = "binary"
    attributes: AttributeWeights = ATTRIBUTE_WEIGHTS  # in the order in which they are taken out; weight of each loss
    task_weights: Literal["fixed", "uncertainty"] = "fixed"
    beside: tuple[AttributeName, ...] = ()  # of them, those that are read beside the embedding, and not taken out
    attribute_loss: Literal["focal", "cross_entropy", "log_cross_entropy"] = "focal"
    focus: NonNegative = 1.0  # gamma of the commonest class
    adversaries: AttributeCoefficients = COEFFICIENTS  # of their reversed gradients
    adversary: Adversary = Adversary()
    erase: tuple[TaskName, ...] = ERASED  # out of the embedding, when it is trained
    age_groups: Literal[4, 5, 6, 7, 8] = 7  # into which ages are split (docs/age.md)
    cross_age: NonNegative = 0.0  # weight of MTLFace's cross-age discriminator; 0.002 as published
    identity: Identity = SHORT_TRAINING
    augment: Augment = Augment()
    start: RunName | None = None  # a trained run of the same network to go on from
    synthetic: Literal["none", "all", "selective"] = "none"  # made faces among the training ones (docs/age.md)

    @field_validator("modalities")
    @classmethod
    def _distinct(cls, modalities: tuple[Modality, ...] | None) -> tuple[Modality, ...] | None:
        return _distinct(modalities)

    @model_validator(mode="after")
    def _starts_in_range(self) -> Self:
        if not isinstance(self.identity, MagFace):
            return self
        start, least, most = self.dimension**0.5, self.identity.l_a, self.identity.u_a
        if not least < start < most:
            raise ValueError(
                f"embeddings of {self.dimension} numbers start with a norm of {start:.3g}, outside MagFace's range of "
                f"{least:g} to {most:g}: make train.dimension at least {int(least**2) + 1}"
            )
        return self

    @model_validator(mode="after")
    def _knows_ages(self) -> Self:
        if self.cross_age and "age" not in self.attributes:
            raise ValueError("cross_age reads ages that `attributes` does not ask for: add age to attributes")
        return self

    @model_validator(mode="after")
    def _beside_which_are_known(self) -> Self:
        unknown = [name for name in self.beside if name not in self.attributes]
        if unknown:
            raise ValueError(f"beside names {unknown[0]}, which is none of `attributes`: give it a weight there")
        return self

    @model_validator(mode="after")
    def _against_what_is_known(self) -> Self:
        """Those of the default stay without effect where `attributes` leaves them out, as in `attributes: {}`."""
        for key, names, known in (
            ("erase", self.erase, self.labelled),
            ("adversaries", self.adversaries, self.attributes),
        ):
            unknown = [name for name in names if name not in known and name not in ERASED]
            if unknown:
                raise ValueError(f"{key} names {unknown[0]}, which is none of `attributes`: give it a weight there")
        return self

    @property
    def labelled(self) -> tuple[TaskName, ...]:
        """What labels are read of: for a loss, or for the sampler."""
        return tuple(dict.fromkeys([*self.attributes, *(("mask",) if self.sampler == "masks" else ())]))

    @model_validator(mode="after")
    def _batches(self) -> Self:
        if self.sampler == "pk" and (self.batch % self.per_subject or self.batch < 2 * self.per_subject):
            raise ValueError(
                f"sampler pk: a batch of {self.batch} is not two or more subjects of {self.per_subject} sessions each: "
                "change batch or per_subject"
            )
        if isinstance(self.identity, Triplet) and self.sampler != "pk":
            raise ValueError("identity.loss triplet needs several sessions of a subject in each batch: set sampler: pk")
        return self


FUSED_NORM = 16.0  # with which a fusion's embeddings start (models/fusion.py)


class Finetune(Section):
    """Training of the whole fusion, from the best of frozen branches on (docs/fuse.md)."""

    epochs: Count = 4  # at most
    batch: Annotated[int, Field(ge=4)] = 32
    lr: Positive = 0.0001


Candidate = Literal["concatenation", "gains", "layer", "projection", "gate", "finetune"]
FROZEN: tuple[Candidate, ...] = ("concatenation", "gains", "layer", "projection", "gate")  # seconds each


class Fuse(Section):
    """One fusion of trained modalities (docs/fuse.md)."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=2, max_length=3)]
    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1)] = FROZEN  # of which validation chooses
    dimension: Annotated[int, Field(ge=16, le=2048)] = 512  # of the projection
    seed: Seed = 7
    views: Count = 4
    epochs: Count = 20
    batch: Annotated[int, Field(ge=4)] = 128
    lr: Positive = 0.001
    weight_decay: NonNegative = 0.05
    focus: NonNegative = 1.0
    identity: MagFace = SHORT_TRAINING
    augment: Augment = Augment()
    finetune: Finetune = Finetune()

    @field_validator("modalities")
    @classmethod
    def _distinct(cls, modalities: tuple[Modality, ...]) -> tuple[Modality, ...] | None:
        return _distinct(modalities)

    @model_validator(mode="after")
    def _starts_in_range(self) -> Self:
        least, most = self.identity.l_a, self.identity.u_a
        if not least < FUSED_NORM < most:
            raise ValueError(
                f"fused embeddings start with a norm of {FUSED_NORM:g}, outside MagFace's range of {least:g} to "
                f"{most:g}: put identity.l_a below and identity.u_a above it"
            )
        return self


class Evaluate(Section):
    """Operating points and intervals (docs/evaluate.md).

    `fars`: false accept rates at which the TAR is quoted, where there are pairs enough. `resamples`: how often the
    subjects are resampled for an interval.
    """

    seed: Seed = 7
    resamples: Annotated[int, Field(ge=100)] = 1000
    fars: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.1, 0.01, 0.001, 0.0001)


class Report(Section):
    """What the page shows, and the resamples of its paired comparison (docs/report.md).

    `examples`: sample sessions shown with their frames and maps.
    """

    seed: Seed = 7
    resamples: Annotated[int, Field(ge=100)] = 1000
    examples: Count = 6
