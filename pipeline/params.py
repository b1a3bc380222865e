"""The typed schema of params.yaml: one class a section, checked before any work.

An unknown key, a wrong type or an impossible value ends in one line that names the key, the value and what would be
valid. A section's class documents each of its keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import UserError, nearest
from pipeline.faults import explain, kind_of
from pipeline.lights import from_angles
from pipeline.yamlfile import read_yaml

Modality = Literal["albedo", "normal", "depth", "frame", "frames"]
AttributeName = Literal["spectacles", "facial_hair", "expression", "pose", "gender"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what all generators take


def _clear_of_the_head(distance: float) -> float:
    if 0 < distance < NEAREST:
        raise ValueError(f"must be 0 (infinitely far) or at least {NEAREST:g} mm, outside the head and shoulders")
    return distance


NEAREST = 400.0  # mm from the middle of the head
Distance = Annotated[float, Field(ge=0), AfterValidator(_clear_of_the_head)]


class Section(BaseModel):
    """A block of params.yaml; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class Light(Section):
    """A flash of a rig: its direction from the axis (zenith) and around it (azimuth), in degrees."""

    zenith: Annotated[float, Field(ge=0, lt=90)]
    azimuth: Annotated[float, Field(ge=-360, le=360)]
    strength: Positive = 1.0


