"""Fusion of trained recognisers, one a modality: frozen branches, a layer over their embeddings, heads for every task.

Each branch's embedding is brought to unit length and takes part with a gain; a linear layer, zero at first, adds what a
combination of the branches tells better:

    u = [g_1 e_1 / ||e_1||, ..., g_M e_M / ||e_M||],        f = c (u + s W u)

So the untrained layer is the plain concatenation, and training can only move away from it where that helps. An
attribute's head reads the pooled features of all branches, and starts as the mean of the branches' logits.

The branches are never trained and never leave evaluation mode: a frozen branch in training mode would still drift, by
the running statistics of its norms. Their weights are part of this module's state: a saved fusion needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.recogniser import Recognition
from models.registry import create_model, register

START_NORM = 16.0  # inside MagFace's range, as the branches' own norms are


class FusionLayer(nn.Module):
    """Embeddings of M branches, side by side (B, sum D), to one embedding (B, sum D)."""

    gains: Tensor
    strength: Tensor

    def __init__(self, dimensions: Sequence[int]) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        total = sum(dimensions)
        self.register_buffer("gains", torch.ones(len(dimensions)))
        self.register_buffer("strength", torch.ones(1))
        self.mix = nn.Linear(total, total, bias=False)
        self.scale = nn.Parameter(torch.full((1,), START_NORM / len(dimensions) ** 0.5))
        nn.init.zeros_(self.mix.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        parts = embeddings.split(self.dimensions, dim=1)
        unit = torch.cat([gain * F.normalize(part, dim=1) for gain, part in zip(self.gains, parts, strict=True)], dim=1)
        return self.scale * (unit + self.strength * self.mix(unit))


@register("fusion")
class Fusion(nn.Module):
    """One recogniser made of several.

    Parameters
    ----------
    branches : sequence of dict
        ``{"name": ..., "kwargs": {...}}`` of each branch, as for `create_model`; each sees a modality of its own.
    """

    def __init__(self, branches: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        made = [create_model(each["name"], **each["kwargs"]) for each in branches]
        modalities = ["+".join(branch.channels) for branch in made]  # type: ignore[arg-type]
        if len(set(modalities)) < len(modalities) or len(modalities) < 2:
            raise ValueError(f"expected at least two branches of different modalities, got {', '.join(modalities)}")
        self.branches = nn.ModuleDict(dict(zip(modalities, made, strict=True)))
        self.branches.requires_grad_(False)
        self.layer = FusionLayer([int(branch.dimension) for branch in made])  # type: ignore[arg-type]
        self.names = [name for name in made[0].heads if all(name in branch.heads for branch in made)]  # type: ignore
        self.heads = nn.ModuleDict({name: _joined([b.heads[name].classify for b in made]) for name in self.names})  # type: ignore
        self.dimension = sum(self.layer.dimensions)
        self.train(self.training)

    def train(self, mode: bool = True) -> Fusion:
        """Training mode for the layer and the heads alone."""
        super().train(mode)
        self.branches.eval()
        return self

    def load_branches(self, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take trained weights by modality, and start the heads from the branches' own."""
        for modality, state in states.items():
            self.branches[modality].load_state_dict(dict(state))
        for name in self.names:
            own = [branch.heads[name].classify for branch in self.branches.values()]  # type: ignore[union-attr, index]
            self.heads[name].load_state_dict(_joined(own).state_dict())

    def look(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What the branches see: embeddings side by side (B, sum D), pooled features (B, sum C) by attribute."""
        with torch.no_grad():
            seen = [branch(inputs) for branch in self.branches.values()]
        features = {name: torch.cat([each.features[name] for each in seen], dim=1) for name in self.names}
        return torch.cat([each.embedding.float() for each in seen], dim=1), features

    def judge(self, embeddings: Tensor, features: Mapping[str, Tensor]) -> Recognition:
        """What the layer and the heads make of it; training needs nothing else of the network."""
        logits = {name: head(features[name]) for name, head in self.heads.items()}
        return Recognition(embedding=self.layer(embeddings), logits=logits, features=dict(features))

    def forward(self, inputs: Mapping[str, Tensor]) -> Recognition:
        """Faces by modality -> what they say, together."""
        return self.judge(*self.look(inputs))


def _joined(heads: Sequence[nn.Linear]) -> nn.Linear:
    """One linear layer over features side by side that gives the mean of the logits of several."""
    joined = nn.Linear(sum(head.in_features for head in heads), heads[0].out_features)
    with torch.no_grad():
        joined.weight.copy_(torch.cat([head.weight for head in heads], dim=1) / len(heads))
        joined.bias.copy_(torch.stack([head.bias for head in heads]).mean(dim=0))
    return joined
