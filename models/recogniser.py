"""The recogniser: features, their decomposition into attributes and identity, and the heads.

The thesis behind this project put an iResNet-18 in front of five attention modules in series (spectacles, facial hair,
expression, pose, gender) and read the identity off the last remainder. Here backbone, attributes and their order are
chosen, and several modalities may be stacked as channels of one network.

An attribute may also be read beside the embedding, off the same features after the dropout, and nothing is taken out
for it: so does multi-task ArcFace [1]_ tell whether a mask is worn, at the cost of one small linear layer.

References
----------
.. [1] D. Montero, M. Nieto, P. Leskovsky, N. Aginako, "Boosting masked face recognition with multi-task ArcFace", 2021.
   arXiv:2104.09874
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from models.age import AGE, AGE_GROUP, GROUPS, AgeHead
from models.attention import Decomposition
from models.backbones import BACKBONES, levels_of
from models.heads import AttributeHead, BesideHead, EmbeddingHead
from models.iresnet import conv
from models.registry import register


@dataclass
class Recognition:
    """What a network says of a batch.

    Attributes
    ----------
    embedding : Tensor (B, D)
        The identity, not normalised: its direction is compared, its norm is MagFace's quality.
    logits : dict of Tensor (B, classes)
        By attribute; the classes of `age` are its years, and `age_group` stands beside it.
    features : dict of Tensor (B, C)
        By attribute: the features behind the logits, for fusion; pooled, unless read beside the embedding.
    gates : Tensor (B, modalities), optional
        How far a gated fusion trusts each modality; rows of sum 1.
    identity : Tensor (B, C, h, w), optional
        The map that the embedding is made of, for the cross-age discriminator.
    """

    embedding: Tensor
    logits: dict[str, Tensor]
    features: dict[str, Tensor] = field(default_factory=dict)
    gates: Tensor | None = None
    identity: Tensor | None = None


@dataclass
class Decomposed:
    """What a network sees in a batch before its heads say anything: maps of the backbone, and their decomposition.

    Attributes
    ----------
    levels : tuple of Tensor (B, C_i, h_i, w_i)
        The backbone's maps between the faces and the last, coarse to fine, the deepest of each size.
    parts : dict of Tensor (B, C, h, w)
        By attribute.
    identity : Tensor (B, C, h, w)
        What remains of them all.
    """

    levels: tuple[Tensor, ...]
    parts: dict[str, Tensor]
    identity: Tensor


class Recogniser(nn.Module):
    """A backbone, attention decomposition, and heads for the identity and each attribute.

    ``create_model("iresnet18", ...)`` makes one on that backbone.

    Parameters
    ----------
    backbone : str
        A name of `models.backbones.BACKBONES`.
    channels : dict
        Number of channels of each modality that the network sees; several are stacked in this order.
    size : int
        Side of the input in pixels.
    attributes : dict
        Number of classes by attribute; their order is that in which they are taken out of the features. `age` has 101,
        one a year, and a head of its own (`models.age`). What has 0 is taken out and read by no head.
    beside : sequence of str
        Those attributes that are read beside the embedding instead.
    width : int
        Channels of the first of the four stages; 64 is the published network.
    strides : tuple of int
        Stride of each stage.
    activation : str
        ``"prelu"`` or ``"relu"``.
    attention : str
        That of `models.attention.Decomposition`.
    dimension : int
        Size of the embedding.
    dropout : float
        Share of the features dropped in front of the embedding while training.
    age_groups : int
        Into how many groups the ages are split (`models.age.BOUNDS`), where age is an attribute.
    """

    def __init__(
        self,
        backbone: str,
        channels: Mapping[str, int],
        size: int,
        attributes: Mapping[str, int],
        *,
        width: int = 64,
        strides: tuple[int, ...] = (2, 2, 2, 2),
        activation: str = "prelu",
        attention: str = "mean",
        dimension: int = 256,
        dropout: float = 0.4,
        age_groups: int = GROUPS,
        beside: Sequence[str] = (),
    ) -> None:
        super().__init__()
        unknown = sorted(set(beside) - (set(attributes) - {AGE}))
        if unknown:
            raise ValueError(f"expected to read known attributes beside the embedding, got {', '.join(unknown)}")
        if not channels:
            raise ValueError("expected at least one modality, got none")
        self.channels, self.size, self.dimension = dict(channels), size, dimension
        make = BACKBONES[backbone]
        self.backbone = make(sum(channels.values()), width, strides=tuple(strides), activation=activation)
        wide = min(self.backbone.out_channels, 8 * width)
        self.neck = _neck(self.backbone.out_channels, wide)
        side = -(-size // self.backbone.reduction)
        self.shape = wide, side, side
        self.beside = tuple(beside)
        self.decomposition = Decomposition(wide, [name for name in attributes if name not in beside], attention)
        self.heads = nn.ModuleDict(
            {
                name: _head(name, classes, self.shape, name in beside, age_groups)
                for name, classes in attributes.items()
                if classes
            }
        )
        self.embedding = EmbeddingHead(wide, side * side, dimension, dropout)

    def forward(self, inputs: Mapping[str, Tensor]) -> Recognition:
        """Faces by modality, (B, channels, size, size) each -> what they say."""
        x = stacked(inputs, self.channels, self.size)
        parts, identity = self.decomposition(self.neck(self.backbone(x)))
        flat = self.embedding.flat(identity)
        said = {name: head(flat if name in self.beside else parts[name]) for name, head in self.heads.items()}
        logits = {name: each for name, (each, _) in said.items()}
        if AGE in logits:
            logits[AGE_GROUP] = self.ages_head.group(logits[AGE])
        return Recognition(
            embedding=self.embedding.read(flat),
            logits=logits,
            features={name: pooled for name, (_, pooled) in said.items()},
            identity=identity,
        )

    def decompose(self, inputs: Mapping[str, Tensor]) -> Decomposed:
        """Faces by modality, as of `forward` -> maps, for whoever makes new faces of them (`models.generator`)."""
        levels = levels_of(self.backbone, stacked(inputs, self.channels, self.size))
        parts, identity = self.decomposition(self.neck(levels[0]))
        return Decomposed(levels[1:], parts, identity)

    def ages(self, seen: Decomposed) -> tuple[Tensor, Tensor]:
        """Logits of the years (B, 101) and of the groups (B, G) of decomposed faces."""
        head = self.ages_head
        years, _ = head(seen.parts[AGE])
        return years, head.group(years)

    @property
    def ages_head(self) -> AgeHead:
        """What tells the age, where it is an attribute."""
        head = self.heads[AGE]
        assert isinstance(head, AgeHead)
        return head


def stacked(inputs: Mapping[str, Tensor], channels: Mapping[str, int], size: int) -> Tensor:
    """The modalities that ``channels`` names, as channels side by side in its order, (B, sum of channels, size, size).

    Raises
    ------
    ValueError
        One is missing, or has other channels or another size.
    """
    missing = [name for name in channels if name not in inputs]
    if missing:
        seen = " with ".join(channels)
        raise ValueError(f"this network sees {seen}, and got {', '.join(inputs) or 'nothing'}")
    for name, count in channels.items():
        x, expected = inputs[name], (count, size, size)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ValueError(f"{name}: expected faces of shape (B, {count}, {size}, {size}), got {tuple(x.shape)}")
    if len(channels) == 1:
        return inputs[next(iter(channels))]
    return torch.cat([inputs[name] for name in channels], dim=1)


def _head(name: str, classes: int, shape: tuple[int, int, int], beside: bool, age_groups: int) -> nn.Module:
    """What reads one attribute, off maps of a shape (C, h, w) or beside the embedding."""
    channels, height, width = shape
    if name == AGE:
        return AgeHead(channels, height * width, hidden=channels, groups=age_groups)
    return BesideHead(channels * height * width, classes) if beside else AttributeHead(channels, classes)


def _neck(channels_in: int, channels: int) -> nn.Module:
    """A bottleneck network's maps have four times the channels of the others: an attention module for each attribute on
    them would have 55 million parameters."""
    if channels_in == channels:
        return nn.Identity()
    return nn.Sequential(conv(channels_in, channels, 1), nn.BatchNorm2d(channels))


for _name in BACKBONES:
    register(_name)(partial(Recogniser, _name))
