"""The identity conditional module of MTLFace [1]_: an identity's features turned into those of the face at another age.

Each group of ages has filters of its own, picked by a fixed mask of zeros and ones; neighbouring groups share some of
theirs, so that what is learned of one age helps the next and faces change little by little:

    filters     0        112  128        224  240        336  352   ...      800
    group 0     [-----------------]
    group 1              [-----------------]                            s = 1/8: 128 filters a group, 16 shared
    group 2                            [-----------------]

The baseline that the paper beats knows the group by a map of zeros and ones beside the features, and all of its
filters serve all groups; it is as wide and as deep.

References
----------
.. [1] Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021.
   arXiv:2103.01520
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.age import GROUPS

CONDITIONS = ("masks", "onehot")


def shared_masks(groups: int = GROUPS, filters: int = 128, shared: float = 1 / 8) -> Tensor:
    """Masks (G, C) of zeros and ones: the filters of each group, of which neighbours share that share.

    C = (G - (G - 1) shared) filters, rounded down: 800 as the paper has it, 819 with its code's share of 0.1.
    """
    if not 0 <= shared < 1:
        raise ValueError(f"expected neighbours to share less than all of their filters and no less than none: {shared}")
    step, count = (int(round(x * filters, 9)) for x in (1 - shared, groups - (groups - 1) * shared))  # .2 * 10 is 2
    masks = torch.zeros(groups, count)
    for group, mask in enumerate(masks):
        mask[group * step : group * step + filters] = 1
    return masks


def group_map(group: Tensor, groups: int, like: Tensor) -> Tensor:
    """Groups (B,) as maps (B, G, h, w) of zeros and ones, of the sides of ``like`` (B, C, h, w)."""
    return F.one_hot(group, groups).to(like.dtype)[:, :, None, None].expand(-1, -1, *like.shape[2:])


class _Block(nn.Module):
    """Convolution, BN, mask, PReLU, convolution, BN, mask; the input is added, and a PReLU closes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels))
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels))
        self.between, self.after = nn.PReLU(channels), nn.PReLU(channels)

    def forward(self, x: Tensor, mask: Tensor | float) -> Tensor:
        inner = self.between(self.first(x) * mask)
        closed: Tensor = self.after(x + self.second(inner) * mask)
        return closed


class IdentityConditional(nn.Module):
    """Features of an identity (B, channels, h, w) and groups (B,) -> features of the same shape, of that group's face.

    Parameters
    ----------
    channels : int
        Of the features.
    groups, filters, shared
        As of `shared_masks`.
    blocks : int
        Residual blocks between the two 1 x 1 convolutions.
    condition : str
        ``"masks"``; or ``"onehot"``, the baseline.
    """

    masks: Tensor

    def __init__(
        self,
        channels: int,
        *,
        groups: int = GROUPS,
        filters: int = 128,
        shared: float = 1 / 8,
        blocks: int = 4,
        condition: str = "masks",
    ) -> None:
        super().__init__()
        if condition not in CONDITIONS:
            raise ValueError(f"no condition `{condition}`; known: {', '.join(CONDITIONS)}")
        masks = shared_masks(groups, filters, shared)
        self.groups, self.onehot, wide = groups, condition == "onehot", masks.shape[1]
        self.register_buffer("masks", masks)
        seen = channels + groups if self.onehot else channels
        self.enter = nn.Sequential(nn.Conv2d(seen, wide, 1), nn.BatchNorm2d(wide), nn.PReLU(wide))
        self.blocks = nn.ModuleList(_Block(wide) for _ in range(blocks))
        self.leave = nn.Sequential(nn.Conv2d(wide, channels, 1), nn.BatchNorm2d(channels), nn.PReLU(channels))

    def forward(self, identity: Tensor, group: Tensor) -> Tensor:
        if self.onehot:
            mask: Tensor | float = 1.0
            identity = torch.cat([identity, group_map(group, self.groups, identity)], dim=1)
        else:
            mask = self.masks[group][:, :, None, None]  # (B, C, 1, 1)
        x = self.enter(identity) * mask
        for block in self.blocks:
            x = block(x, mask)
        left: Tensor = self.leave(x)
        return left
