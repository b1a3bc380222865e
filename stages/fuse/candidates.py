"""Candidates that are trained beside the residual layer: a projection to one embedding, a gate for each face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.fusion import make_layer
from models.magface import MagFace
from pipeline.params import Fuse


class Trained(nn.Module):
    """A way of joining the branches' embeddings, with class centres and an optimiser of its own."""

    def __init__(self, kind: str, params: Fuse, dimensions: Sequence[int], subjects: int) -> None:
        super().__init__()
        self.layer = make_layer(kind, dimensions, params.dimension)
        size = params.dimension if kind == "projection" else sum(dimensions)
        self.magface = MagFace(size, subjects, **params.identity.model_dump(exclude={"loss"}))
        self.lr, self.weight_decay = params.lr, params.weight_decay

    def begin(self) -> None:
        """Make the optimiser, once the parameters are on their device."""
        self.optimiser = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)

    def step(self, embeddings: Tensor, subject: Tensor, weight: Tensor, lr: float) -> float:
        """One step on a batch; its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        loss: Tensor = self.magface(self.layer(embeddings), subject, weight)[0]
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(loss.detach())

    def parts(self) -> dict[str, Any]:
        """The state, to be gone on from."""
        return {"module": self.state_dict(), "optimiser": self.optimiser.state_dict()}

    def resume(self, parts: dict[str, Any]) -> None:
        """Go on from a state."""
        self.load_state_dict(parts["module"])
        self.optimiser.load_state_dict(parts["optimiser"])
