"""The face at another age, after MTLFace [1]_: the decoder of what the identity conditional module makes of a face.

    identity's map ── conditional module ── up ─── up ─── up ─── up ── residual, added to the face
    backbone's maps ─────────────────────────┴──────┴──────┴──────┘

Faces are those that the recogniser sees: one modality, or several as channels side by side, which then age together.
What is 0 in all channels lies outside the face and stays 0. Normals stay unit vectors that face the camera.

References
----------
.. [1] Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021.
   arXiv:2103.01520
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.age import GROUPS
from models.conditional import IdentityConditional
from models.recogniser import Decomposed, Recogniser, stacked
from models.registry import restored

SPREAD = 0.01  # standard deviation of the first weights
FACING = 0.05  # least n_z of an aged normal before it is made unit


class Up(nn.Module):
    """Features brought to the sides of a skip, joined with it, and two pre-activated pairs of convolutions beside
    shortcuts."""

    def __init__(self, channels_in: int, skip: int, channels: int) -> None:
        super().__init__()
        self.first = _pair(channels_in + skip, channels)
        self.shortcut = nn.Conv2d(channels_in, channels, 1)
        self.second = _pair(channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
        x = self.first(torch.cat([x, skip], dim=1)) + self.shortcut(x)
        return x + self.second(x)  # (B, channels, H, W) of the skip


def _pair(channels_in: int, channels: int) -> nn.Sequential:
    """BN, PReLU and a 3 x 3 convolution, twice."""
    first = [nn.BatchNorm2d(channels_in), nn.PReLU(channels_in), nn.Conv2d(channels_in, channels, 3, padding=1)]
    second = [nn.BatchNorm2d(channels), nn.PReLU(channels), nn.Conv2d(channels, channels, 3, padding=1)]
    return nn.Sequential(*first, *second)


class Generator(nn.Module):
    """Faces, what a recogniser sees in them, and groups of ages -> the faces at those ages.

    `make_generator` fits one to a recogniser. At the published size (IR-50, one colour picture) it has 51.8 million
    parameters with the paper's share of filters, 54.0 with that of its code.

    Parameters
    ----------
    channels : dict
        Number of channels of each modality.
    size : int
        Side of a face in pixels.
    wide : int
        Channels of the identity's map.
    levels : sequence of int
        Channels of the backbone's other maps, coarse to fine (`models.recogniser.Decomposed`).
    groups, filters, shared, condition
        As of `models.conditional.IdentityConditional`.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        size: int,
        wide: int,
        levels: Sequence[int],
        *,
        groups: int = GROUPS,
        filters: int = 128,
        shared: float = 1 / 8,
        condition: str = "masks",
    ) -> None:
        super().__init__()
        if not levels:
            raise ValueError("expected at least one map of the backbone between the face and the identity's map")
        self.channels, self.size = dict(channels), size
        self.conditional = IdentityConditional(wide, groups=groups, filters=filters, shared=shared, condition=condition)
        count = sum(channels.values())
        before, after = [wide, *levels], [*levels, max(levels[-1] // 2, 1)]
        self.ups = nn.ModuleList(Up(*sizes) for sizes in zip(before, [*levels, count], after, strict=True))
        self.last = nn.Conv2d(after[-1], count, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=SPREAD)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, inputs: Mapping[str, Tensor], seen: Decomposed, group: Tensor) -> dict[str, Tensor]:
        """Faces (B, channels, size, size) by modality, what `Recogniser.decompose` gives of them, groups (B,) int64
        -> faces alike."""
        faces = stacked(inputs, self.channels, self.size)
        x = self.conditional(seen.identity, group)
        for up, skip in zip(self.ups, [*seen.levels, faces], strict=True):
            x = up(x, skip)
        aged = faces + self.last(x)
        parts = aged.split(list(self.channels.values()), dim=1)
        return {name: finished(part, inputs[name], name) for name, part in zip(self.channels, parts, strict=True)}


def finished(aged: Tensor, face: Tensor, modality: str) -> Tensor:
    """What a generator may give: 0 outside the face (B, C, H, W), and of normals unit vectors with n_z > 0."""
    if modality == "normal":
        aged = aged.to(torch.promote_types(aged.dtype, torch.float32))
        aged = F.normalize(torch.cat([aged[:, :2], aged[:, 2:].clamp(min=FACING)], dim=1), dim=1)
    return aged * (face != 0).any(dim=1, keepdim=True)


def generator_arguments(recogniser: Recogniser, **changes: Any) -> dict[str, Any]:
    """The arguments of a generator that goes with a recogniser, for its contract; ``changes`` are added."""
    shapes = copy.deepcopy(recogniser).to("meta").eval()  # the sizes alone are asked for
    faces = {
        name: torch.empty(1, count, recogniser.size, recogniser.size, device="meta")
        for name, count in recogniser.channels.items()
    }
    seen = shapes.decompose(faces)
    levels = [level.shape[1] for level in seen.levels]
    sizes = {"channels": dict(recogniser.channels), "size": recogniser.size, "wide": recogniser.shape[0]}
    return {**sizes, "levels": levels, **changes}


def make_generator(recogniser: Recogniser, **changes: Any) -> Generator:
    """A generator that goes with a recogniser; ``changes`` are `groups`, `filters`, `shared`, `condition`."""
    return Generator(**generator_arguments(recogniser, **changes))


def restore_generator(state: Mapping[str, Tensor], **kwargs: Any) -> Generator:
    """A generator around trained weights.

    Raises
    ------
    ValueError
        The arguments make none, or the weights are not those of it.
    """
    made = restored(Generator, state, **kwargs)
    assert isinstance(made, Generator)
    return made
