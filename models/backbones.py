"""Feature extractors by name, each with `out_channels` and `reduction`: (B, C, H, W) -> (B, out_channels, h, w).

h is H / `reduction`, rounded up. All take input channels, width of the first stage, strides of the four stages and the
name of an activation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from models.ir import IR50
from models.iresnet import IResNet
from models.resnet import ResNet18


class Backbone(Protocol):
    """What a recogniser needs of its feature extractor."""

    out_channels: int
    reduction: int

    @property
    def stem(self) -> nn.Module: ...

    @property
    def stages(self) -> nn.Sequential: ...

    def __call__(self, x: Tensor) -> Tensor: ...


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "iresnet18": partial(IResNet, blocks=(2, 2, 2, 2)),
    "iresnet50": partial(IResNet, blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet18": ResNet18,
    "ir50": IR50,
}


def levels_of(backbone: Backbone, x: Tensor) -> tuple[Tensor, ...]:
    """The maps of a backbone that are smaller than the images (B, C, H, W): the deepest of a size, coarse to fine."""
    levels: dict[int, Tensor] = {}
    full, x = x.shape[2], backbone.stem(x)
    for stage in (None, *backbone.stages):
        x = x if stage is None else stage(x)
        levels[x.shape[2]] = x  # deeper maps of a size replace the ones before them
    return tuple(levels[side] for side in sorted(levels) if side < full)
