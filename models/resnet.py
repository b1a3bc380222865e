"""ResNet-18 [1]_, plain, to compare iResNet-18 with: the same sizes, basic blocks, an activation after every sum.

References
----------
.. [1] K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", CVPR 2016. arXiv:1512.03385
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from models.activation import activation as make_activation
from models.iresnet import STAGES, conv, he_initialise


class BasicBlock(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut, norms after each, an activation after the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int, activation: str) -> None:
        super().__init__()
        first = [conv(channels_in, channels, stride=stride), nn.BatchNorm2d(channels), make_activation(activation)]
        self.residual = nn.Sequential(*first, conv(channels, channels), nn.BatchNorm2d(channels))
        projected = [conv(channels_in, channels, 1, stride), nn.BatchNorm2d(channels)]
        self.shortcut = nn.Identity() if (stride, channels_in) == (1, channels) else nn.Sequential(*projected)
        self.after = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.residual(x) + self.shortcut(x))  # (B, channels, H / stride, W / stride)


class ResNet18(nn.Module):
    """The feature extractor of ResNet-18.

    Parameters
    ----------
    channels, width, strides, activation
        As of `models.iresnet.IResNet`. The first of the strides is that of the published max-pool after the stem: with
        1 there is no pooling. So the maps have the sides of an iResNet of the same strides.
    """

    def __init__(
        self, channels: int, width: int = 64, strides: tuple[int, ...] = (2, 2, 2, 2), *, activation: str = "relu"
    ) -> None:
        super().__init__()
        if len(strides) != STAGES:
            raise ValueError(f"expected {STAGES} stages, got strides {tuple(strides)}")
        stem = [conv(channels, width, 7, 2), nn.BatchNorm2d(width), make_activation(activation)]
        pool = [nn.MaxPool2d(3, 2, padding=1)] if strides[0] == 2 else []
        self.stem = nn.Sequential(*stem, *pool)
        widths = [width * 2**i for i in range(STAGES)]
        blocks = []
        for before, wide, stride in zip([width, *widths], widths, (1, *strides[1:]), strict=False):
            blocks += [BasicBlock(before, wide, stride, activation), BasicBlock(wide, wide, 1, activation)]
        self.stages = nn.Sequential(*blocks)
        self.out_channels = widths[-1]
        self.reduction = 2 * math.prod(strides)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))  # (B, 8 width, h, w)
