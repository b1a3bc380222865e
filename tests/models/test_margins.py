"""ArcFace and CosFace against pytorch-metric-learning, and what every identity loss must do."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
from torch import Tensor

from models.magface import MagFace
from models.margins import ArcFace, CosFace, MarginLoss

D, K, B = 8, 5, 6
LOSSES = {"arcface": ArcFace, "cosface": CosFace, "magface": MagFace}


def faces(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return 6 * torch.randn(B, D, generator=rng, dtype=dtype), torch.randint(K, (B,), generator=rng)


def make(name: str, **changes: float) -> MarginLoss:
    torch.manual_seed(1)
    return LOSSES[name](D, K, **changes)


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_loss_is_the_references(name: str) -> None:
    loss = make(name)
    if name == "arcface":
        reference = ArcFaceLoss(K, D, margin=torch.rad2deg(torch.tensor(loss.margin)).item(), scale=loss.scale)
    else:
        reference = CosFaceLoss(K, D, margin=loss.margin, scale=loss.scale)
    reference.W.data.copy_(loss.centres.detach().T)
    x, target = faces()
    ours, norm = loss(x, target)
    torch.testing.assert_close(ours, reference(x, target), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm, x.norm(dim=1))
    assert not bool(loss.clamped(norm).any())


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_right(name: str) -> None:
    loss, (x, target) = make(name, scale=8.0).double(), faces(torch.float64)
    weight = torch.linspace(0.5, 1.5, B, dtype=torch.float64)

    def run(x: Tensor, centres: Tensor) -> Tensor:
        return torch.func.functional_call(loss, {"centres": centres}, (x, target, weight))[0]

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), loss.centres.detach().clone().requires_grad_()))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_finite_where_the_angle_is_zero_or_pi_in_bfloat16(name: str, sign: float) -> None:
    loss = make(name)
    x = (sign * 20 * loss.centres.detach()[:1]).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(x, torch.tensor([0]))[0]
    value.backward()
    assert value.dtype == torch.float32
    for found in (value, x.grad, loss.centres.grad):
        assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_embeddings_lose_nothing_but_their_own_digits(name: str) -> None:
    """Margins and logits are computed in float32 under autocast: the same number as outside of it."""
    loss, (x, target) = make(name), faces()
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(x.bfloat16(), target)[0]
    assert torch.equal(inside, loss(x.bfloat16().float(), target)[0])


@pytest.mark.parametrize("name", LOSSES)
def test_a_margin_makes_the_loss_harder(name: str) -> None:
    x, target = faces()
    margins = {"l_m": 0.0, "u_m": 0.0} if name == "magface" else {"margin": 0.0}
    with torch.no_grad():
        assert float(make(name)(x, target)[0]) > float(make(name, **margins)(x, target)[0])


def test_magfaces_margin_moves_with_the_norm_and_the_others_do_not() -> None:
    """Pins the thesis's third defect: a margin that no norm moved. Lengths alone change here."""
    rows = torch.ones(2, dtype=torch.float64) * 0.3
    norms = torch.tensor([12.0, 100.0], dtype=torch.float64)
    for name in LOSSES:
        short, long = make(name).target_cosine(rows, norms).tolist()
        assert (short > long) if name == "magface" else (short == long)
