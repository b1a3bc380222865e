"""The losses of all tasks together, how they are weighed, and which of them went wrong.

    L = sum_t w_t L_t                                weighed by hand
    L = sum_t e^{-s_t} L_t + s_t / 2                 weighed by learned uncertainty [1]_, s_t = log sigma_t^2

over the identity and the attributes; the adversaries come on top of either, and the cross-age discriminator with its
weight. Attributes' losses may be damped to log(1 + L_t), as multi-task ArcFace's [2]_ is.

References
----------
.. [1] A. Kendall, Y. Gal, R. Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry and
   semantics", CVPR 2018. arXiv:1705.07115
.. [2] D. Montero, M. Nieto, P. Leskovsky, N. Aginako, "Boosting masked face recognition with multi-task ArcFace", 2021.
   arXiv:2104.09874
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from models.adversary import Adversaries
from models.age import AGE, AGE_GROUP, AgeLoss, CrossAge
from models.focal import FocalLoss
from models.margins import IdentityLoss
from models.recogniser import Recognition


@dataclass
class Losses:
    """Losses of a batch by task (identity, an attribute, adversary_<attribute>, cross_age), their weighted sum, the
    norms."""

    tasks: dict[str, Tensor]
    total: Tensor
    norm: Tensor

    @cached_property
    def values(self) -> dict[str, float]:
        """The losses as numbers, which waits for the device once."""
        return dict(zip(self.tasks, torch.stack(list(self.tasks.values())).tolist(), strict=True))

    def not_finite(self) -> str | None:
        """The first task whose loss is not a finite number."""
        return next((name for name, loss in self.values.items() if not math.isfinite(loss)), None)


class Objective(nn.Module):
    """A loss for the identity, one for each attribute, and one for each adversary.

    Parameters
    ----------
    identity : IdentityLoss
        ``identity(embedding, subject, weight)`` gives loss and norms: `models.magface.MagFace`, another
        `models.margins.MarginLoss`, or a loss of pairs or triplets.
    constants : dict
        Alpha and gamma of each class, by attribute (`models.focal.class_constants`).
    weights : dict
        Weight of each attribute's loss beside the identity's 1.
    learned : bool
        The weights are where uncertainty starts from.
    damped : bool
        Attributes' losses are log(1 + L).
    adversaries : Adversaries, optional
    age : AgeLoss, optional
        The loss of the age; its weight is among the others.
    cross_age : CrossAge, optional
        The cross-age discriminator.
    cross_age_weight : float
        Of its loss, and so of its reversed gradient.
    """

    def __init__(
        self,
        identity: IdentityLoss,
        constants: Mapping[str, tuple[Sequence[float], Sequence[float]]],
        weights: Mapping[str, float],
        *,
        learned: bool = False,
        damped: bool = False,
        adversaries: Adversaries | None = None,
        age: AgeLoss | None = None,
        cross_age: CrossAge | None = None,
        cross_age_weight: float = 0.002,
    ) -> None:
        super().__init__()
        self.identity = identity
        self.attributes = nn.ModuleDict({name: FocalLoss(*each) for name, each in constants.items()})
        self.age, self.cross_age, self.cross_age_weight = age, cross_age, cross_age_weight
        tasks = [*constants] if age is None else [*constants, AGE]
        self.fixed = {"identity": 1.0} | {name: float(weights[name]) for name in tasks}
        starts = {name: torch.tensor([-math.log(weight)]) for name, weight in self.fixed.items()}
        self.uncertainty = nn.ParameterDict(starts if learned else {})
        self.damped, self.adversaries = damped, adversaries

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the tasks as they stand."""
        return self.fixed | {name: math.exp(-float(s.detach())) for name, s in self.uncertainty.items()}

    def forward(
        self,
        seen: Recognition,
        subject: Tensor,
        labels: Mapping[str, Tensor],
        weight: Tensor,
        subject_weight: Tensor,
        share: float = 1.0,
    ) -> Losses:
        """Losses of a batch.

        Subjects (B,) as classes, labels (B,) by attribute with -1 where missing (of `age` in years), weights (B,) of
        samples for the attributes and for the identity; ``share`` of the adversaries' gradient is reversed into the
        network.
        """
        loss, norm = self.identity(seen.embedding, subject, subject_weight)
        tasks = {"identity": loss}
        for name, focal in self.attributes.items():
            loss = focal(seen.logits[name], labels[name], weight)
            tasks[name] = torch.log1p(loss) if self.damped else loss
        if self.age is not None:
            tasks[AGE] = self.age(seen.logits[AGE], seen.logits[AGE_GROUP], labels[AGE], weight)
        total = torch.stack([self._weighed(name, each) for name, each in tasks.items()]).sum()
        if self.adversaries is not None:
            against = self.adversaries(seen.embedding, labels, weight, share)
            tasks |= {f"adversary_{name}": each for name, each in against.items()}
            total = total + sum(against.values())
        if self.cross_age is not None:
            tasks["cross_age"] = self.cross_age(seen.identity, labels[AGE], weight, share)
            total = total + self.cross_age_weight * tasks["cross_age"]
        return Losses(tasks, total, norm)

    def _weighed(self, name: str, loss: Tensor) -> Tensor:
        if name in self.uncertainty:
            s = self.uncertainty[name].squeeze()
            return torch.exp(-s) * loss + s / 2
        return self.fixed[name] * loss
