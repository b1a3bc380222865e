"""What is trained on the frozen branches' vectors: ways of joining their embeddings, and heads for the attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.focal import FocalLoss
from models.fusion import FusionLayer, Gate, Projection
from models.magface import MagFace
from models.step import Truth
from pipeline.params import Fuse
from stages.fuse.looking import Seen

STRENGTHS = (0.25, 0.5, 1.0)


class Trained:
    """Modules and the optimiser that moves them."""

    def __init__(self, modules: nn.ModuleDict, params: Fuse, device: torch.device) -> None:
        self.modules = modules.to(device)
        group = {"params": [*modules.parameters()]}  # of branches that share no attribute there are no heads
        self.optimiser = torch.optim.AdamW([group], lr=params.lr, weight_decay=params.weight_decay)

    def descend(self, loss: Tensor, lr: float) -> None:
        """One step at a learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def state(self) -> dict[str, Any]:
        """All that going on needs."""
        return {"modules": self.modules.state_dict(), "optimiser": self.optimiser.state_dict()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.modules.load_state_dict(state["modules"])
        self.optimiser.load_state_dict(state["optimiser"])


class Joining(Trained):
    """A way of joining the branches' embeddings that is trained, with class centres of its own."""

    def __init__(
        self, layer: FusionLayer | Projection | Gate, params: Fuse, subjects: int, device: torch.device
    ) -> None:
        self.layer = layer
        self.magface = MagFace(layer.dimension, subjects, **params.identity.model_dump(exclude={"loss"}))
        super().__init__(nn.ModuleDict({"layer": layer, "magface": self.magface}), params, device)

    def step(self, embeddings: Tensor, truth: Truth, lr: float) -> tuple[float, Tensor]:
        """One step on embeddings (B, sum D); its loss, and the norms (B,)."""
        loss, norm = self.magface(self.layer(embeddings), truth.subject, truth.subject_weight)
        self.descend(loss, lr)
        return float(loss.detach()), norm.cpu()

    def variants(self) -> Iterator[nn.Module]:
        """The layer in each state in which it may be taken: a residual one at several strengths."""
        if not isinstance(self.layer, FusionLayer):
            yield self.layer
            return
        for strength in STRENGTHS:
            self.layer.strength.fill_(strength)
            yield self.layer
        self.layer.strength.fill_(1.0)  # at which it is trained


class Heads(Trained):
    """A fusion's heads. They have no parameter in common, so that weighing their losses would change nothing."""

    def __init__(
        self,
        heads: nn.ModuleDict,
        constants: Mapping[str, tuple[list[float], list[float]]],
        params: Fuse,
        device: torch.device,
    ) -> None:
        self.heads, self.focal = heads, {name: FocalLoss(*each).to(device) for name, each in constants.items()}
        super().__init__(heads, params, device)

    def step(self, features: Mapping[str, Tensor], truth: Truth, lr: float) -> dict[str, float]:
        """One step on pooled features (B, sum C) by attribute; the losses."""
        losses = {
            name: focal(self.heads[name](features[name]), truth.labels[name], truth.weight)
            for name, focal in self.focal.items()
        }
        if not losses:
            return {}
        self.descend(torch.stack(list(losses.values())).sum(), lr)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    @torch.no_grad()
    def loss(self, name: str, views: list[Seen], labels: Tensor) -> float:
        """A head's loss on all views of faces with labels (N,)."""
        return sum(float(self.focal[name](self.heads[name](view.features[name]), labels)) for view in views)
