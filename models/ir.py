"""IR-50, the residual network of ArcFace [1]_ and MTLFace [2]_: units of BN, conv, BN, PReLU, conv, BN.

The stem keeps the sides, each of the four stages halves them: a face of 112 px ends in 7 x 7 places. A unit's shortcut
takes every second pixel where the channels stay, and a 1 x 1 convolution with a norm where they change.

References
----------
.. [1] J. Deng, J. Guo, N. Xue, S. Zafeiriou, "ArcFace: additive angular margin loss for deep face recognition",
   CVPR 2019. arXiv:1801.07698
.. [2] Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021.
   arXiv:2103.01520; code: github.com/Hzzone/MTLFace
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from models.activation import activation as make_activation
from models.iresnet import STAGES, conv

UNITS = (3, 4, 14, 3)


def _activation(name: str, channels: int) -> nn.Module:
    """PReLU with a slope a channel, as published weights have it, or the activation of that name."""
    return nn.PReLU(channels) if name == "prelu" else make_activation(name)


class Unit(nn.Module):
    """BN, 3 x 3 convolution, BN, activation, 3 x 3 convolution with the stride, BN, beside a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int, activation: str) -> None:
        super().__init__()
        first = [nn.BatchNorm2d(channels_in), conv(channels_in, channels), nn.BatchNorm2d(channels)]
        second = [conv(channels, channels, stride=stride), nn.BatchNorm2d(channels)]
        self.residual = nn.Sequential(*first, _activation(activation, channels), *second)
        if channels_in == channels:
            self.shortcut: nn.Module = nn.MaxPool2d(1, stride)
        else:
            self.shortcut = nn.Sequential(conv(channels_in, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)  # (B, channels, H / stride, W / stride)


class IR50(nn.Module):
    """The feature extractor of IR-50; parameters as of `models.iresnet.IResNet`, the stem's stride being 1."""

    def __init__(
        self, channels: int, width: int = 64, strides: tuple[int, ...] = (2, 2, 2, 2), *, activation: str = "prelu"
    ) -> None:
        super().__init__()
        if len(strides) != STAGES:
            raise ValueError(f"expected {STAGES} stages, got strides {tuple(strides)}")
        self.stem = nn.Sequential(conv(channels, width), nn.BatchNorm2d(width), _activation(activation, width))
        widths = [width * 2**i for i in range(STAGES)]
        stages = []
        for before, wide, units, stride in zip([width, *widths], widths, UNITS, strides, strict=False):
            rest = [Unit(wide, wide, 1, activation) for _ in range(units - 1)]
            stages.append(nn.Sequential(Unit(before, wide, stride, activation), *rest))
        self.stages = nn.Sequential(*stages)
        self.out_channels = widths[-1]
        self.reduction = math.prod(strides)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))  # (B, 8 width, h, w)
