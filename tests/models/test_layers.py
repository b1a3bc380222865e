"""The parts of the networks: residual blocks, attention, gradient reversal, activation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.activation import PReLU
from models.attention import Attention, ChannelAttention, Decomposition, SpatialAttention, _means
from models.iresnet import Block, IResNet
from models.reversal import ramp, reverse_gradient


def test_prelu_is_torchs() -> None:
    ours, theirs = PReLU().double(), nn.PReLU().double()
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    grad = torch.randn_like(x)
    results = []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        y.backward(grad)
        results.append((y.detach(), leaf.grad, layer.weight.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("slope", [0.25, 0.0, -0.3])
def test_prelu_gradients(slope: float) -> None:
    layer = PReLU().double()
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    weight = torch.tensor([slope], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x.requires_grad_(), weight))


def test_blocks_are_where_the_paper_has_them() -> None:
    """Activations on the main path: one a stage, at its end; a norm closes the start block and the end block."""
    stage = IResNet(3, 8, blocks=(3, 2, 2, 4)).stages[3]
    start, first, second, end = stage
    kinds = [[type(layer).__name__ for layer in block.residual] for block in stage]
    convolutions = ["Conv2d", "BatchNorm2d", "PReLU", "Conv2d"]
    assert kinds[0] == [*convolutions, "BatchNorm2d"]
    assert kinds[1] == ["PReLU", *convolutions]
    assert kinds[2] == ["BatchNorm2d", "PReLU", *convolutions]
    assert kinds[3] == kinds[2]
    assert [type(layer).__name__ for layer in end.after] == ["BatchNorm2d", "PReLU"]
    assert all(isinstance(block.after, nn.Identity) for block in (start, first, second))
    assert [type(layer).__name__ for layer in start.shortcut] == ["MaxPool2d", "Conv2d", "BatchNorm2d"]


def test_shortcuts() -> None:
    assert isinstance(Block(8, 8, 1, "middle").shortcut, nn.Identity)
    pooled = Block(8, 8, 2, "start").shortcut
    assert [type(layer).__name__ for layer in pooled] == ["MaxPool2d"]


def test_published_network_has_its_size() -> None:
    """11.18 M parameters: ResNet-18's 11.69 M without its classifier of 0.51 M (arXiv:2004.04989: equal sizes)."""
    count = sum(p.numel() for p in IResNet(3).parameters())
    assert count == pytest.approx(11.18e6, rel=0.002)


def test_refused_stages() -> None:
    with pytest.raises(ValueError, match="expected 4 stages"):
        IResNet(3, 8, strides=(2, 2, 2))
    with pytest.raises(ValueError, match="a start and an end block"):
        IResNet(3, 8, blocks=(1, 2, 2, 2))


@pytest.mark.parametrize("shape", [(7, 7), (4, 4), (3, 5)])
def test_pyramid_means_are_adaptive_pooling(shape: tuple[int, int]) -> None:
    x = torch.randn(2, 6, *shape)
    expected = torch.cat([F.adaptive_avg_pool2d(x, side).flatten(2) for side in (1, 2, 3)], dim=2)
    torch.testing.assert_close(x.flatten(2) @ _means(*shape), expected)


def test_attention_is_the_mean_of_both_and_splits_exactly() -> None:
    layer = Attention(16).eval()
    x = torch.randn(2, 16, 4, 4)
    part, rest = layer(x)
    torch.testing.assert_close(part + rest, x)
    sigma = (layer.channel(x).expand_as(x) + layer.spatial(x).expand_as(x)) / 2
    torch.testing.assert_close(part, x * sigma)
    assert 0 < float(sigma.min().detach()) <= float(sigma.max().detach()) < 1
    assert ChannelAttention(16).eval()(x).shape == (2, 16, 1, 1)
    assert SpatialAttention().eval()(x).shape == (2, 1, 4, 4)


def test_decomposition_is_serial_and_each_attribute_has_its_own_module() -> None:
    """Pins the thesis's first defect: the expression was read off the facial hair's module."""
    names = ("spectacles", "expression", "gender")
    layer = Decomposition(16, names).eval()
    x = torch.randn(2, 16, 4, 4)
    parts, remainders, identity = layer(x)
    assert len({id(step) for step in layer.steps.values()}) == len(names)
    torch.testing.assert_close(sum(parts.values()) + identity, x)
    torch.testing.assert_close(remainders["spectacles"], x - parts["spectacles"])
    torch.testing.assert_close(remainders["gender"], identity)
    for name in names:
        grads = torch.autograd.grad(parts[name].sum(), list(layer.steps[name].parameters()), retain_graph=True)
        assert all(float(g.abs().sum()) > 0 for g in grads)


def test_reversal_turns_the_gradient() -> None:
    x = torch.randn(5, requires_grad=True)
    y = reverse_gradient(x, 0.3)
    torch.testing.assert_close(y, x)
    (y * torch.arange(5.0)).sum().backward()
    torch.testing.assert_close(x.grad, -0.3 * torch.arange(5.0))


def test_ramp_rises_from_zero_to_one() -> None:
    values = [ramp(p / 10) for p in range(11)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[-1] == pytest.approx(1, abs=1e-3)
