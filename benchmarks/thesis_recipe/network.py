"""The thesis's network: iResNet-18 with PReLU, five attention modules in series, eleven heads.

Written as a straightforward network in torch's default layout and with its own layers, on purpose without those of
`models/`: what makes ours faster must not make this one faster too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.reversal import reverse_gradient

ORDER = ("spectacles", "facial_hair", "expression", "pose", "gender")
PYRAMID = (1, 2, 3)
REDUCTION = 16
WIDTHS = (64, 128, 256, 512)


@dataclass
class Seen:
    """Embedding (B, 512) and, by attribute, logits (B, 2) of its head and of the adversary on what it leaves."""

    embedding: Tensor
    logits: dict[str, Tensor]
    adversaries: dict[str, Tensor]


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, as the first or the last of a stage's two; one PReLU for all places."""

    def __init__(self, channels_in: int, channels: int, stride: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)  # in front of the sum of the first block, behind that of the last
        self.prelu = nn.PReLU()
        self.pool = nn.MaxPool2d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.project: nn.Module = nn.Identity()
        if channels_in != channels:
            self.project = nn.Sequential(nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.project(self.pool(x))
        if self.first:
            return self.norm2(self.conv2(self.prelu(self.norm1(self.conv1(x))))) + shortcut
        residual = self.conv2(self.prelu(self.norm1(self.conv1(self.prelu(x)))))
        return self.prelu(self.norm2(residual + shortcut))


class Attention(nn.Module):
    """Features (B, C, h, w) -> the part that is attended to, and the remainder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        cells = channels * sum(side * side for side in PYRAMID)
        self.squeeze = nn.Conv2d(cells, cells // REDUCTION, 1, bias=False)
        self.excite = nn.Conv2d(cells // REDUCTION, channels, 1, bias=False)
        self.channel_norm = nn.BatchNorm2d(channels, momentum=0.01)
        self.place = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.place_norm = nn.BatchNorm2d(1, momentum=0.01)
        self.means = nn.ModuleList(nn.AdaptiveAvgPool2d(side) for side in PYRAMID)
        self.maxima = nn.ModuleList(nn.AdaptiveMaxPool2d(side) for side in PYRAMID)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        means = torch.cat([pool(x).flatten(1) for pool in self.means], dim=1)
        maxima = torch.cat([pool(x).flatten(1) for pool in self.maxima], dim=1)
        pyramid = (means + maxima)[:, :, None, None]  # (B, 14 C, 1, 1)
        channel = torch.sigmoid(self.channel_norm(self.excite(torch.relu(self.squeeze(pyramid)))))
        most = torch.stack([x.max(dim=1)[0], x.mean(dim=1)], dim=1)  # (B, 2, h, w)
        place = torch.sigmoid(self.place_norm(self.place(most)))
        part = (x * channel + x * place) / 2
        return part, x - part


class Pooled(nn.Module):
    """Features (B, C, h, w) -> (B, C): norm, average over the places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.norm(x)).flatten(1)


class ThesisNetwork(nn.Module):
    """Faces (B, 3, H, W) in [0, 1] -> `Seen`."""

    def __init__(self) -> None:
        super().__init__()
        channels = WIDTHS[-1]
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64), nn.PReLU())
        stages = []
        for channels_in, width in zip((64, *WIDTHS), WIDTHS, strict=False):
            stages += [Block(channels_in, width, 2, first=True), Block(width, width, 1, first=False)]
        self.stages = nn.Sequential(*stages)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.attention = nn.ModuleDict({name: Attention(channels) for name in ORDER})  # the expression's is never used
        self.heads = nn.ModuleDict({name: nn.Sequential(Pooled(channels), nn.Linear(channels, 2)) for name in ORDER})
        self.adversaries = nn.ModuleDict(
            {name: nn.Sequential(Pooled(channels), nn.Linear(channels, 2)) for name in ORDER}
        )
        self.embedding = Pooled(channels)  # no layer of its own: norms stay near 5, under MagFace's range (fault 3)

    def forward(self, x: Tensor) -> Seen:
        x = self.stages(self.stem(x))
        logits, adversaries = {}, {}
        for name in ORDER:
            by = "facial_hair" if name == "expression" else name  # fault 1: the hair's module a second time
            part, x = self.attention[by](x)
            logits[name] = self.heads[name](part)
            adversaries[name] = self.adversaries[name](reverse_gradient(x, 1.0))
        return Seen(self.embedding(x), logits, adversaries)
