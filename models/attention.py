"""Attention that takes one attribute after another out of the features, and leaves the identity.

After MTLFace's feature decomposition [1]_: sigma = (channel attention + spatial attention) / 2 splits features into
x * sigma, which tells an attribute, and the remainder x * (1 - sigma). Here five such steps stand in series, as the
thesis behind this project had them, but each attribute has a module of its own.

References
----------
.. [1] Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021.
   arXiv:2103.01520
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PYRAMID = (1, 2, 3)  # cells a side at each level
CELLS = sum(side * side for side in PYRAMID)
REDUCTION = 16


class ChannelAttention(nn.Module):
    """A weight in (0, 1) for each channel, from a spatial pyramid of averages and maxima."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(CELLS * channels // REDUCTION, 8)
        self.squeeze = nn.Linear(CELLS * channels, inner, bias=False)
        self.excite = nn.Linear(inner, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        means = x.flatten(2) @ _means(x.shape[2], x.shape[3]).to(x)  # (B, C, 14): all levels in one product
        maxima = torch.cat([F.adaptive_max_pool2d(x, side).flatten(2) for side in PYRAMID], dim=2)
        pyramid = (means + maxima).flatten(1)  # (B, 14 C)
        weight = torch.sigmoid(self.norm(self.excite(F.relu(self.squeeze(pyramid)))))
        return weight[:, :, None, None]  # (B, C, 1, 1)


@cache
def _means(height: int, width: int) -> Tensor:
    """(height width, 14): the matrix whose columns average the cells of the pyramid."""
    places = torch.eye(height * width).reshape(height * width, height, width)
    return torch.cat([F.adaptive_avg_pool2d(places, side).flatten(1) for side in PYRAMID], dim=1)


class SpatialAttention(nn.Module):
    """A weight in (0, 1) for each place, from the maximum and the mean over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)  # (B, 2, h, w)
        return torch.sigmoid(self.norm(self.conv(seen)))  # (B, 1, h, w)


class Attention(nn.Module):
    """Splits features into an attribute's part and the remainder; the two add up to the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        part = x * ((self.channel(x) + self.spatial(x)) / 2)
        return part, x - part  # (B, C, h, w) each


class Decomposition(nn.Module):
    """Attention modules in series, one an attribute, each fed with what the one before has left.

    Parameters
    ----------
    channels : int
        Channels of the features.
    attributes : sequence of str
        Their order is that of the series.
    """

    def __init__(self, channels: int, attributes: tuple[str, ...]) -> None:
        super().__init__()
        self.steps = nn.ModuleDict({name: Attention(channels) for name in attributes})

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Features (B, C, h, w) -> parts by attribute, remainders by attribute, and the last one: the identity."""
        parts, remainders = {}, {}
        for name, step in self.steps.items():
            parts[name], x = step(x)
            remainders[name] = x
        return parts, remainders, x
