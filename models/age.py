"""Age: the head that tells it, its groups, its loss, and the cross-age discriminator, after MTLFace [1]_.

    L_AE = (sum_k k softmax_k - age)^2 + CE(group logits, group of the age)          k = 0 .. 100 years

A head reads 101 logits off a map of features, one a year, and the logits of the groups off those 101. The
cross-age discriminator is such a head on the *identity's* map behind a reversed gradient: it learns to tell the age,
and the map learns to leave nothing of it. Ages are years; -1 (anything below 0, or NaN) is a missing one, and counts
nowhere.

References
----------
.. [1] Z. Huang, J. Zhang, H. Shan, "When age-invariant face recognition meets face age synthesis", CVPR 2021.
   arXiv:2103.01520
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.focal import MISSING
from models.margins import weighted_mean
from models.reversal import reverse_gradient

AGE, AGE_GROUP = "age", "age_group"  # names of the two kinds of logits
YEARS = 101  # logits of an age: 0 to 100
GROUPS = 7  # of the published networks
BOUNDS: dict[int, tuple[int, ...]] = {
    4: (30, 40, 50),
    5: (20, 30, 40, 50),
    6: (10, 20, 30, 40, 50),
    7: (10, 20, 30, 40, 50, 60),  # 0-10, 11-20, ..., 51-60, 61 and over
    8: (12, 18, 25, 35, 45, 55, 65),
}


def bounds_of(groups: int) -> tuple[int, ...]:
    """The last year of each group but the last, of a split into that many groups."""
    if groups not in BOUNDS:
        raise ValueError(f"no split of the ages into {groups} groups; known: {', '.join(map(str, BOUNDS))}")
    return BOUNDS[groups]


def age_groups(age: Tensor, groups: int = GROUPS) -> Tensor:
    """The group of each age (any shape), int64 from 0; -1 where the age is missing.

    >>> age_groups(torch.tensor([0.0, 10.0, 11.0, 60.0, 61.0, -1.0])).tolist()
    [0, 0, 1, 5, 6, -1]
    """
    bounds = torch.tensor(bounds_of(groups), dtype=age.dtype, device=age.device)
    return torch.bucketize(age, bounds).where(age >= 0, MISSING)


def expected_age(logits: Tensor) -> Tensor:
    """The mean age (B,) in years under the softmax of logits (B, 101), in float32 at least."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    years = torch.arange(YEARS, dtype=logits.dtype, device=logits.device)
    return (logits.softmax(dim=1) * years).sum(dim=1)  # a product of matrices would be rounded under autocast


class AgeHead(nn.Module):
    """Features (B, C, h, w) -> logits of the years (B, 101) and the hidden layer behind them: BN, linear, ReLU, linear.

    `group` turns the logits into those of the groups. The published size is 512 channels of 7 x 7 places and a hidden
    layer of 512: 12.899 million parameters.

    Parameters
    ----------
    channels, cells : int
        C, and h w.
    hidden : int
        Width of the layer between.
    groups : int
        A split of `BOUNDS`.
    """

    def __init__(self, channels: int, cells: int, *, hidden: int = 512, groups: int = GROUPS) -> None:
        super().__init__()
        self.groups = len(bounds_of(groups)) + 1
        self.norm = nn.BatchNorm2d(channels)
        self.project = nn.Linear(channels * cells, hidden)
        self.classify = nn.Linear(hidden, YEARS)
        self.group = nn.Linear(YEARS, groups)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.relu(self.project(self.norm(x).flatten(1)))  # (B, hidden)
        return self.classify(hidden), hidden


class AgeLoss(nn.Module):
    """L_AE over the faces whose age is known, in years squared and nats.

    Parameters
    ----------
    groups : int
        A split of `BOUNDS`.
    """

    def __init__(self, groups: int = GROUPS) -> None:
        super().__init__()
        self.groups = len(bounds_of(groups)) + 1

    def forward(self, years: Tensor, groups: Tensor, age: Tensor, weight: Tensor | None = None) -> Tensor:
        """Logits of years (B, 101) and of groups (B, G), ages (B,) -> scalar; 0 with a graph where none is known.

        ``weight`` (B,) is how much each face counts.
        """
        if years.shape[1:] != (YEARS,) or groups.shape[1:] != (self.groups,):
            raise ValueError(
                f"expected logits of {YEARS} years and {self.groups} groups, got {years.shape[1]} and {groups.shape[1]}"
            )
        precision = torch.promote_types(years.dtype, torch.float32)
        known, age = age >= 0, age.to(precision)
        wrong = (expected_age(years) - age.where(known, 0.0)).square()
        group = age_groups(age, self.groups).clamp(min=0)
        confused = F.cross_entropy(groups.to(precision), group, reduction="none")
        counted = known.to(precision) if weight is None else known * weight.to(precision)
        return weighted_mean(wrong + confused, counted)


class CrossAge(nn.Module):
    """The cross-age discriminator: L_AE of the identity's map, whose gradient comes back reversed.

    Parameters
    ----------
    channels, cells, hidden, groups : int
        As of `AgeHead`.
    """

    def __init__(self, channels: int, cells: int, *, hidden: int = 512, groups: int = GROUPS) -> None:
        super().__init__()
        self.head = AgeHead(channels, cells, hidden=hidden, groups=groups)
        self.loss = AgeLoss(groups)

    def forward(self, identity: Tensor, age: Tensor, weight: Tensor | None = None, share: float = 1.0) -> Tensor:
        """Its loss on maps (B, C, h, w) of faces of these ages (B,); ``share`` of the gradient is turned round."""
        years, _ = self.head(reverse_gradient(identity, share))
        loss: Tensor = self.loss(years, self.head.group(years), age, weight)
        return loss
