"""The three networks of MTCNN, a cascade that finds faces and five landmarks: proposal, refinement, output.

Layers and names follow the `mtcnn` package, whose trained weights they take (`stages/crop/weights.py`). Images are
(B, 3, H, W) RGB, (value - 127.5) / 128 of 8-bit levels. Two habits of the original matter:

- pooling keeps a last, partial window (`padding="same"` there, `ceil_mode` here: all padding is at the end);
- the original networks were trained on transposed images: before the dense layers features are laid out (W, H, C).

References
----------
K. Zhang, Z. Zhang, Z. Li, Y. Qiao, Joint face detection and alignment using multitask cascaded convolutional networks,
IEEE Signal Processing Letters 2016 (arXiv:1604.02878).
"""

from __future__ import annotations

from torch import Tensor, nn


def _flatten(x: Tensor) -> Tensor:
    """(B, C, H, W) features as (B, W * H * C)."""
    return x.permute(0, 3, 2, 1).flatten(1)


class PNet(nn.Module):
    """Proposals: a face's probability and box offsets for each 12 px window of an image of any size, at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))  # (B, 10, ceil((H - 2) / 2), ceil((W - 2) / 2))
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))  # (B, 32, h, w)
        return self.conv4_1(x), self.conv4_2(x).softmax(dim=1)[:, 1]  # (B, 4, h, w), (B, h, w)


class RNet(nn.Module):
    """Refinement: box offsets and a face's probability of 24 px patches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.fc4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.fc5_1, self.fc5_2 = nn.Linear(128, 4), nn.Linear(128, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))  # (B, 28, 11, 11)
        x = self.pool2(self.prelu2(self.conv2(x)))  # (B, 48, 4, 4)
        x = _flatten(self.prelu3(self.conv3(x)))  # (B, 576)
        x = self.prelu4(self.fc4(x))
        return self.fc5_1(x), self.fc5_2(x).softmax(dim=1)[:, 1]  # (B, 4), (B,)


class ONet(nn.Module):
    """Output: box offsets, landmarks (x1..x5, y1..y5; shares of the patch) and a face's probability; 48 px patches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.fc5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.fc6_1, self.fc6_2, self.fc6_3 = nn.Linear(256, 4), nn.Linear(256, 10), nn.Linear(256, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))  # (B, 32, 23, 23)
        x = self.pool2(self.prelu2(self.conv2(x)))  # (B, 64, 10, 10)
        x = self.pool3(self.prelu3(self.conv3(x)))  # (B, 64, 4, 4)
        x = _flatten(self.prelu4(self.conv4(x)))  # (B, 1152)
        x = self.prelu5(self.fc5(x))
        return self.fc6_1(x), self.fc6_2(x), self.fc6_3(x).softmax(dim=1)[:, 1]  # (B, 4), (B, 10), (B,)