class Rig(Section):
    """A set of at least three flashes that do not lie in one plane through the subject."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    lights: tuple[Light, ...]

    @field_validator("lights")
    @classmethod
    def _solvable(cls, lights: tuple[Light, ...]) -> tuple[Light, ...]:
        if len(lights) < 3:
            raise ValueError(f"{len(lights)} lights; photometric stereo needs at least 3")
        angles = [x.zenith for x in lights], [x.azimuth for x in lights]
        if np.linalg.svd(from_angles(*angles), compute_uv=False)[-1] < 0.05:
            raise ValueError("the lights are coplanar; move one of them out of the plane of the others")
        return lights


class Frequencies(Section):
    """How often each label is drawn, as relative weights a class; the defaults are the counts of Photoface's own
    metadata: 441 subjects for the gender, which is a subject's, and 3,159 sessions for the rest. Names are Photoface's;
    an occlusion may name several things (``-hand-other``).
    """

    gender: dict[Literal["female", "male"], NonNegative] = {"male": 369, "female": 72}
    spectacles: dict[Literal["no", "yes"], NonNegative] = {"no": 2311, "yes": 848}
    facial_hair: dict[Literal["none", "stubble", "moustache", "beard", "both"], NonNegative] = {
        "none": 2225, "stubble": 373, "both": 360, "moustache": 190, "beard": 11,
    }  # fmt: skip
    pose: dict[Literal["1", "2", "3", "4", "5"], NonNegative] = {"1": 2658, "2": 364, "3": 101, "4": 20, "5": 16}
    expression: dict[Literal["blankstare", "positive", "negative", "emoOther"], NonNegative] = {
        "blankstare": 2422, "positive": 456, "emoOther": 243, "negative": 38,
    }  # fmt: skip
    quality: dict[Literal["ok", "blur", "dark"], NonNegative] = {"ok": 2977, "blur": 117, "dark": 65}
    occlusion: dict[Literal["", "-hand", "-mobile", "-hair", "-other", "-hand-other"], NonNegative] = {
        "": 3025, "-other": 59, "-hand": 31, "-mobile": 26, "-hair": 16, "-hand-other": 2,
    }  # fmt: skip

    @field_validator("*")
    @classmethod
    def _drawable(cls, weights: dict[str, float]) -> dict[str, float]:
        if sum(weights.values()) <= 0:
            raise ValueError("no class has a weight above 0")
        return weights


class Variation(Section):
    """How much the subjects differ, and how much one subject's sessions do: the difficulty of the data set.

    ``shape`` and ``asymmetry`` are standard deviations of the weights of local changes; ``pitch`` and ``roll`` of the
    head in degrees (yaw follows from the pose's class); ``expression`` scales all facial actions; ``skin`` is the
    relative jitter of a subject's skin, hair and haircut from session to session.
    """

    shape: NonNegative = 0.25
    asymmetry: NonNegative = 0.07
    pitch: NonNegative = 9.0
    roll: NonNegative = 3.0
    expression: NonNegative = 1.0
    skin: NonNegative = 0.16


class Effects(Section):
    """What separates a photograph from the textbook's Lambertian image; each is switched off alone by false or 0."""

    cast_shadows: bool = True
    attached_shadows: bool = True
    specular: NonNegative = 0.4  # scale of the skin's, eyes' and lenses' highlights
    ambient: NonNegative = 0.015  # of a white surface
    strobe_gains: NonNegative = 0.03  # standard deviation of each flash's strength
    falloff: Distance = 0.0  # distance of the flashes in mm, for light that falls off; 0: flashes at infinity
    distance: Distance = 2500.0  # of the camera in mm; 0: an orthographic camera
    motion: NonNegative = 0.7  # pixels (of a 256 px frame) that the head drifts between flashes, standard deviation
    noise: NonNegative = 1.0  # scale of the sensor's shot and read noise
    quantise: bool = True  # 8-bit BMP; otherwise float EXR
    light_error: NonNegative = 1.5  # root mean square angle between the recorded and the true direction, degrees


class Simulate(Section):
    """The simulated rig (docs/simulate.md).

    ``sessions`` is a number a subject, or ``photoface`` for the real database's skew. The sessions of a subject take
    the rigs in turn, and the ``ages`` in turn where any are given (years; otherwise a subject has one adult age).
    """

    seed: Seed
    subjects: Count
    sessions: Annotated[int, Field(ge=1)] | Literal["photoface"] = 6
    size: Annotated[int, Field(ge=48, le=4096)] = 256
    rigs: Annotated[tuple[Rig, ...], Field(min_length=1)]
    ages: tuple[Annotated[float, Field(ge=1, le=90)], ...] = ()
    frequencies: Frequencies = Frequencies()
    variation: Variation = Variation()
    effects: Effects = Effects()

    @field_validator("rigs")
    @classmethod
    def _distinct(cls, rigs: tuple[Rig, ...]) -> tuple[Rig, ...]:
        names, flashes = [rig.name for rig in rigs], [len(rig.lights) for rig in rigs]
        if len(set(names)) < len(names):
            raise ValueError(f"two rigs have one name ({', '.join(names)}); give each its own")
        if len(set(flashes)) > 1:
            counts = ", ".join(f"{name} {n}" for name, n in zip(names, flashes, strict=True))
            raise ValueError(f"the rigs have unlike numbers of flashes ({counts}); sessions must agree in their frames")
        return rigs


class Deal(Section):
    """How many flashes of one subject are dealt into sessions (docs/ingest.md): Extended Yale B.

    ``flashes`` a session, none more than ``cap`` degrees off the axis; as many sessions as leave every one with a
    condition of at most ``max_condition``.
    """

    flashes: Annotated[int, Field(ge=3)] = 4
    cap: Annotated[float, Field(gt=0, lt=90)] = 45.0
    max_condition: Annotated[float, Field(gt=1)] = 6.0
    seed: Seed = 7


class Ingest(Section):
    """Which data set is read and what is kept of it (docs/ingest.md).

    Sessions whose quality or pose is not among those named, or that are occluded while ``occluded`` is false, are
    rejected; an unknown label never is.
    """

    source: Literal["photoface", "yaleb", "folder"]
    root: str
    quality: tuple[Literal["ok", "blur", "dark"], ...] = ("ok",)
    poses: tuple[Literal[1, 2, 3, 4, 5], ...] = (1, 2, 3)
    occluded: bool = False
    deal: Deal = Deal()


class Reconstruct(Section):
    """From frames to maps (docs/reconstruct.md)."""

    registration: bool = True  # undo the head's motion between the flashes
    largest_shift: Annotated[float, Field(gt=0, le=0.25)] = 0.05  # of the longer side; beyond it nothing is moved
    ambient: bool = True  # subtract the frame without flash where a session has one
    saturation: Annotated[float, Field(gt=0.5, le=1)] = 0.99  # samples from here on say nothing
    shadow: Annotated[float, Field(ge=0, lt=1)] = 0.1  # of a pixel's brightest sample: below it is shadow
    shadow_weight: Share = 0.6  # of such a sample, where three good ones remain
    mask_level: Annotated[float, Field(gt=0, lt=1)] = 0.03  # brightness that some frame reaches on the face
    slope_floor: Annotated[float, Field(gt=0, lt=1)] = 0.05  # least n_z in integration


class Crop(Section):
    """Faces found and aligned (docs/crop.md).

    `size` is the aligned face's side in pixels; `confidence` the least that a view of the detector must be sure of its
    face; `border` and `min_face` are shares: of the frame's height put around it, of its smaller side that the smallest
    face takes; `seed` draws the flash of the modality `frame`.
    """

    seed: Seed
    size: Annotated[int, Field(ge=32, le=1024)] = 112
    confidence: Share = 0.9
    border: Annotated[float, Field(ge=0, le=1)] = 0.3
    min_face: Annotated[float, Field(ge=0.02, le=1)] = 0.2


class Balance(Section):
    """Splits, and undersampling of the training split (docs/balance.md).

    ``validation`` and ``test`` are shares of the subjects; training takes the rest. ``minimum_share`` is that of the
    rarer class of each of ``attributes`` among the training sessions that are kept, at most ``cap`` and at least
    ``floor`` a subject; ``time_limit`` is in seconds a program.
    """

    seed: Seed
    validation: Share
    test: Share
    method: Literal["milp", "random", "weights", "none"] = "milp"
    minimum_share: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    attributes: tuple[AttributeName, ...] = ("gender", "spectacles", "facial_hair", "expression")
    cap: Count = 20
    floor: Count = 2
    time_limit: Positive = 60.0

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.validation + self.test > 1 + 1e-9:
            raise ValueError(f"validation + test = {self.validation + self.test:g}; they must leave training 0 or more")
        if self.floor > self.cap:
            raise ValueError(f"floor = {self.floor} is above cap = {self.cap}")
        return self


class MagFace(Section):
    """MagFace's constants (Meng et al. 2021): norms in [l_a, u_a], margins in [l_m, u_m], scale s, weight lambda_g."""

    scale: Positive = 64.0
    l_a: Positive = 10.0
    u_a: Positive = 110.0
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


class Augment(Section):
    """How far training faces are varied (docs/train.md); each amount is the end of a range around no change."""

    mirror: Share = 0.5
    rotate: Annotated[float, Field(ge=0, le=45)] = 5.0
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    tilt: Annotated[float, Field(ge=0, le=30)] = 2.0
    light: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    patches: Share = 0.0
    cut: Share = 0.0


AttributeWeights = dict[AttributeName, Positive]
ATTRIBUTE_WEIGHTS: AttributeWeights = {
    "spectacles": 1.0, "facial_hair": 1.0, "expression": 1.0, "pose": 1.0, "gender": 1.0,
}  # fmt: skip
SHORT_TRAINING = MagFace(scale=32, l_m=0.2, u_m=0.45, lambda_g=10)  # of a few hundred faces: docs/train.md


class Train(Section):
    """One modality's recogniser (docs/train.md)."""

    seed: Seed = 7
    epochs: Count = 24
    batch: Annotated[int, Field(ge=4)] = 32
    lr: Positive = 0.002  # the highest, after the warm-up
    weight_decay: NonNegative = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of all steps
    patience: Count = 12  # epochs without a gain on validation
    precision: Literal["auto", "bf16", "32"] = "auto"
    width: Annotated[int, Field(ge=8, le=256)] = 32
    strides: Annotated[tuple[Literal[1, 2], ...], Field(min_length=4, max_length=4)] = (2, 2, 2, 2)
    dimension: Annotated[int, Field(ge=16, le=2048)] = 512  # of the embedding
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    vocabulary: Literal["binary", "photoface"] = "binary"
    attributes: AttributeWeights = ATTRIBUTE_WEIGHTS  # of their losses beside the identity's 1
    focus: NonNegative = 1.0  # gamma of the commonest class
    adversary: NonNegative = 0.1  # of the adversaries' losses, relative to their attributes'
    identity: MagFace = SHORT_TRAINING
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _starts_in_range(self) -> Self:
        start, least, most = self.dimension**0.5, self.identity.l_a, self.identity.u_a
        if not least < start < most:
            raise ValueError(
                f"embeddings of {self.dimension} numbers start with a norm of {start:.3g}, outside MagFace's range of "
                f"{least:g} to {most:g}: make train.dimension at least {int(least**2) + 1}"
            )
        return self


FUSED_NORM = 16.0  # with which a fusion's embeddings start (models/fusion.py)


class Fuse(Section):
    """One fusion of trained modalities (docs/fuse.md)."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=2, max_length=3)]
    seed: Seed = 7
    views: Count = 4
    epochs: Count = 20
    batch: Annotated[int, Field(ge=4)] = 128
    lr: Positive = 0.001
    weight_decay: NonNegative = 0.05
    focus: NonNegative = 1.0
    identity: MagFace = SHORT_TRAINING
    augment: Augment = Augment()

    @field_validator("modalities")
    @classmethod
    def _distinct(cls, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        if len(set(modalities)) < len(modalities):
            raise ValueError("each modality once")
        return modalities

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
    fars: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.01, 0.001)


class Report(Section):
    """What the page shows, and the resamples of its paired comparison (docs/report.md).

    `examples`: sample sessions shown with their frames and maps.
    """

    seed: Seed = 7
    resamples: Annotated[int, Field(ge=100)] = 1000
    examples: Count = 6


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
