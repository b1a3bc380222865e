"""Gradient reversal: what feeds an adversary learns to defeat it.

References
----------
.. [1] Y. Ganin et al., "Domain-adversarial training of neural networks", JMLR 17(59), 2016. arXiv:1505.07818
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficient: float | Tensor) -> Tensor:
        ctx.coefficient = coefficient
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * grads[0], None


def reverse_gradient(x: Tensor, coefficient: float | Tensor) -> Tensor:
    """The identity forwards; backwards the gradient times ``-coefficient``."""
    return _Reverse.apply(x, coefficient)
