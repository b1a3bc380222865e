"""Focal loss [1]_ with a weight and a focus for each class, deaf to missing labels.

    L = -alpha_c (1 - p_c)^gamma_c log p_c          for the true class c, with softmax p

References
----------
.. [1] T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollar, "Focal loss for dense object detection", ICCV 2017.
   arXiv:1708.02002
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.margins import weighted_mean

MISSING = -1


class FocalLoss(nn.Module):
    """Focal loss over the samples that have a label.

    Parameters
    ----------
    alpha, gamma : sequence of float
        Weight and focus of each class.
    """

    alpha: Tensor
    gamma: Tensor

    def __init__(self, alpha: Sequence[float], gamma: Sequence[float]) -> None:
        super().__init__()
        if len(alpha) != len(gamma):
            raise ValueError(f"expected an alpha and a gamma for each class, got {len(alpha)} and {len(gamma)}")
        self.register_buffer("alpha", torch.tensor(list(alpha), dtype=torch.float32))
        self.register_buffer("gamma", torch.tensor(list(gamma), dtype=torch.float32))

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Logits (B, classes), targets (B,) with -1 where missing -> scalar; 0 with a graph where none is known."""
        if logits.ndim != 2 or logits.shape[1] != len(self.alpha):
            raise ValueError(f"expected logits of shape (B, {len(self.alpha)}), got {tuple(logits.shape)}")
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        known = target != MISSING
        classes = target.clamp(min=0)
        log_p = F.log_softmax(logits, dim=1).gather(1, classes[:, None]).squeeze(1)
        focus = (1 - log_p.exp()).clamp(min=torch.finfo(log_p.dtype).eps) ** self.gamma.to(log_p.dtype)[classes]
        each = -self.alpha.to(log_p.dtype)[classes] * focus * log_p
        counted = known.to(log_p.dtype) if weight is None else known * weight.to(log_p.dtype)
        return weighted_mean(each, counted)


def class_constants(counts: Sequence[int], focus: float) -> tuple[list[float], list[float]]:
    """Alpha and gamma of each class from its count in the training split.

    Alpha is inverse to the frequency, with a mean of 1 over the samples (n / (classes n_c)); a class that is absent
    gets 0. Gamma is ``focus`` for the commonest class and 0 for the others, as the rare ones need every gradient.
    """
    total, present = sum(counts), sum(c > 0 for c in counts)
    alpha = [total / (present * c) if c else 0.0 for c in counts]
    commonest = max(range(len(counts)), key=lambda i: counts[i])
    return alpha, [focus if i == commonest else 0.0 for i in range(len(counts))]
