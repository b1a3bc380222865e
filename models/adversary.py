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
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.focal import MISSING
from models.reversal import reverse_gradient

SLOPE = 0.2  # of the leaky ReLUs between an adversary's layers


class Adversaries(nn.Module):
    """One adversary an attribute, all computed side by side, thrown away after training.

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

    missing: Tensor
    by_class: Tensor
    coefficients: Tensor

    def __init__(
        self, dimension: int, alpha: Mapping[str, Sequence[float]], coefficients: Mapping[str, float], hidden: int = 128
    ) -> None:
        super().__init__()
        self.alpha = {name: list(alpha[name]) for name in coefficients}
        counts = [len(each) for each in self.alpha.values()]
        sizes = [(dimension, hidden, hidden, count) for count in counts]
        alone = [[nn.Linear(*each) for each in pairwise(size)] for size in sizes]
        self.layers = nn.ModuleList(_Beside(layers) for layers in zip(*alone, strict=True))
        missing = torch.arange(max(counts)) >= torch.tensor(counts)[:, None]  # (A, C): classes that others have
        padded = [each + [0.0] * (max(counts) - len(each)) for each in self.alpha.values()]
        self.register_buffer("missing", missing[:, None], persistent=False)  # (A, 1, C)
        self.register_buffer("by_class", torch.tensor(padded), persistent=False)  # (A, C)
        rates = torch.tensor(list(coefficients.values()))[:, None, None]  # (A, 1, 1)
        self.register_buffer("coefficients", rates, persistent=False)

    def forward(
        self, embedding: Tensor, labels: Mapping[str, Tensor], weight: Tensor, share: float = 1.0
    ) -> dict[str, Tensor]:
        """Losses by attribute of embeddings (B, D); ``share`` of the coefficients' gradient comes back reversed."""
        direction = F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=1)
        direction = direction * math.sqrt(embedding.shape[1])  # numbers of about 1
        x = reverse_gradient(direction.expand(len(self.alpha), -1, -1), share * self.coefficients)  # (A, B, D)
        first, second, last = self.layers
        logits = last(F.leaky_relu(second(F.leaky_relu(first(x), SLOPE)), SLOPE))  # (A, B, C)
        log_p = F.log_softmax(logits.masked_fill(self.missing, -math.inf), dim=2)
        codes = torch.stack([labels[name] for name in self.alpha])  # (A, B)
        classes = codes.clamp(min=0)
        each = -log_p.gather(2, classes[:, :, None]).squeeze(2) * self.by_class.to(log_p.dtype).gather(1, classes)
        counted = (codes != MISSING) * weight.to(log_p.dtype)
        losses = (each * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=torch.finfo(log_p.dtype).tiny)
        return dict(zip(self.alpha, losses.unbind(), strict=True))


class _Beside(nn.Module):
    """Linear layers of A networks in one product, (A, B, in) -> (A, B, out); where outputs are fewer, zeros follow."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        wide = max(layer.out_features for layer in layers)
        pads = [(0, wide - layer.out_features) for layer in layers]
        weights = [F.pad(layer.weight.detach().T, pad) for layer, pad in zip(layers, pads, strict=True)]
        biases = [F.pad(layer.bias.detach()[None], pad) for layer, pad in zip(layers, pads, strict=True)]
        self.weight = nn.Parameter(torch.stack(weights))  # (A, in, out)
        self.bias = nn.Parameter(torch.stack(biases))  # (A, 1, out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


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
