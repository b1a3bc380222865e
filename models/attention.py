"""Attention that takes one attribute after another out of the features, and leaves the identity.

After MTLFace's feature decomposition [1]_: sigma = (channel attention + spatial attention) / 2 splits features into
x * sigma, which tells an attribute, and the remainder x * (1 - sigma). Here five such steps stand in series, as the
thesis behind this project had them, but each attribute has a module of its own.

For comparison sigma may be the channel attention alone, the spatial attention alone, or CBAM's [2]_ channel attention
followed by its spatial attention of what that has weighed; or there is no decomposition at all. The journal version of
MTLFace [3]_ has sigma tell the identity; its published weights need it.

The gates start nearly closed, at sigma = 0.12. Half open, as a sigmoid of nothing is, a series of five would leave the
identity 1/32 of the features at first, and what each gate then learns would shake all of that; so it leaves half.

References
----------
.. [1] Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021.
   arXiv:2103.01520
.. [2] S. Woo, J. Park, J.-Y. Lee, I. S. Kweon, "CBAM: convolutional block attention module", ECCV 2018.
   arXiv:1807.06521
.. [3] Z. Huang, J. Zhang, H. Shan, TPAMI 2022. arXiv:2210.09835
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PYRAMID = (1, 2, 3)  # cells a side at each level
CELLS = sum(side * side for side in PYRAMID)
REDUCTION = 16
START = -2.0  # of a gate before its sigmoid


class ChannelAttention(nn.Module):
    """A weight in (0, 1) for each channel, from a spatial pyramid of averages and maxima: their sums, or both."""

    def __init__(self, channels: int, *, beside: bool = False) -> None:
        super().__init__()
        self.beside, read = beside, (2 if beside else 1) * CELLS * channels
        inner = max(read // REDUCTION, 8)
        self.squeeze = nn.Linear(read, inner, bias=False)
        self.excite = nn.Linear(inner, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        nn.init.constant_(self.norm.bias, START)

    def forward(self, x: Tensor) -> Tensor:
        means = x.flatten(2) @ _means(x.shape[2], x.shape[3]).to(x)  # (B, C, 14): all levels in one product
        maxima = torch.cat([F.adaptive_max_pool2d(x, side).flatten(2) for side in PYRAMID], dim=2)
        pyramid = torch.cat([means, maxima], dim=1) if self.beside else means + maxima
        pyramid = pyramid.flatten(1)  # (B, 14 C), or averages before maxima (B, 28 C)
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
        nn.init.constant_(self.norm.bias, START)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)  # (B, 2, h, w)
        return torch.sigmoid(self.norm(self.conv(seen)))  # (B, 1, h, w)


class MeanAttention(nn.Module):
    """The mean of channel and spatial attention, (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        return (self.channel(x) + self.spatial(x)) / 2


class JournalAttention(nn.Module):
    """What the mean of both attentions leaves, (B, C, h, w): there sigma is the identity's share, not the age's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, beside=True)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        return 1 - (self.channel(x) + self.spatial(x)) / 2


class CBAM(nn.Module):
    """CBAM: channel attention from one average and one maximum, then spatial attention of what it leaves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // REDUCTION, 8)
        self.channel = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        channel = torch.sigmoid(self.channel(x.mean(dim=(2, 3))) + self.channel(x.amax(dim=(2, 3))))[:, :, None, None]
        return channel * self.spatial(x * channel)  # (B, C, h, w)


ATTENTIONS: dict[str, Callable[[int], nn.Module]] = {
    "mean": MeanAttention,
    "channel": ChannelAttention,
    "spatial": lambda _: SpatialAttention(),
    "cbam": CBAM,
    "journal": JournalAttention,
}


class Decomposition(nn.Module):
    """Attention modules in series, one an attribute, each fed with what the one before has left.

    Each splits its features x into the attribute's part ``x * sigma`` and the remainder; the two add up to x.

    Parameters
    ----------
    channels : int
        Channels of the features.
    attributes : sequence of str
        Their order is that of the series.
    attention : str
        What sigma is: ``"mean"``, ``"channel"``, ``"spatial"``, ``"cbam"`` or ``"journal"``; or ``"none"``: nothing is
        taken out, and all attributes and the identity are the features themselves.
    """

    def __init__(self, channels: int, attributes: Sequence[str], attention: str = "mean") -> None:
        super().__init__()
        if attention not in (*ATTENTIONS, "none"):
            raise ValueError(f"no attention `{attention}`; known: {', '.join(ATTENTIONS)}, none")
        self.attributes = tuple(attributes)
        kinds = {} if attention == "none" else {name: ATTENTIONS[attention](channels) for name in self.attributes}
        self.steps = nn.ModuleDict(kinds)

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Features (B, C, h, w) -> parts by attribute, and what remains of them all: the identity."""
        parts = {}
        for name in self.attributes:
            if name in self.steps:
                parts[name] = x * self.steps[name](x)
                x = x - parts[name]
            else:
                parts[name] = x
        return parts, x
