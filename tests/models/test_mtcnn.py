"""The detector's networks: shapes, and the layout of features before the dense layers."""

from __future__ import annotations

import pytest
import torch

from models.mtcnn import ONet, PNet, RNet, _flatten


@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 20), (31, 12)])
def test_proposals_keep_the_last_partial_window(height, width):
    offsets, scores = PNet()(torch.zeros(2, 3, height, width))
    rows, columns = (-(-(side - 2) // 2) - 4 for side in (height, width))  # ceil((side - 2) / 2), then two 3x3 layers
    assert offsets.shape == (2, 4, rows, columns)
    assert scores.shape == (2, rows, columns)


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
