"""`ingest:`, `reconstruct:`, `crop:` and `balance:` in params.yaml: from frames to the faces of each split."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.maskdesigns import TYPES
from pipeline.params.base import AttributeName, Count, Positive, Section, Seed, Share, Transfer, known_designs


class Deal(Section):
    """How many flashes of one subject are dealt into sessions (docs/ingest.md): Extended Yale B.

    ``flashes`` a session, none more than ``cap`` degrees off the axis; as many sessions as leave every one with a
    condition of at most ``max_condition``.
    """

    flashes: Annotated[int, Field(ge=3)] = 4
    cap: Annotated[float, Field(gt=0, lt=90)] = 45.0
    max_condition: Annotated[float, Field(gt=1)] = 6.0
    seed: Seed = 7


class Photographs(Section):
    """How single photographs are labelled: scaf by a ``text`` below the root, others by names and texts of theirs."""

    annotations: Literal["scaf", "ecaf", "fgnet", "mfr2"] = "scaf"
    text: str = "annotations.txt"


class Ingest(Section):
    """Which data set is read and what is kept of it (docs/ingest.md).

    Sessions whose quality or pose is not among those named, or that are occluded while ``occluded`` is false, are
    rejected; an unknown label never is. With ``uncalibrated`` a session whose lights stand nowhere is kept, and they
    are estimated from its frames (docs/uncalibrated.md): sources photoface and folder. ``transfer`` is the tone curve
    of the frames: linear, srgb, or a gamma such as 2.2; a rig.json that gives its camera's goes before it.
    ``photographs`` is of that source alone.
    """

    source: Literal["photoface", "yaleb", "folder", "photographs"]
    root: str
    quality: tuple[Literal["ok", "blur", "dark"], ...] = ("ok",)
    poses: tuple[Literal[1, 2, 3, 4, 5], ...] = (1, 2, 3)
    occluded: bool = False
    uncalibrated: bool = False
    transfer: Transfer = "linear"
    deal: Deal = Deal()
    photographs: Photographs = Photographs()


class Reconstruct(Section):
    """From frames to maps (docs/reconstruct.md)."""

    solver: Literal["auto", "weighted", "thresholding", "marching"] = "auto"  # auto: by the number of flashes
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
    face takes; `seed` draws the flash of the modality `frame`, which `colour` packs in colour too.
    """

    seed: Seed
    size: Annotated[int, Field(ge=32, le=1024)] = 112
    confidence: Share = 0.9
    border: Annotated[float, Field(ge=0, le=1)] = 0.3
    min_face: Annotated[float, Field(ge=0.02, le=1)] = 0.2
    colour: bool = False


class WearMask(Section):
    """Masks painted on sessions before they are reconstructed (docs/masks.md).

    ``share`` of the sessions are masked, drawn by ``seed``; with ``twins`` the session without its mask stays beside
    it.
    """

    seed: Seed
    share: Share = 0.5
    designs: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(known_designs)] = TYPES
    twins: bool = False


class Balance(Section):
    """Splits, and undersampling of the training split (docs/balance.md).

    ``validation`` and ``test`` are shares of the subjects; training takes the rest. ``minimum_share`` is that of the
    rarer class of each of ``attributes`` among the training sessions that are kept, at most ``cap`` and at least
    ``floor`` a subject; ``time_limit`` is in seconds a program. Masked sessions of a design among
    ``unseen_masks`` are for test alone, and test has no others (docs/masks.md). Of a training subject the sessions of
    ``age_span`` years are taken, where it is given (docs/age.md).
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
    unseen_masks: Annotated[tuple[str, ...], AfterValidator(known_designs)] = ()
    age_span: Positive | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.validation + self.test > 1 + 1e-9:
            raise ValueError(f"validation + test = {self.validation + self.test:g}; they must leave training 0 or more")
        if self.floor > self.cap:
            raise ValueError(f"floor = {self.floor} is above cap = {self.cap}")
        return self
