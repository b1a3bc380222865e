"""iResNet, the improved residual network [1]_.

Each of the four stages has a start block (no activation before its first convolution, a norm before the sum), middle
blocks (pre-activated) and an end block (norm and activation after the sum): four activations lie on the main path
however deep the net is. Where a stage halves the image, the shortcut is a max-pool of 3 x 3 followed by a 1 x 1
convolution, so that every pixel has a say in it. There is no pooling after the stem: the first stage has a stride of 2.

(The `iresnet` of the ArcFace and MagFace repositories is another network: `models/ir.py`.)

References
----------
.. [1] I. C. Duta, L. Liu, F. Zhu, L. Shao, "Improved residual networks for image and video recognition", ICPR 2020.
   arXiv:2004.04989; code: github.com/iduta/iresnet
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from models.activation import activation as make_activation

Place = Literal["start", "middle", "first_middle", "end", "first_end"]
STAGES = 4
EXPANSION = 4  # of a bottleneck's last convolution


def conv(channels_in: int, channels: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the sides but for its stride."""
    return nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """Convolutions beside a shortcut; where it stands in its stage decides its norms and activations.

    Two convolutions of 3 x 3; or, as a bottleneck, 1 x 1, 3 x 3 and 1 x 1, the last with four times the channels.
    The block after the start block (``first_...``) has no norm of its own in front: the start block ends with one.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        stride: int,
        place: Place,
        *,
        activation: str = "prelu",
        bottleneck: bool = False,
    ) -> None:
        super().__init__()
        before: list[nn.Module] = []
        if place != "start":
            before = [] if place.startswith("first") else [nn.BatchNorm2d(channels_in)]
            before.append(make_activation(activation))
        inner = _bottleneck if bottleneck else _basic
        channels_out = channels * EXPANSION if bottleneck else channels
        last = [nn.BatchNorm2d(channels_out)] if place == "start" else []
        self.residual = nn.Sequential(*before, *inner(channels_in, channels, stride, activation), *last)
        self.shortcut = _shortcut(channels_in, channels_out, stride)
        after = [nn.BatchNorm2d(channels_out), make_activation(activation)] if place.endswith("end") else []
        self.after = nn.Sequential(*after) if after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.residual(x) + self.shortcut(x))  # (B, channels out, H / stride, W / stride)


def _basic(channels_in: int, channels: int, stride: int, activation: str) -> list[nn.Module]:
    first = [conv(channels_in, channels, stride=stride), nn.BatchNorm2d(channels), make_activation(activation)]
    return [*first, conv(channels, channels)]


def _bottleneck(channels_in: int, channels: int, stride: int, activation: str) -> list[nn.Module]:
    first = [conv(channels_in, channels, 1), nn.BatchNorm2d(channels), make_activation(activation)]
    second = [conv(channels, channels, stride=stride), nn.BatchNorm2d(channels), make_activation(activation)]
    return [*first, *second, conv(channels, channels * EXPANSION, 1)]


def _shortcut(channels_in: int, channels: int, stride: int) -> nn.Module:
    pool = [nn.MaxPool2d(3, stride, padding=1)] if stride != 1 else []
    if channels_in == channels:
        return nn.Sequential(*pool) if pool else nn.Identity()
    return nn.Sequential(*pool, conv(channels_in, channels, 1), nn.BatchNorm2d(channels))


def _stage(
    channels_in: int, channels: int, blocks: int, stride: int, activation: str, bottleneck: bool
) -> nn.Sequential:
    if blocks < 2:
        raise ValueError(f"a stage needs a start and an end block, got {blocks} block")
    layers = [Block(channels_in, channels, stride, "start", activation=activation, bottleneck=bottleneck)]
    wide = channels * EXPANSION if bottleneck else channels
    for i in range(1, blocks):
        kind: Place = "end" if i == blocks - 1 else "middle"
        place: Place = f"first_{kind}" if i == 1 else kind  # type: ignore[assignment]
        layers.append(Block(wide, channels, 1, place, activation=activation, bottleneck=bottleneck))
    return nn.Sequential(*layers)


class IResNet(nn.Module):
    """The feature extractor of iResNet.

    Parameters
    ----------
    channels : int
        Channels of the input.
    width : int
        Channels of the first stage; each further stage has twice as many. 64 is the published network.
    blocks : tuple of int
        Blocks in each stage; (2, 2, 2, 2) is iResNet-18, (3, 4, 6, 3) with bottlenecks iResNet-50.
    strides : tuple of int
        Stride of each stage behind the stem's own stride of 2.
    activation : str
        ``"prelu"`` or, as published, ``"relu"``.
    bottleneck : bool
        Of the blocks.

    Notes
    -----
    (B, channels, H, W) -> (B, 8 width, h, w), 32 width with bottlenecks, h = H / 32 rounded up for published strides.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        strides: tuple[int, ...] = (2, 2, 2, 2),
        *,
        activation: str = "prelu",
        bottleneck: bool = False,
    ) -> None:
        super().__init__()
        if len(blocks) != STAGES or len(strides) != STAGES:
            raise ValueError(f"expected {STAGES} stages, got blocks {tuple(blocks)} and strides {tuple(strides)}")
        stem = [nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width)]
        self.stem = nn.Sequential(*stem, make_activation(activation))
        widths = [width * 2**i for i in range(STAGES)]
        outputs = [w * EXPANSION for w in widths] if bottleneck else widths
        inputs = [width, *outputs[:-1]]
        each = zip(inputs, widths, blocks, strides, strict=True)
        self.stages = nn.Sequential(*(_stage(*one, activation, bottleneck) for one in each))
        self.out_channels = outputs[-1]
        self.reduction = 2 * math.prod(strides)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))  # (B, out_channels, h, w)


def he_initialise(module: nn.Module) -> None:
    """He's normal weights for all convolutions, in place; not for shapes alone, where it costs a second of imports."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
