"""Activations by name: PReLU with one shared slope [1]_, quick on a processor, or ReLU for comparison.

torch's own backward of PReLU takes a quarter of a training step on a CPU: it writes a gradient of the slope for every
pixel and sums those. Here the slope is read as a number, so that both passes are the vectorised ones of leaky ReLU, and
its gradient is one reduction (benchmarks/train.py measures it). Elsewhere, where reading a number would wait for
the device, torch's own is used.

References
----------
.. [1] K. He et al., "Delving deep into rectifiers", ICCV 2015. DOI:10.1109/ICCV.2015.123
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _SharedPReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope.item()
        return F.leaky_relu(x, ctx.slope)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (x,), (grad,) = ctx.saved_tensors, grads
        grad_slope = (grad * x.clamp(max=0)).sum().reshape(1)  # summed in float32, whatever the type
        return torch.ops.aten.leaky_relu_backward(grad, x, ctx.slope, False), grad_slope


class PReLU(nn.Module):
    """max(x, 0) + a min(x, 0) with one learned slope a, 0.25 at first; any shape."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            return _SharedPReLU.apply(x, self.weight)
        return F.prelu(x, self.weight.to(x.dtype))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"prelu": PReLU, "relu": nn.ReLU}


def activation(name: str) -> nn.Module:
    """A new activation by its name, ``"prelu"`` or ``"relu"``."""
    if name not in ACTIVATIONS:
        raise ValueError(f"no activation `{name}`; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
