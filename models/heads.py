"""What reads features: the embedding, an attribute, an attribute beside the embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EmbeddingHead(nn.Module):
    """Features (B, C, h, w) -> embedding (B, D), not normalised: BN, dropout, linear, BN.

    The last norm has unit scale at first, so that embeddings start with a norm of about sqrt(D): 16 for D = 256, inside
    MagFace's range of [10, 110], where margin and regulariser can move. (Pooled features without it have norms of
    about 5, below the range, and MagFace's norm then says nothing.)
    """

    def __init__(self, channels: int, cells: int, dimension: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(channels * cells, dimension, bias=False)
        self.scale = nn.BatchNorm1d(dimension)

    def flat(self, x: Tensor) -> Tensor:
        """The features that the embedding is projected from, (B, C h w), after the dropout."""
        dropped: Tensor = self.dropout(self.norm(x).flatten(1))
        return dropped

    def read(self, flat: Tensor) -> Tensor:
        """The embedding, of what `flat` gives."""
        embedding: Tensor = self.scale(self.project(flat))
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.flat(x))

    @torch.no_grad()
    def map(self, matrix: Tensor) -> None:
        """Let every embedding e be ``matrix @ e`` (D, D) from now on: the last two layers take it in, for good.

        Only where training is over: the last norm no longer tells the statistics of what it sees.
        """
        norm, weight = self.scale, self.project.weight
        assert norm.running_mean is not None
        assert norm.running_var is not None
        matrix = matrix.to(weight)
        gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
        offset = matrix @ (norm.bias - norm.running_mean * gain)
        weight.copy_(matrix @ (gain[:, None] * weight))
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.fill_(1)
        norm.bias.copy_(offset)


class AttributeHead(nn.Module):
    """Features (B, C, h, w) -> logits (B, classes) and the pooled features (B, C) behind them: BN, average, linear."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.classify = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.norm(x).mean(dim=(2, 3))  # (B, C)
        return self.classify(pooled), pooled


class BesideHead(nn.Module):
    """Flat features (B, F) that the embedding is projected from -> logits (B, classes), and the same features."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear(features, classes)

    def forward(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        return self.classify(flat), flat
