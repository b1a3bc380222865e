"""MagFace against a plain loop written from the paper, and what it must do to margins, norms and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.magface import MagFace, lambda_bound
from models.margins import turned, weighted_mean
from pipeline import params

D, K, B = 8, 5, 6


def faces(norm: float = 16.0, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(B, D, generator=rng, dtype=dtype)
    spread = torch.linspace(0.8, 1.2, B, dtype=dtype)[:, None]
    return x / x.norm(dim=1, keepdim=True) * norm * spread, torch.randint(K, (B,), generator=rng)


def looped(loss: MagFace, x: Tensor, target: Tensor) -> float:
    """The paper's formula, a sample and a class at a time."""
    total = 0.0
    for f, y in zip(x.tolist(), target.tolist(), strict=True):
        a = math.sqrt(sum(v * v for v in f))
        cosines = []
        for centre in loss.centres.detach().double().tolist():
            length = math.sqrt(sum(v * v for v in centre))
            cosines.append(sum(v * w for v, w in zip(f, centre, strict=True)) / a / length)
        a = min(max(a, loss.l_a), loss.u_a)
        m = loss.l_m + (loss.u_m - loss.l_m) / (loss.u_a - loss.l_a) * (a - loss.l_a)
        theta = math.acos(cosines[y])
        with_margin = math.cos(theta + m) if theta + m <= math.pi else cosines[y] - 1 + math.cos(m)
        own = math.exp(loss.scale * with_margin)
        others = sum(math.exp(loss.scale * c) for j, c in enumerate(cosines) if j != y)
        total += -math.log(own / (own + others)) + loss.lambda_g * (a / loss.u_a**2 + 1 / a)
    return total / len(x)


@pytest.mark.parametrize("norm", [5.0, 16.0, 60.0, 200.0])  # below, inside and above the range
def test_loss_is_the_papers(norm: float) -> None:
    loss = MagFace(D, K)
    x, target = faces(norm)
    assert float(loss(x, target)[0].detach()) == pytest.approx(looped(loss, x, target), rel=1e-5)


def test_margin_grows_with_the_norm_and_regulariser_falls() -> None:
    loss = MagFace(D, K)
    norms = torch.linspace(loss.l_a, loss.u_a, 50, dtype=torch.float64)
    margin, g = loss.margin(norms), loss.regulariser(norms)
    assert (margin[0], margin[-1]) == (pytest.approx(loss.l_m), pytest.approx(loss.u_m))
    assert bool((margin.diff() > 0).all())
    assert bool((g.diff() < 0).all())


def test_inside_the_range_the_norm_is_moved_outside_it_is_not() -> None:
    """Pins the thesis's third defect: norms below l_a, where margin and regulariser are constant."""

    def pull(norm: float) -> Tensor:
        loss = MagFace(D, K).double()
        x, target = faces(norm)
        x.requires_grad_()
        loss(x, target)[0].backward()
        return (x.grad * x.detach() / x.detach().norm(dim=1, keepdim=True)).sum(dim=1).abs()  # along the embedding

    assert float(pull(16.0).min()) > 1e-6
    assert float(pull(5.0).max()) < 1e-12
    assert float(pull(300.0).max()) < 1e-12


def test_regulariser_alone_wants_larger_norms() -> None:
    loss = MagFace(D, K)
    norm = torch.tensor([16.0], requires_grad=True)
    loss.regulariser(norm).sum().backward()
    assert float(norm.grad) == pytest.approx(1 / 110**2 - 1 / 16**2)


def test_gradients_are_right() -> None:
    loss = MagFace(D, K, scale=8.0, lambda_g=35.0).double()
    x, target = faces(16.0)
    weight = torch.linspace(0.5, 1.5, B, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: loss(f, target, weight)[0], (x.requires_grad_(),))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_finite_where_the_angle_is_zero_or_pi(sign: float) -> None:
    loss = MagFace(D, K)
    x = (sign * 20 * loss.centres.detach()[:1]).requires_grad_()
    value = loss(x, torch.tensor([0]))[0]
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(x.grad).all())
    assert bool(torch.isfinite(loss.centres.grad).all())


@given(st.floats(0.46, 0.79))
def test_target_logit_falls_as_the_angle_grows(margin: float) -> None:
    theta = torch.linspace(1e-3, math.pi - 1e-3, 400, dtype=torch.float64)
    assert bool((turned(theta.cos(), torch.full_like(theta, margin)).diff() < 0).all())


def test_weights_count_by_sample() -> None:
    """Pins the thesis's fourth defect: (B,) + (B, 1) broadcast to (B, B), so that no weight met its sample."""
    loss = MagFace(D, K)
    x, target = faces()
    each = torch.stack([loss(x[i : i + 1], target[i : i + 1])[0].detach() for i in range(B)])
    weight = torch.tensor([3.0, 0, 1, 0, 0, 2])
    expected = float((each * weight).sum() / weight.sum())
    assert float(loss(x, target, weight)[0].detach()) == pytest.approx(expected, rel=1e-5)
    assert float(weighted_mean(each, torch.zeros(B))) == 0


def test_clamped_and_bound() -> None:
    loss = MagFace(D, K)
    assert loss.clamped(torch.tensor([9.0, 10.0, 50.0, 110.0, 111.0])).tolist() == [True, False, False, False, True]
    bound = lambda_bound(64, 10, 110, 0.45, 0.8)
    assert bound == pytest.approx(22.586, abs=1e-3)
    with pytest.raises(ValueError, match="below its bound"):
        MagFace(D, K, lambda_g=20.0)  # the thesis's
    with pytest.raises(ValueError, match="expected 0 < l_a < u_a"):
        MagFace(D, K, l_a=20.0, u_a=10.0)


@given(st.floats(1, 100), st.floats(1, 50), st.floats(1, 100), st.floats(0, 1), st.floats(0, 1))
def test_the_parameters_have_the_bound_of_the_loss(s: float, l_a: float, wide: float, l_m: float, more: float) -> None:
    """It stands in `pipeline.params` too, which does not load networks to tell of a mistake."""
    made = params.MagFace.model_construct(scale=s, l_a=l_a, u_a=l_a + wide, l_m=l_m, u_m=l_m + more)
    assert made.lambda_bound == pytest.approx(lambda_bound(s, l_a, l_a + wide, l_m, l_m + more))


def test_bfloat16_embeddings_are_compared_in_float32() -> None:
    loss = MagFace(D, K)
    x, target = faces(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        value, norm = loss(x.bfloat16(), target)
    assert value.dtype == norm.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(looped(loss, x.bfloat16().double(), target), rel=1e-4)
