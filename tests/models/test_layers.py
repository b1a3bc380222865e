"""The parts of the networks: residual blocks, attention, gradient reversal, activation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.activation import PReLU
from models.attention import ATTENTIONS, CBAM, ChannelAttention, Decomposition, MeanAttention, SpatialAttention, _means
from models.backbones import BACKBONES
from models.heads import EmbeddingHead
from models.ir import IR50
from models.iresnet import Block, IResNet
from models.reversal import reverse_gradient


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


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet18", 11_689_512 - 513_000),  # torchvision's ResNet-18 without its classifier of 512 x 1000 + 1000
        ("iresnet18", 11_689_512 - 513_000),  # arXiv:2004.04989: as many as the ResNet of the same depth
        ("iresnet50", 25_557_032 - 2_049_000),  # torchvision's ResNet-50 without its classifier of 2048 x 1000 + 1000
    ],
)
def test_published_networks_have_their_size(name: str, published: int) -> None:
    assert sum(p.numel() for p in BACKBONES[name](3, activation="relu").parameters()) == published


def test_iresnet_50_has_the_papers_blocks() -> None:
    """A bottleneck stage has as many norms as blocks of the plain network, and one activation on the main path."""
    stage = BACKBONES["iresnet50"](3, 8).stages[1]
    kinds = [[type(layer).__name__ for layer in block.residual] for block in stage]
    inner = ["Conv2d", "BatchNorm2d", "PReLU", "Conv2d", "BatchNorm2d", "PReLU", "Conv2d"]
    assert kinds == [[*inner, "BatchNorm2d"], ["PReLU", *inner], *[["BatchNorm2d", "PReLU", *inner]] * 2]
    assert [type(layer).__name__ for layer in stage[0].shortcut] == ["MaxPool2d", "Conv2d", "BatchNorm2d"]
    assert [layer.stride for layer in stage[0].residual if isinstance(layer, nn.Conv2d)] == [(1, 1), (2, 2), (1, 1)]


def test_ir_50_is_the_published_one() -> None:
    """MTLFace's checkpoint: 457 tensors of the backbone, maps of 64 to 512 channels; with ArcFace's head 43.59 M."""
    model = IR50(3)
    assert len(model.state_dict()) == 457
    x = torch.zeros(1, 3, 112, 112)
    shapes = [tuple((x := model.stem(x)).shape[1:])]
    shapes += [tuple((x := stage(x)).shape[1:]) for stage in model.stages]
    assert shapes == [(64, 112, 112), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    head = sum(p.numel() for p in EmbeddingHead(512, 49, 512, 0.5).parameters()) + 512  # whose layer has a bias
    assert sum(p.numel() for p in model.parameters()) + head == by_hand()


def by_hand() -> int:
    """Parameters of IR-50 with its head, from the description alone."""
    total, before = 9 * 3 * 64 + 2 * 64 + 64, 64
    for wide, units in ((64, 3), (128, 4), (256, 14), (512, 3)):
        for _ in range(units):
            total += 2 * before + 9 * before * wide + 2 * wide + wide + 9 * wide * wide + 2 * wide
            total += 0 if before == wide else before * wide + 2 * wide
            before = wide
    return total + 2 * 512 + 512 * 49 * 512 + 512 + 2 * 512


@pytest.mark.parametrize("size", [112, 160, 256])
@pytest.mark.parametrize("strides", [(2, 2, 2, 2), (1, 2, 2, 2)])
@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_say_what_they_give(name: str, strides: tuple[int, ...], size: int) -> None:
    model = BACKBONES[name](2, 4, strides=strides, activation="prelu").eval()
    with torch.no_grad():
        side = -(-size // model.reduction)
        assert model(torch.zeros(1, 2, size, size)).shape == (1, model.out_channels, side, side)


def test_refused_stages() -> None:
    with pytest.raises(ValueError, match="expected 4 stages"):
        IResNet(3, 8, strides=(2, 2, 2))
    for name in ("resnet18", "ir50"):
        with pytest.raises(ValueError, match="expected 4 stages"):
            BACKBONES[name](3, 8, strides=(2, 2, 2))
    with pytest.raises(ValueError, match="a start and an end block"):
        IResNet(3, 8, blocks=(1, 2, 2, 2))


@pytest.mark.parametrize("shape", [(7, 7), (4, 4), (3, 5)])
def test_pyramid_means_are_adaptive_pooling(shape: tuple[int, int]) -> None:
    x = torch.randn(2, 6, *shape)
    expected = torch.cat([F.adaptive_avg_pool2d(x, side).flatten(2) for side in (1, 2, 3)], dim=2)
    torch.testing.assert_close(x.flatten(2) @ _means(*shape), expected)


def test_attention_is_the_mean_of_both() -> None:
    layer = MeanAttention(16).eval()
    x = torch.randn(2, 16, 4, 4)
    sigma = (layer.channel(x).expand_as(x) + layer.spatial(x).expand_as(x)) / 2
    torch.testing.assert_close(layer(x), sigma)
    assert ChannelAttention(16).eval()(x).shape == (2, 16, 1, 1)
    assert SpatialAttention().eval()(x).shape == (2, 1, 4, 4)


def test_cbam_looks_at_places_after_it_has_weighed_channels() -> None:
    layer = CBAM(16).eval()
    x = torch.randn(2, 16, 4, 4)
    mean, largest = F.adaptive_avg_pool2d(x, 1).flatten(1), F.adaptive_max_pool2d(x, 1).flatten(1)
    channel = torch.sigmoid(layer.channel(mean) + layer.channel(largest))[:, :, None, None]
    torch.testing.assert_close(layer(x), channel * layer.spatial(channel * x))


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_of_every_kind_splits_exactly(kind: str) -> None:
    layer = Decomposition(16, ("pose",), kind).eval()
    x = torch.randn(2, 16, 4, 4)
    parts, rest = layer(x)
    torch.testing.assert_close(parts["pose"] + rest, x)
    sigma = layer.steps["pose"](x)
    assert 0 < float(sigma.min().detach()) <= float(sigma.max().detach()) < 1


def test_a_series_of_gates_leaves_the_features_nearly_whole_at_first() -> None:
    """Half open, five of them left the identity 1/32 of the features, and recognition suffered (docs/train.md)."""
    torch.manual_seed(0)
    layer = Decomposition(16, ("spectacles", "facial_hair", "expression", "pose", "gender"))
    x = torch.randn(32, 16, 7, 7)
    _, identity = layer(x)
    assert 0.4 < float(identity.detach().norm() / x.norm()) < 0.6


def test_decomposition_is_serial_and_each_attribute_has_its_own_module() -> None:
    """Pins the thesis's first defect: the expression was read off the facial hair's module."""
    names = ("spectacles", "expression", "gender")
    layer = Decomposition(16, names).eval()
    x = torch.randn(2, 16, 4, 4)
    parts, identity = layer(x)
    assert len({id(step) for step in layer.steps.values()}) == len(names)
    torch.testing.assert_close(sum(parts.values()) + identity, x)
    for name in names:
        grads = torch.autograd.grad(parts[name].sum(), list(layer.steps[name].parameters()), retain_graph=True)
        assert all(float(g.abs().sum()) > 0 for g in grads)


def test_reversal_turns_the_gradient() -> None:
    x = torch.randn(5, requires_grad=True)
    y = reverse_gradient(x, 0.3)
    torch.testing.assert_close(y, x)
    (y * torch.arange(5.0)).sum().backward()
    torch.testing.assert_close(x.grad, -0.3 * torch.arange(5.0))
