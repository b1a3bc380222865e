"""Focal loss against a plain loop, and its deafness to missing labels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.focal import FocalLoss, class_constants

ALPHA, GAMMA = [0.3, 1.7, 1.0], [2.0, 0.0, 1.0]


def looped(logits: list[list[float]], target: list[int]) -> float:
    total, known = 0.0, 0
    for row, c in zip(logits, target, strict=True):
        if c < 0:
            continue
        p = math.exp(row[c]) / sum(math.exp(v) for v in row)
        total -= ALPHA[c] * (1 - p) ** GAMMA[c] * math.log(p)
        known += 1
    return total / known


@given(st.lists(st.tuples(*[st.floats(-5, 5)] * 3, st.integers(-1, 2)), min_size=1, max_size=8))
def test_loss_is_the_papers(rows: list[tuple[float, float, float, int]]) -> None:
    logits, target = [list(r[:3]) for r in rows], [r[3] for r in rows]
    value = FocalLoss(ALPHA, GAMMA)(torch.tensor(logits, dtype=torch.float64), torch.tensor(target))
    expected = looped(logits, target) if max(target) >= 0 else 0.0
    assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_missing_labels_have_no_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    FocalLoss(ALPHA, GAMMA)(logits, torch.tensor([0, -1, 2, -1])).backward()
    assert (logits.grad.abs().sum(dim=1) > 0).tolist() == [True, False, True, False]


def test_no_label_at_all_gives_zero_with_a_graph() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    value = FocalLoss(ALPHA, GAMMA)(logits, torch.full((4,), -1))
    value.backward()
    assert float(value.detach()) == 0
    assert float(logits.grad.abs().sum()) == 0


def test_certain_predictions_stay_finite() -> None:
    logits = torch.tensor([[200.0, -200, 0], [-200.0, 200, 0]], requires_grad=True)
    value = FocalLoss(ALPHA, [0.5, 0.5, 0.5])(logits, torch.tensor([0, 0]))
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(logits.grad).all())


def test_weights_and_gradients() -> None:
    loss, rng = FocalLoss(ALPHA, GAMMA), torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, dtype=torch.float64, generator=rng, requires_grad=True)
    target, weight = torch.tensor([0, 1, 2, -1, 0]), torch.tensor([1.0, 2, 0.5, 9, 1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weight), (logits,))


def test_constants_come_from_counts() -> None:
    alpha, gamma = class_constants([90, 10, 0], focus=2.0)
    assert alpha == pytest.approx([100 / 180, 100 / 20, 0])
    assert 90 * alpha[0] + 10 * alpha[1] == pytest.approx(100)  # a mean of 1 over the samples
    assert gamma == [2.0, 0.0, 0.0]
    assert class_constants([0, 0], focus=1.0)[0] == [0.0, 0.0]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected logits of shape"):
        FocalLoss(ALPHA, GAMMA)(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="an alpha and a gamma for each class"):
        FocalLoss([1.0], GAMMA)
