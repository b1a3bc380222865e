"""The detector's networks: shapes, and the layout of features before the dense layers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from skimage import data

from models.mtcnn import ROUNDING, ONet, PNet, RNet, _flatten, _pool
from stages.crop.weights import load_networks


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def plainly(network: PNet, x: torch.Tensor, least: float) -> tuple[torch.Tensor, ...]:
    """PNet as its paper draws it: all layers of all windows."""
    x = F.max_pool2d(network.prelu1(network.conv1(x)), 2, 2, ceil_mode=True)
    x = network.prelu3(network.conv3(network.prelu2(network.conv2(x))))
    scores = network.conv4_2(x).softmax(dim=1)[:, 1]
    where = (scores > least).nonzero()
    return where, scores[where.unbind(1)], network.conv4_1(x).permute(0, 2, 3, 1)[where.unbind(1)]


@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 20), (31, 12), (40, 57)])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("least", [0.3, 0.5])
def test_proposals_are_those_of_the_plain_network(height, width, seed, least):
    torch.manual_seed(seed)
    network = PNet()
    for layer in (network.prelu1, network.prelu2, network.prelu3):
        layer.weight.uniform_(-1.5, 1.5)  # falling and steep ones among them, as in the trained weights
    network.conv4_2.bias[1] += network.conv4_2.bias[0] - plainly(network, torch.zeros(1, 3, 12, 12), 0)[1].logit()[0]
    x = torch.randn(2, 3, height, width)
    for ours, plain in zip(network(x, least), plainly(network, x, least), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 20), (31, 12)])
def test_proposals_keep_the_last_partial_window(height, width):
    where, scores, offsets = PNet()(torch.zeros(2, 3, height, width), 1e-9)
    rows, columns = (-(-(side - 2) // 2) - 4 for side in (height, width))  # ceil((side - 2) / 2), then two 3x3 layers
    assert where.tolist() == [[i, y, x] for i in range(2) for y in range(rows) for x in range(columns)]
    assert scores.shape == (len(where),)
    assert offsets.shape == (len(where), 4)


def test_the_bound_of_trained_proposals_is_sound_and_leaves_few():
    """On a portrait and on noise, where the package's weights are least sure."""
    network = load_networks()[0]
    portrait = torch.from_numpy(data.astronaut()[:300, :300].copy()).permute(2, 0, 1)[None].float()
    noise = torch.randint(0, 256, (1, 3, 300, 300), generator=torch.Generator().manual_seed(7)).float()
    for image, most in ((portrait, 0.05), (noise, 0.2)):
        x = (image - 127.5) / 128
        logit = plainly(network, x, 0)[1].logit()
        x = F.max_pool2d(network.prelu1(network.conv1(x)), 2, 2, ceil_mode=True)
        bound = network._bound(network.prelu2(network.conv2(x))).flatten()
        assert len(bound) == len(logit)
        assert (bound > logit - ROUNDING / 10).all()
        assert (bound > math.log(0.6 / 0.4)).float().mean() < most


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("height", [5, 8])
@pytest.mark.parametrize("width", [6, 9])
def test_pools_as_torch_does(size, height, width):
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(7))
    expected = torch.nn.functional.max_pool2d(x, size, 2, ceil_mode=True)
    assert torch.equal(_pool(x, size), expected)


@pytest.mark.parametrize(("kind", "side", "more"), [(PNet, 20, (0.01,)), (RNet, 24, ()), (ONet, 48, ())])
def test_a_grey_image_is_one_of_three_equal_channels(kind, side, more):
    network, grey = kind(), torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(7))
    for one, three in zip(network(grey, *more), network(grey.expand(-1, 3, -1, -1), *more), strict=True):
        assert len(one)
        torch.testing.assert_close(one, three, atol=1e-5, rtol=1e-4)


def test_refinement_and_output_shapes():
    offsets, scores = RNet()(torch.zeros(3, 3, 24, 24))
    assert (offsets.shape, scores.shape) == ((3, 4), (3,))
    offsets, landmarks, scores = ONet()(torch.zeros(3, 3, 48, 48))
    assert (offsets.shape, landmarks.shape, scores.shape) == ((3, 4), (3, 10), (3,))
    assert ((scores >= 0) & (scores <= 1)).all()


def test_features_are_laid_out_column_by_column():
    features = torch.arange(2 * 3 * 4).reshape(1, 2, 3, 4)
    loop = [int(features[0, c, y, x]) for x in range(4) for y in range(3) for c in range(2)]
    assert _flatten(features)[0].tolist() == loop
