"""The losses of all tasks together, and which of them went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.focal import FocalLoss
from models.magface import MagFace
from models.recogniser import Recognition


@dataclass
class Losses:
    """Losses of a batch by task (identity, an attribute, adversary_<attribute>), their weighted sum, the norms."""

    tasks: dict[str, Tensor]
    total: Tensor
    norm: Tensor

    def not_finite(self) -> str | None:
        """The first task whose loss is not a finite number."""
        return next((name for name, loss in self.tasks.items() if not bool(torch.isfinite(loss))), None)


class Objective(nn.Module):
    """MagFace for the identity, a focal loss for each attribute and for each adversary.

    Parameters
    ----------
    identity : MagFace
    constants : dict
        Alpha and gamma of each class, by attribute (`models.focal.class_constants`).
    weights : dict
        Weight of each attribute's loss beside the identity's 1.
    adversary : float
        Weight of the adversaries' losses relative to their attributes'.
    """

    def __init__(
        self,
        identity: MagFace,
        constants: Mapping[str, tuple[Sequence[float], Sequence[float]]],
        weights: Mapping[str, float],
        adversary: float = 1.0,
    ) -> None:
        super().__init__()
        self.identity = identity
        self.attributes = nn.ModuleDict({name: FocalLoss(*each) for name, each in constants.items()})
        self.weights, self.adversary = dict(weights), adversary

    def forward(
        self, seen: Recognition, subject: Tensor, labels: Mapping[str, Tensor], weight: Tensor, subject_weight: Tensor
    ) -> Losses:
        """Losses of a batch: subjects (B,) as classes, labels (B,) by attribute with -1 where missing, weights (B,)."""
        loss, norm = self.identity(seen.embedding, subject, subject_weight)
        tasks, total = {"identity": loss}, loss
        for name, focal in self.attributes.items():
            tasks[name] = focal(seen.logits[name], labels[name], weight)
            total = total + self.weights[name] * tasks[name]
        for name, logits in seen.adversary.items():
            tasks[f"adversary_{name}"] = self.attributes[name](logits, labels[name], weight)
            total = total + self.adversary * self.weights[name] * tasks[f"adversary_{name}"]
        return Losses(tasks, total, norm)
