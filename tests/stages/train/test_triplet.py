"""Triplets against pytorch-metric-learning's own loss, and by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import Tensor

from stages.train import build
from stages.train.triplet import TripletLoss

MINERS = ("all", "semihard", "hard", "batch_hard")


def faces(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    return 12 * torch.randn(12, 6, generator=rng, dtype=dtype), torch.arange(12) // 3


@pytest.mark.parametrize("miner", MINERS)
def test_loss_is_the_mean_over_the_mined_triplets(miner: str) -> None:
    x, target = faces()
    loss, unit = TripletLoss(0.4, miner), F.normalize(x, dim=1)
    triplets = [t.tolist() for t in loss.miner(unit, target)]
    violations = []
    for a, p, n in zip(*triplets, strict=True):
        assert target[a] == target[p] != target[n]
        near, far = (float((unit[a] - unit[other]).square().sum()) for other in (p, n))
        assert miner != "semihard" or near < far
        assert miner != "hard" or near > far
        violations.append(max(near - far + 0.4, 0.0))
    value, norm = loss(x, target)
    assert float(value) == pytest.approx(sum(violations) / len(violations), rel=1e-4)
    torch.testing.assert_close(norm, x.norm(dim=1))


def test_loss_is_the_references() -> None:
    """That of pytorch-metric-learning, which averages over the triplets that violate the margin, as `all` mines."""
    x, target = faces()
    reference = TripletMarginLoss(margin=0.4, distance=LpDistance(power=2))
    torch.testing.assert_close(TripletLoss(0.4, "all")(x, target)[0], reference(x, target))


def test_gradients_are_right_and_weights_count_by_anchor() -> None:
    x, target = faces(torch.float64)
    loss, weight = TripletLoss(0.4, "all"), torch.ones(12, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weight)[0], (x.requires_grad_(),))
    alone = torch.zeros(12, dtype=torch.float64)
    alone[2] = 1
    unit = F.normalize(x.detach(), dim=1)
    anchor, positive, negative = loss.miner(unit, target)
    mine = anchor == 2
    near, far = ((unit[2] - unit[other[mine]]).square().sum(dim=1) for other in (positive, negative))
    torch.testing.assert_close(loss(x, target, alone)[0].detach(), F.relu(near - far + 0.4).mean())


def test_a_batch_without_triplets_gives_zero_with_a_graph() -> None:
    x = faces()[0].bfloat16().requires_grad_()
    value, norm = TripletLoss(0.2, "all")(x, torch.arange(12))
    value.backward()
    assert (float(value.detach()), float(x.grad.abs().sum())) == (0, 0)
    assert value.dtype == norm.dtype == torch.float32
    assert not bool(TripletLoss(0.2, "all").clamped(norm).any())


@pytest.mark.parametrize("miner", MINERS)
def test_distances_are_exact_under_autocast(miner: str) -> None:
    """They were products in bfloat16 there: distances of subjects who resemble each other were off by a hundredth."""
    rng = torch.Generator().manual_seed(5)
    x = (10 + torch.randn(12, 64, generator=rng)).bfloat16().requires_grad_()
    target, loss = torch.arange(12) // 3, TripletLoss(0.01, miner)
    plain, norm = loss(x, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within, norm_within = loss(x, target)
    assert within.dtype == torch.float32
    assert float(plain.detach()) > 0
    torch.testing.assert_close(within, plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(norm_within, norm)
    gradients = [torch.autograd.grad(value, x)[0] for value in (within, plain)]
    torch.testing.assert_close(*gradients)


def test_a_run_without_triplets_does_not_import_their_library() -> None:
    """It imports all of scipy's statistics, half a second of every `psface train`."""
    assert "TripletLoss" not in vars(build)
