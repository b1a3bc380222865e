"""`simulate:` in params.yaml: rigs, people, how much they vary, and what the camera does to the ideal image."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from pipeline.lights import from_angles
from pipeline.maskdesigns import TYPES
from pipeline.params.base import Count, NonNegative, Positive, Section, Seed, Share, known_designs

NEAREST = 400.0  # mm from the point on the camera's axis near which faces are


def _clear_of_the_head(distance: float) -> float:
    if 0 < distance < NEAREST:
        raise ValueError(f"must be 0 (infinitely far) or at least {NEAREST:g} mm, outside the head and shoulders")
    return distance


Distance = Annotated[float, Field(ge=0), AfterValidator(_clear_of_the_head)]


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


Years = Annotated[float, Field(ge=1, le=90)]


class Ages(Section):
    """A range of ages in years over which a subject's sessions are spread, ``together`` of them within one year."""

    youngest: Years = 5.0
    oldest: Years = 75.0
    together: Count = 2

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.oldest - self.youngest < 1:
            raise ValueError(f"oldest = {self.oldest:g} must be at least a year above youngest = {self.youngest:g}")
        return self


def _list_or_range(value: object) -> str:
    return "range" if isinstance(value, dict | Ages) else "list"


class Truths(Section):
    """What `psface truths` photographs again: so many ``sessions`` of each test subject, at all of ``ages`` (years)."""

    ages: Annotated[tuple[Annotated[int, Field(ge=1, le=90)], ...], Field(min_length=1)] = (8, 25, 45, 65)
    sessions: Count = 2


class Simulate(Section):
    """The simulated rig (docs/simulate.md).

    ``sessions`` is a number a subject, or ``photoface`` for the real database's skew. The sessions of a subject take
    the rigs in turn, and the ``ages`` in turn where any are listed (years), or ages of a range; otherwise a subject has
    one adult age. ``colour`` makes the frames RGB. ``masks`` is the share of the sessions in which a face mask is worn,
    of one of the ``mask_designs``; with ``mask_twins`` each of them is also photographed without it (docs/masks.md).
    """

    seed: Seed
    subjects: Count
    sessions: Annotated[int, Field(ge=1)] | Literal["photoface"] = 6
    size: Annotated[int, Field(ge=48, le=4096)] = 256
    colour: bool = False
    rigs: Annotated[tuple[Rig, ...], Field(min_length=1)]
    ages: Annotated[
        Annotated[tuple[Years, ...], Tag("list")] | Annotated[Ages, Tag("range")], Discriminator(_list_or_range)
    ] = ()
    truths: Truths = Truths()
    frequencies: Frequencies = Frequencies()
    variation: Variation = Variation()
    effects: Effects = Effects()
    masks: Share = 0.0
    mask_designs: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(known_designs)] = TYPES
    mask_twins: bool = False

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
