"""A batch that several processes share is one batch: its statistics, its dropout, its outputs.

Each of N processes sees its part of the batch, of the same size. Batch norms use the statistics of the whole batch,
dropout drops what one process would have dropped, and what the network says is put together again, so that the losses
are those of one process. (torch's own `SyncBatchNorm` is for GPUs alone.)

The loss of the whole batch is computed in each process. Gradients run back through sums over the processes, whose
derivatives are such sums too, and come out N times too large: averaging over the processes, as DDP does, puts that
right.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from models.recogniser import Recognition

AFFINE = "weight", "bias", "running_mean", "running_var", "num_batches_tracked"


class _Sum(torch.autograd.Function):
    """The sum of all processes' values."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(context, gradient)


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of (B, C, ...) over the parts of all processes."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        processes = dist.get_world_size()
        axes = [i for i in range(x.ndim) if i != 1]
        shape = [-1 if i == 1 else 1 for i in range(x.ndim)]
        mean = _Sum.apply(x.mean(dim=axes)) / processes
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().mean(dim=axes)) / processes
        self._track(mean.detach(), variance.detach(), processes * x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


class SharedDropout(nn.Dropout):
    """Dropout that draws for the whole batch in each process, from random numbers in the same state, and does its part.

    One process would have drawn the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        count, rank = len(input), dist.get_rank()
        whole = F.dropout(input.new_ones(count * dist.get_world_size(), *input.shape[1:]), self.p)
        return input * whole[rank * count : (rank + 1) * count]


def share(module: nn.Module) -> None:
    """Replace all batch norms and dropouts inside a module by shared ones, in place; the names of its state stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            shared = SharedBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            for part in AFFINE:
                setattr(shared, part, getattr(child, part))
            setattr(module, name, shared)
        elif isinstance(child, nn.Dropout):
            setattr(module, name, SharedDropout(child.p))
        else:
            share(child)


def together(part: Recognition, *, identity: bool = False) -> Recognition:
    """What a network says of the whole batch, from what it says of each process's part; of maps only where asked."""

    count, rank, processes = len(part.embedding), dist.get_rank(), dist.get_world_size()

    def whole(values: Tensor) -> Tensor:
        before, after = (values.new_zeros(count * n, *values.shape[1:]) for n in (rank, processes - 1 - rank))
        together: Tensor = _Sum.apply(torch.cat([before, values, after]))
        return together

    return Recognition(
        embedding=whole(part.embedding),
        logits={name: whole(logits) for name, logits in part.logits.items()},
        identity=whole(part.identity) if identity and part.identity is not None else None,
    )
