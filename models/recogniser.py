"""The recogniser: features, their decomposition into attributes and identity, and the heads.

The thesis behind this project put an iResNet-18 in front of five attention modules in series (spectacles, facial hair,
expression, pose, gender) and read the identity off the last remainder; adversaries look at what each step leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from models.attention import Decomposition
from models.heads import AttributeHead, EmbeddingHead
from models.iresnet import IResNet
from models.registry import register
from models.reversal import reverse_gradient

ORDER = ("spectacles", "facial_hair", "expression", "pose", "gender")


@dataclass
class Recognition:
    """What a network says of a batch.

    Attributes
    ----------
    embedding : Tensor (B, D)
        The identity, not normalised: its direction is compared, its norm is MagFace's quality.
    logits, adversary : dict of Tensor (B, classes)
        By attribute; `adversary` is what is still read off the remainders, while training.
    features : dict of Tensor (B, C)
        By attribute: the pooled features behind the logits, for fusion.
    """

    embedding: Tensor
    logits: dict[str, Tensor]
    adversary: dict[str, Tensor] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)


@register("iresnet18")
class Recogniser(nn.Module):
    """iResNet-18, attention decomposition, and heads for the identity and each attribute.

    Parameters
    ----------
    modality : str
        The entry of the input that the network sees.
    channels : int
        Its channels.
    size : int
        Side of the input in pixels.
    attributes : dict
        Number of classes by attribute.
    width : int
        Channels of the first of the four stages; 64 is the published network.
    strides : tuple of int
        Stride of each stage.
    dimension : int
        Size of the embedding.
    dropout : float
        Share of the features dropped in front of the embedding while training.
    """

    def __init__(
        self,
        modality: str,
        channels: int,
        size: int,
        attributes: Mapping[str, int],
        *,
        width: int = 64,
        strides: tuple[int, ...] = (2, 2, 2, 2),
        dimension: int = 256,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        unknown = sorted(set(attributes) - set(ORDER))
        if unknown:
            raise ValueError(f"no attribute `{unknown[0]}`; known: {', '.join(ORDER)}")
        self.modality, self.channels, self.size = modality, channels, size
        self.dimension = dimension
        self.reversal = 1.0  # coefficient of the adversaries' gradient; training ramps it up
        self.backbone = IResNet(channels, width, strides=strides)
        wide = self.backbone.out_channels
        side = -(-size // self.backbone.reduction)
        names = tuple(name for name in ORDER if name in attributes)
        self.decomposition = Decomposition(wide, names)
        self.heads = nn.ModuleDict({name: AttributeHead(wide, attributes[name]) for name in names})
        self.adversaries = nn.ModuleDict({name: AttributeHead(wide, attributes[name]) for name in names})
        self.embedding = EmbeddingHead(wide, side * side, dimension, dropout)

    def forward(self, inputs: Mapping[str, Tensor]) -> Recognition:
        """Faces by modality, (B, channels, size, size) each -> what they say."""
        parts, remainders, identity = self.decomposition(self.backbone(self._checked(inputs)))
        said = {name: head(parts[name]) for name, head in self.heads.items()}
        seen = Recognition(
            embedding=self.embedding(identity),
            logits={name: logits for name, (logits, _) in said.items()},
            features={name: pooled for name, (_, pooled) in said.items()},
        )
        if self.training:
            for name, head in self.adversaries.items():
                seen.adversary[name] = head(reverse_gradient(remainders[name], self.reversal))[0]
        return seen

    def _checked(self, inputs: Mapping[str, Tensor]) -> Tensor:
        if self.modality not in inputs:
            raise ValueError(f"this network sees {self.modality}, and got {', '.join(inputs) or 'nothing'}")
        x, expected = inputs[self.modality], (self.channels, self.size, self.size)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ValueError(
                f"{self.modality}: expected faces of shape (B, {expected[0]}, {self.size}, {self.size}), "
                f"got {tuple(x.shape)}"
            )
        return x
