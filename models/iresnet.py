"""iResNet, the improved residual network [1]_, with PReLU.

Each of the four stages has a start block (no activation before its first convolution, a norm before the sum), middle
blocks (pre-activated) and an end block (norm and activation after the sum): four activations lie on the main path
however deep the net is. Where a stage halves the image, the shortcut is a max-pool of 3 x 3 followed by a 1 x 1
convolution, so that every pixel has a say in it. There is no pooling after the stem: the first stage has a stride of 2.

(The `iresnet` of the ArcFace and MagFace repositories is another network.)

References
----------
.. [1] I. C. Duta, L. Liu, F. Zhu, L. Shao, "Improved residual networks for image and video recognition", ICPR 2020.
   arXiv:2004.04989; code: github.com/iduta/iresnet
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from models.activation import PReLU

Place = Literal["start", "middle", "first_middle", "end", "first_end"]
STAGES = 4


def _conv(channels_in: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)


class Block(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut; where it stands in its stage decides its norms and activations.

    The block after the start block (``first_...``) has no norm of its own in front: the start block ends with one.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, place: Place) -> None:
        super().__init__()
        before: list[nn.Module] = []
        if place != "start":
            before = [PReLU()] if place.startswith("first") else [nn.BatchNorm2d(channels_in), PReLU()]
        inner = [_conv(channels_in, channels, stride), nn.BatchNorm2d(channels), PReLU(), _conv(channels, channels)]
        last = [nn.BatchNorm2d(channels)] if place == "start" else []
        self.residual = nn.Sequential(*before, *inner, *last)
        self.shortcut = _shortcut(channels_in, channels, stride)
        self.after = nn.Sequential(nn.BatchNorm2d(channels), PReLU()) if place.endswith("end") else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.residual(x) + self.shortcut(x))  # (B, channels, H / stride, W / stride)


def _shortcut(channels_in: int, channels: int, stride: int) -> nn.Module:
    pool = [nn.MaxPool2d(3, stride, padding=1)] if stride != 1 else []
    if channels_in == channels:
        return nn.Sequential(*pool) if pool else nn.Identity()
    return nn.Sequential(*pool, nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels))


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    if blocks < 2:
        raise ValueError(f"a stage needs a start and an end block, got {blocks} block")
    layers = [Block(channels_in, channels, stride, "start")]
    for i in range(1, blocks):
        kind: Place = "end" if i == blocks - 1 else "middle"
        layers.append(Block(channels, channels, 1, f"first_{kind}" if i == 1 else kind))  # type: ignore[arg-type]
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
        Blocks in each stage; (2, 2, 2, 2) is iResNet-18.
    strides : tuple of int
        Stride of each stage behind the stem's own stride of 2.

    Notes
    -----
    (B, channels, H, W) -> (B, 8 width, h, w), with h = H / 32 rounded up for the published strides.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        strides: tuple[int, ...] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        if len(blocks) != STAGES or len(strides) != STAGES:
            raise ValueError(f"expected {STAGES} stages, got blocks {tuple(blocks)} and strides {tuple(strides)}")
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width), PReLU()
        )
        widths = [width * 2**i for i in range(STAGES)]
        inputs = [width, *widths[:-1]]
        self.stages = nn.Sequential(*(_stage(*each) for each in zip(inputs, widths, blocks, strides, strict=True)))
        self.out_channels = widths[-1]
        self.reduction = 2
        for stride in strides:
            self.reduction *= stride
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))  # (B, 8 width, h, w)
