"""Feature extractors by name, each with `out_channels` and `reduction`: (B, C, H, W) -> (B, out_channels, h, w).

h is H / `reduction`, rounded up. All take input channels, width of the first stage, strides of the four stages and the
name of an activation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor

from models.ir import IR50
from models.iresnet import IResNet
from models.resnet import ResNet18


class Backbone(Protocol):
    """What a recogniser needs of its feature extractor."""

    out_channels: int
    reduction: int

    def __call__(self, x: Tensor) -> Tensor: ...


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "iresnet18": partial(IResNet, blocks=(2, 2, 2, 2)),
    "iresnet50": partial(IResNet, blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet18": ResNet18,
    "ir50": IR50,
}
