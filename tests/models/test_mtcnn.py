"""The detector's networks: shapes, and the layout of features before the dense layers."""

from __future__ import annotations

import pytest
import torch

from models.mtcnn import ONet, PNet, RNet, _flatten, _pool


@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 20), (31, 12)])
def test_proposals_keep_the_last_partial_window(height, width):
    network = PNet()
    features, scores = network(torch.zeros(2, 3, height, width))
    rows, columns = (-(-(side - 2) // 2) - 4 for side in (height, width))  # ceil((side - 2) / 2), then two 3x3 layers
    assert features.shape == (2, rows, columns, 32)
    assert scores.shape == (2, rows, columns)
    assert network.offsets(features[0, 0]).shape == (columns, 4)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("height", [5, 8])
@pytest.mark.parametrize("width", [6, 9])
def test_pools_as_torch_does(size, height, width):
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(7))
    expected = torch.nn.functional.max_pool2d(x, size, 2, ceil_mode=True)
    assert torch.equal(_pool(x, size), expected)


@pytest.mark.parametrize(("kind", "side"), [(PNet, 20), (RNet, 24), (ONet, 48)])
def test_a_grey_image_is_one_of_three_equal_channels(kind, side):
    network, grey = kind(), torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(7))
    for one, three in zip(network(grey), network(grey.expand(-1, 3, -1, -1)), strict=True):
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
