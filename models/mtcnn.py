"""The three networks of MTCNN, a cascade that finds faces and five landmarks: proposal, refinement, output.

Layers and names follow the `mtcnn` package, whose trained weights they take (`stages/crop/weights.py`). Images are
(B, 3, H, W) RGB or (B, 1, H, W) grey, (value - 127.5) / 128 of 8-bit levels. Two habits of the original matter:

- pooling keeps a last, partial window (`padding="same"` there: all padding is at the end);
- the original networks were trained on transposed images: before the dense layers features are laid out (W, H, C).

References
----------
K. Zhang, Z. Zhang, Z. Li, Y. Qiao, Joint face detection and alignment using multitask cascaded convolutional networks,
IEEE Signal Processing Letters 2016 (arXiv:1604.02878).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _flatten(x: Tensor) -> Tensor:
    """(B, C, H, W) features as (B, W * H * C)."""
    return x.permute(0, 3, 2, 1).flatten(1)


def _first(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The first layer; a grey image stands for one with three equal channels."""
    weight = layer.weight if x.shape[1] == 3 else layer.weight.sum(dim=1, keepdim=True)
    return F.conv2d(x, weight, layer.bias)


def _pool(x: Tensor, size: int) -> Tensor:
    """Maxima of ``size`` x ``size`` windows at stride 2, a last partial window kept; on a CPU faster than torch's."""
    for axis in (2, 3):
        count = -(-(x.shape[axis] - size) // 2) + 1
        whole, *others = ((x[:, :, i::2] if axis == 2 else x[..., i::2]) for i in range(size))
        x = whole.narrow(axis, 0, count)
        for other in others:
            full = min(count, other.shape[axis])  # the last window may end before this part of it
            larger = torch.maximum(x.narrow(axis, 0, full), other.narrow(axis, 0, full))
            x = larger if full == count else torch.cat([larger, x.narrow(axis, full, count - full)], dim=axis)
    return x


class PNet(nn.Module):
    """Proposals for each 12 px window of an image of any size, at stride 2.

    A face's probability is had of every window; offsets of the box only of those that `offsets` is asked for, since
    most windows are dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = _pool(self.prelu1(_first(self.conv1, x)), 2)  # (B, 10, ceil((H - 2) / 2), ceil((W - 2) / 2))
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x)).permute(0, 2, 3, 1)  # (B, h, w, 32)
        assert self.conv4_2.bias is not None
        weight, bias = (p[1] - p[0] for p in (self.conv4_2.weight.flatten(1), self.conv4_2.bias))
        return x, torch.sigmoid(x @ weight + bias)  # features; (B, h, w): the softmax of two is the sigmoid of one

    def offsets(self, features: Tensor) -> Tensor:
        """Of boxes, in window sides (n, 4), from the features (n, 32) of n windows."""
        return F.linear(features, self.conv4_1.weight.flatten(1), self.conv4_1.bias)


class RNet(nn.Module):
    """Refinement: box offsets and a face's probability of 24 px patches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.fc4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.fc5_1, self.fc5_2 = nn.Linear(128, 4), nn.Linear(128, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = _pool(self.prelu1(_first(self.conv1, x)), 3)  # (B, 28, 11, 11)
        x = _pool(self.prelu2(self.conv2(x)), 3)  # (B, 48, 4, 4)
        x = _flatten(self.prelu3(self.conv3(x)))  # (B, 576)
        x = self.prelu4(self.fc4(x))
        return self.fc5_1(x), self.fc5_2(x).softmax(dim=1)[:, 1]  # (B, 4), (B,)


class ONet(nn.Module):
    """Output: box offsets, landmarks (x1..x5, y1..y5; shares of the patch) and a face's probability; 48 px patches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.fc5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.fc6_1, self.fc6_2, self.fc6_3 = nn.Linear(256, 4), nn.Linear(256, 10), nn.Linear(256, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = _pool(self.prelu1(_first(self.conv1, x)), 3)  # (B, 32, 23, 23)
        x = _pool(self.prelu2(self.conv2(x)), 3)  # (B, 64, 10, 10)
        x = _pool(self.prelu3(self.conv3(x)), 2)  # (B, 64, 4, 4)
        x = _flatten(self.prelu4(self.conv4(x)))  # (B, 1152)
        x = self.prelu5(self.fc5(x))
        return self.fc6_1(x), self.fc6_2(x), self.fc6_3(x).softmax(dim=1)[:, 1]  # (B, 4), (B, 10), (B,)
