"""The three networks of MTCNN, a cascade that finds faces and five landmarks: proposal, refinement, output.

Layers and names follow the `mtcnn` package, whose trained weights they take (`stages/crop/weights.py`). Images are
(B, 3, H, W) RGB or (B, 1, H, W) grey, (value - 127.5) / 128 of 8-bit levels. Two habits of the original matter:

- pooling keeps a last, partial window (`padding="same"` there: all padding is at the end);
- the original networks were trained on transposed images: before the dense layers features are laid out (W, H, C).

They are for inference: `_pool` takes no gradient.

References
----------
K. Zhang, Z. Zhang, Z. Li, Y. Qiao, Joint face detection and alignment using multitask cascaded convolutional networks,
IEEE Signal Processing Letters 2016 (arXiv:1604.02878).
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of PNet's features before its last layers: any choice is sound (`PNet._bounding`), and these, found by trying on
# pictures of all kinds, leave fewest windows of the package's weights to be looked at in full: 2 %.
KEPT = (0,)
GUESSES = ((4, 6, 7, 9, 14, 25), (1, 3, 4, 6, 7, 9, 19, 25, 30))
ROUNDING = 1e-3  # more than that of a logit in float32


def _flatten(x: Tensor) -> Tensor:
    """(B, C, H, W) features as (B, W * H * C)."""
    return x.permute(0, 3, 2, 1).flatten(1)


def _first(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The first layer; a grey image stands for one with three equal channels."""
    weight = layer.weight if x.shape[1] == 3 else layer.weight.sum(dim=1, keepdim=True)
    return F.conv2d(x, weight, layer.bias)


def _prelu(layer: nn.PReLU, x: Tensor) -> Tensor:
    """The layer, by whole rows: on a CPU several times as fast where a pixel's channels fill no register."""
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch * height, width * channels)
    slopes = layer.weight.expand(width, -1).reshape(-1)
    return F.prelu(rows, slopes).view(batch, height, width, channels).permute(0, 3, 1, 2)


def _pool(x: Tensor, size: int) -> Tensor:
    """Maxima of ``size`` x ``size`` windows at stride 2, a last partial window kept; on a CPU faster than torch's."""
    for axis in (2, 3):
        count = -(-(x.shape[axis] - size) // 2) + 1
        parts = [x[:, :, i::2] if axis == 2 else x[..., i::2] for i in range(size)]
        x = parts[0].narrow(axis, 0, count)
        for part in parts[1:]:
            full = min(count, part.shape[axis])  # the last window may end before this part of it
            larger = torch.empty_like(x)
            torch.maximum(x.narrow(axis, 0, full), part.narrow(axis, 0, full), out=larger.narrow(axis, 0, full))
            larger.narrow(axis, full, count - full).copy_(x.narrow(axis, full, count - full))
            x = larger
    return x


class PNet(nn.Module):
    """Proposals for each 12 px window of an image of any size, at stride 2.

    Most windows show no face, and for nearly all of those half of the last convolution, the dearest layer, is enough to
    know it: `_bound` is never below what the network would say. Only the others are looked at in full.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
        """The windows whose probability of a face is above ``least``, in [0, 1].

        Returns
        -------
        where : (n, 3) int64
            Image, row and column of each, of its ceil((H - 2) / 2) - 4 rows of windows and as many columns for W.
        scores : (n,)
            The probability.
        offsets : (n, 4)
            x1, y1, x2, y2 of the face's box against the window, in window sides.
        """
        x = _pool(_prelu(self.prelu1, _first(self.conv1, x)), 2)  # (B, 10, ceil((H - 2) / 2), ceil((W - 2) / 2))
        x = self.prelu2(self.conv2(x))
        where = (self._bound(x) > torch.tensor(least).logit().item() - ROUNDING).nonzero()
        seen = x.permute(0, 2, 3, 1).unfold(1, 3, 1).unfold(2, 3, 1).movedim(3, 5)[where.unbind(1)]  # (n, 3, 3, 16)
        kernel = self.conv3.weight.permute(0, 2, 3, 1).flatten(1)
        features = self.prelu3(F.linear(seen.flatten(1), kernel, self.conv3.bias))
        weight, bias = self._face()
        scores = torch.sigmoid(features @ weight + bias)  # the softmax of two is the sigmoid of one
        sure = scores > least
        offsets = F.linear(features[sure], self.conv4_1.weight.flatten(1), self.conv4_1.bias)
        return where[sure], scores[sure], offsets

    def _face(self) -> tuple[Tensor, Tensor]:
        """Weights (32,) and bias of the logit of a face's probability."""
        assert self.conv4_2.bias is not None
        weight, bias = (p[1] - p[0] for p in (self.conv4_2.weight.flatten(1), self.conv4_2.bias))
        return weight, bias

    def _bound(self, x: Tensor) -> Tensor:
        """What no window's logit is above, (B, h, w), from the features (B, 16, h + 2, w + 2) before `conv3`."""
        weight, bias, slopes, shares = self._bounding
        return F.prelu(F.conv2d(x, weight, bias), slopes).permute(0, 2, 3, 1) @ shares

    @cached_property
    def _bounding(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of `_bound`: weights and bias of a convolution, slopes of the PReLU after it, shares in the bound.

        With z the 32 features before `prelu3`, the logit is a line in z and a sum of bends c max(z, 0), one a feature.
        Those whose c is positive, and those of `KEPT`, are kept. Every other one is at most 0 and at most c z: a guess
        takes one of the two for each, and the logit's bound is a line but for what is kept. The lower of two guesses,
        first - max(first - second, 0), bounds it as well.
        """
        weight, bias = self._face()
        bends = weight * (1 - self.prelu3.weight)
        kept = bends > 0
        kept[list(KEPT)] = True
        sides = torch.zeros(len(GUESSES), len(bends)).to(bends)
        for guess, features in zip(sides, GUESSES, strict=True):
            guess[list(features)] = 1
        first, second = weight * self.prelu3.weight + bends * ~kept * sides
        mix = torch.cat([torch.eye(len(bends)).to(bends)[kept], torch.stack([first, first - second])])
        kernel = (mix @ self.conv3.weight.flatten(1)).view(-1, *self.conv3.weight.shape[1:])
        assert self.conv3.bias is not None
        shift = mix @ self.conv3.bias
        shift[-2] += bias
        slopes = torch.zeros(len(mix)).to(mix)
        slopes[-2] = 1
        shares = torch.cat([bends[kept], bends.new_tensor([1, -1])])
        return kernel.contiguous(memory_format=torch.channels_last), shift, slopes, shares


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
        x = _pool(_prelu(self.prelu1, _first(self.conv1, x)), 3)  # (B, 28, 11, 11)
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
