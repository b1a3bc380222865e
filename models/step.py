"""One step of training, whichever network: faces on their device, losses of what it said of them, the optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.objective import Losses, Objective
from models.recogniser import Recognition

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Truth:
    """What N faces are fitted to.

    Attributes
    ----------
    subject : Tensor (N,) int64
        As classes from 0.
    labels : dict of Tensor (N,) int64
        By attribute; -1 where missing. `age` is float32, in years.
    weight, subject_weight : Tensor (N,) float32
        How much each counts for the attributes, and for the identity.
    """

    subject: Tensor
    labels: dict[str, Tensor]
    weight: Tensor
    subject_weight: Tensor

    def take(self, chosen: Tensor, device: torch.device) -> Truth:
        """That of some of them, (B,) by index, on a device."""
        labels = {name: codes[chosen].to(device) for name, codes in self.labels.items()}
        subject, weight, subject_weight = (
            each[chosen].to(device) for each in (self.subject, self.weight, self.subject_weight)
        )
        return Truth(subject, labels, weight, subject_weight)


def put_faces(faces: Mapping[str, Tensor], device: str | torch.device) -> dict[str, Tensor]:
    """Faces (B, C, H, W) by modality on a device, in the order of memory that convolutions are fastest in."""
    return {name: x.to(device).contiguous(memory_format=torch.channels_last) for name, x in faces.items()}


def make_adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW that does not decay norms, slopes, biases and learned weights of tasks."""
    everything = list(parameters)
    groups: list[dict[str, Any]] = [{"params": [p for p in everything if p.ndim > 1]}]
    groups.append({"params": [p for p in everything if p.ndim <= 1], "weight_decay": 0.0})
    # fused: all tensors of a step in one pass, a quarter of the time on a processor
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)


def descend(
    fabric: Fabric,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    seen: Recognition,
    truth: Truth,
    share: float = 1.0,
) -> Losses:
    """One step down the losses of what a network said of a batch; ``share`` is that of `Objective`."""
    losses: Losses = objective(seen, truth.subject, truth.labels, truth.weight, truth.subject_weight, share)
    fabric.backward(losses.total)
    if fabric.world_size > 1:  # the network's gradients are averaged by DDP, these should be the same anyway
        for parameter in objective.parameters():
            if parameter.grad is not None:
                parameter.grad = fabric.all_reduce(parameter.grad)  # type: ignore[assignment]
    optimiser.step()
    optimiser.zero_grad()
    return losses
