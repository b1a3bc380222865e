"""The discriminator of MTLFace's synthesis [1]_: a PatchGAN [2]_ that judges patches of a face of a group of ages.

References
----------
.. [1] Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021.
   arXiv:2103.01520
.. [2] P. Isola, J.-Y. Zhu, T. Zhou, A. A. Efros, "Image-to-image translation with conditional adversarial networks",
   CVPR 2017. arXiv:1611.07004
.. [3] T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral normalization for generative adversarial networks",
   ICLR 2018. arXiv:1802.05957
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.age import GROUPS
from models.conditional import group_map
from models.recogniser import stacked

SLOPE = 0.2  # of the leaky ReLUs
SMALLEST = 48  # px: the last map of a smaller face would be empty


class PatchDiscriminator(nn.Module):
    """Faces by modality and groups (B,) -> a verdict on each patch, (B, 1, h, w): 5 x 5 of a face of 112 px.

    Six 4 x 4 convolutions, the first four of stride 2. Behind the first comes the map of the group; those in the middle
    have a spectral norm [3]_. At the published width 6.97 million parameters.

    Parameters
    ----------
    channels : dict
        Number of channels of each modality.
    size : int
        Side of a face in pixels.
    groups : int
        Of ages.
    width : int
        Channels behind the first convolution.
    """

    def __init__(self, channels: Mapping[str, int], size: int, *, groups: int = GROUPS, width: int = 64) -> None:
        super().__init__()
        if size < SMALLEST:
            raise ValueError(f"expected faces of {SMALLEST} px at least, got {size}")
        self.channels, self.size, self.groups = dict(channels), size, groups
        self.first = nn.Conv2d(sum(channels.values()), width, 4, stride=2, padding=1)
        sizes = [(width + groups, 2 * width, 2), (2 * width, 4 * width, 2), (4 * width, 8 * width, 2)]
        sizes.append((8 * width, 8 * width, 1))
        self.middle = nn.ModuleList(spectral_norm(nn.Conv2d(i, o, 4, stride=s, padding=1)) for i, o, s in sizes)
        self.last = nn.Conv2d(8 * width, 1, 4, padding=1)

    def forward(self, inputs: Mapping[str, Tensor], group: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(stacked(inputs, self.channels, self.size)), SLOPE)
        x = torch.cat([x, group_map(group, self.groups, x)], dim=1)
        for layer in self.middle:
            x = F.leaky_relu(layer(x), SLOPE)
        verdict: Tensor = self.last(x)
        return verdict
