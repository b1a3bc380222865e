"""Adversaries: small networks that read an attribute off the identity's embedding, which learns to defeat them [1]_.

They look at the embedding's direction, which is what will be compared, and at nothing else: what they cannot find there
no comparison can use. Their gradient comes back to the network reversed (`models.reversal`).

An adversary is of use only while it is better than a constant. It is kept strong: an MLP rather than a linear layer, a
loss in which each class counts alike, an optimiser and a learning rate of its own, and several steps for each of the
network's. `constant_loss` is the loss that the best constant would have, to be held against.

References
----------
.. [1] Y. Ganin et al., "Domain-adversarial training of neural networks", JMLR 17(59), 2016. arXiv:1505.07818
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.focal import FocalLoss
from models.reversal import reverse_gradient


class Adversaries(nn.Module):
    """One adversary an attribute, thrown away after training.

    Parameters
    ----------
    dimension : int
        Size of the embedding.
    alpha : dict of sequence of float
        Weight of each class in the loss, by attribute (`models.focal.class_constants`).
    coefficients : dict of float
        How much of an adversary's gradient comes back, reversed, at most. With 0 it only watches.
    hidden : int
        Width of its two hidden layers.
    """

    def __init__(
        self, dimension: int, alpha: Mapping[str, Sequence[float]], coefficients: Mapping[str, float], hidden: int = 128
    ) -> None:
        super().__init__()
        self.coefficients = dict(coefficients)
        self.readers = nn.ModuleDict({name: _reader(dimension, hidden, len(alpha[name])) for name in coefficients})
        self.losses = nn.ModuleDict({n: FocalLoss(alpha[n], [0.0] * len(alpha[n])) for n in coefficients})

    def forward(
        self, embedding: Tensor, labels: Mapping[str, Tensor], weight: Tensor, share: float = 1.0
    ) -> dict[str, Tensor]:
        """Losses by attribute of embeddings (B, D); ``share`` of the coefficients' gradient comes back reversed."""
        direction = F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=1)
        direction = direction * math.sqrt(embedding.shape[1])  # numbers of about 1
        return {
            name: self.losses[name](
                reader(reverse_gradient(direction, share * self.coefficients[name])), labels[name], weight
            )
            for name, reader in self.readers.items()
        }


def _reader(dimension: int, hidden: int, classes: int) -> nn.Sequential:
    first = [nn.Linear(dimension, hidden), nn.LeakyReLU(0.2)]
    return nn.Sequential(*first, nn.Linear(hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, classes))


def constant_loss(alpha: Sequence[float], codes: Tensor, weight: Tensor) -> float:
    """The loss of the best constant prediction, of labels (N,) with -1 where missing and weights (N,).

    With each class's share q_c of the weights, the best constant says p_c in proportion to alpha_c q_c:
    L = -sum alpha_c q_c log p_c. 0 where no label is known.
    """
    known = codes >= 0
    shares = torch.zeros(len(alpha), dtype=torch.float64).index_add(0, codes[known], weight[known].double())
    mass = torch.tensor(list(alpha), dtype=torch.float64) * shares / shares.sum().clamp(min=1e-12)
    best = mass / mass.sum().clamp(min=1e-12)
    return float(-torch.xlogy(mass, best).sum())
