"""Fusion of trained recognisers, one a modality: frozen branches, a layer over their embeddings, heads for every task.

Each branch's embedding is brought to unit length and takes part with a gain; a linear layer, zero at first, adds what a
combination of the branches tells better:

    u = [g_1 e_1 / ||e_1||, ..., g_M e_M / ||e_M||],        f = c (u + s W u)           "layer"
    f = c P u                                               P to fewer numbers          "projection"
    f = c [sqrt(w_1) e_1 / ||e_1||, ...],                   w of the face, sum 1        "gate"

So the untrained layer is the plain concatenation, and training can only move away from it where that helps. An
attribute's head reads the pooled features of all branches, and starts as the mean of the branches' logits.

The branches never leave evaluation mode: a frozen branch in training mode would still drift, by the running statistics
of its norms. They are frozen until `Fusion.unfreeze`, after which their weights move and those statistics still do not.
Their weights are part of this module's state: a saved fusion needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.age import AGE
from models.recogniser import Recognition
from models.registry import create_model, register

START_NORM = 16.0  # inside MagFace's range, as the branches' own norms are


class FusionLayer(nn.Module):
    """Embeddings of M branches, side by side (B, sum D), to one embedding (B, sum D)."""

    gains: Tensor
    strength: Tensor

    def __init__(self, dimensions: Sequence[int]) -> None:
        super().__init__()
        self.dimensions, self.dimension = tuple(dimensions), sum(dimensions)
        self.register_buffer("gains", torch.ones(len(dimensions)))
        self.register_buffer("strength", torch.ones(1))
        self.mix = nn.Linear(self.dimension, self.dimension, bias=False)
        self.scale = nn.Parameter(torch.full((1,), START_NORM / len(dimensions) ** 0.5))
        nn.init.zeros_(self.mix.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        units = _units(embeddings, self.dimensions)
        unit = torch.cat([gain * part for gain, part in zip(self.gains, units, strict=True)], dim=1)
        return self.scale * (unit + self.strength * self.mix(unit))


class Projection(nn.Module):
    """Embeddings of M branches, side by side (B, sum D), to one embedding (B, dimension)."""

    def __init__(self, dimensions: Sequence[int], dimension: int) -> None:
        super().__init__()
        self.dimensions, self.dimension, total = tuple(dimensions), dimension, sum(dimensions)
        self.project = nn.Linear(total, dimension, bias=False)
        nn.init.orthogonal_(self.project.weight)
        kept = min(1.0, dimension / total)  # of the squared length, on average
        self.scale = nn.Parameter(torch.full((1,), START_NORM / (len(dimensions) * kept) ** 0.5))

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.scale * self.project(torch.cat(_units(embeddings, self.dimensions), dim=1))


class Gate(nn.Module):
    """Embeddings of M branches, side by side (B, sum D), weighed face by face.

    A small network reads the unit embeddings and the logarithms of their norms, and gives weights that sum to 1. It
    starts at equal ones, the plain concatenation.
    """

    HIDDEN = 32

    def __init__(self, dimensions: Sequence[int]) -> None:
        super().__init__()
        self.dimensions, self.dimension = tuple(dimensions), sum(dimensions)
        last = nn.Linear(self.HIDDEN, len(dimensions))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.judge = nn.Sequential(nn.Linear(self.dimension + len(dimensions), self.HIDDEN), nn.PReLU(), last)
        self.scale = nn.Parameter(torch.full((1,), START_NORM))

    def weights(self, embeddings: Tensor) -> Tensor:
        """How far each branch is trusted, (B, M), rows of sum 1."""
        parts = embeddings.split(self.dimensions, dim=1)
        norms = [part.norm(dim=1, keepdim=True).clamp(min=1e-12).log() for part in parts]
        read = torch.cat([*_units(embeddings, self.dimensions), *norms], dim=1)
        weights: Tensor = self.judge(read).softmax(dim=1)
        return weights

    def forward(self, embeddings: Tensor) -> Tensor:
        shares = self.weights(embeddings).sqrt().split(1, dim=1)
        units = _units(embeddings, self.dimensions)
        return self.scale * torch.cat([share * unit for share, unit in zip(shares, units, strict=True)], dim=1)


def _units(embeddings: Tensor, dimensions: Sequence[int]) -> list[Tensor]:
    """Each branch's embeddings, (B, D_m) of unit length."""
    return [F.normalize(part, dim=1) for part in embeddings.split(tuple(dimensions), dim=1)]


def make_layer(kind: str, dimensions: Sequence[int], dimension: int) -> FusionLayer | Projection | Gate:
    """What joins embeddings; ``dimension`` is that of a projection."""
    if kind == "projection":
        return Projection(dimensions, dimension)
    if kind not in ("layer", "gate"):
        raise ValueError(f"no fusion by `{kind}`; known: layer, projection, gate")
    return FusionLayer(dimensions) if kind == "layer" else Gate(dimensions)


@register("fusion")
class Fusion(nn.Module):
    """One recogniser made of several.

    Parameters
    ----------
    branches : sequence of dict
        ``{"name": ..., "kwargs": {...}}`` of each branch, as for `create_model`; each sees a modality of its own.
    kind : str
        What joins their embeddings: ``"layer"``, ``"projection"`` or ``"gate"``.
    dimension : int
        Size of a projection.
    """

    def __init__(self, branches: Sequence[Mapping[str, Any]], kind: str = "layer", dimension: int = 512) -> None:
        super().__init__()
        made = [create_model(each["name"], **each["kwargs"]) for each in branches]
        modalities = ["+".join(branch.channels) for branch in made]  # type: ignore[arg-type]
        if len(set(modalities)) < len(modalities) or len(modalities) < 2:
            raise ValueError(f"expected at least two branches of different modalities, got {', '.join(modalities)}")
        self.branches = nn.ModuleDict(dict(zip(modalities, made, strict=True)))
        self.branches.requires_grad_(False)
        self.layer = make_layer(kind, [int(branch.dimension) for branch in made], dimension)  # type: ignore[arg-type]
        shared = [name for name in made[0].heads if all(name in branch.heads for branch in made)]  # type: ignore
        self.names = [
            name for name in shared if name != AGE
        ]  # a fusion tells classes, and leaves the age to its branches
        self.heads = nn.ModuleDict({name: _joined([b.heads[name].classify for b in made]) for name in self.names})  # type: ignore
        self.train(self.training)

    @property
    def dimension(self) -> int:
        """Size of the embedding."""
        return self.layer.dimension

    def unfreeze(self) -> None:
        """Let training move the weights of the branches too."""
        self.branches.requires_grad_(True)

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
        seen = [branch(inputs) for branch in self.branches.values()]
        features = {name: torch.cat([each.features[name] for each in seen], dim=1) for name in self.names}
        return torch.cat([each.embedding.float() for each in seen], dim=1), features

    def judge(self, embeddings: Tensor, features: Mapping[str, Tensor]) -> Recognition:
        """What the layer and the heads make of it; training needs nothing else of the network."""
        logits = {name: head(features[name]) for name, head in self.heads.items()}
        gates = self.layer.weights(embeddings) if isinstance(self.layer, Gate) else None
        return Recognition(embedding=self.layer(embeddings), logits=logits, features=dict(features), gates=gates)

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
