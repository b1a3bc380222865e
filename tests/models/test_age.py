"""Age: groups by a loop, the loss by hand, missing ages, published sizes, the reversed gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from models.age import BOUNDS, YEARS, AgeHead, AgeLoss, CrossAge, age_groups, expected_age

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def logits(count: int, groups: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return torch.randn(count, YEARS, generator=rng), torch.randn(count, groups, generator=rng)


@given(age=st.floats(0, 120), groups=st.sampled_from(sorted(BOUNDS)))
def test_a_group_is_how_many_bounds_an_age_is_above(age: float, groups: int) -> None:
    expected = sum(age > bound for bound in BOUNDS[groups])
    assert age_groups(torch.tensor([age], dtype=torch.float64), groups).item() == expected


def test_seven_groups_are_decades() -> None:
    """0-10, 11-20, 21-30, 31-40, 41-50, 51-60, 61+, as the published code splits whole years."""
    found = age_groups(torch.arange(101.0))
    assert [int((found == g).sum()) for g in range(7)] == [11, 10, 10, 10, 10, 10, 40]
    assert all(len(bounds) + 1 == groups for groups, bounds in BOUNDS.items())
    with pytest.raises(ValueError, match="no split of the ages into 3 groups; known: 4, 5, 6, 7, 8"):
        AgeHead(4, 4, groups=3)


@pytest.mark.parametrize("missing", [-1.0, float("nan")])
def test_a_missing_age_has_no_group_no_loss_and_no_gradient(missing: float) -> None:
    years, groups = (each.requires_grad_() for each in logits(3))
    age = torch.tensor([20.0, missing, 70.0])
    assert age_groups(age).tolist() == [1, -1, 6]
    loss = AgeLoss()(years, groups, age)
    loss.backward()
    assert float(years.grad[1].abs().sum() + groups.grad[1].abs().sum()) == 0
    assert float(years.grad[0].abs().sum()) > 0
    others = torch.tensor([0, 2])
    torch.testing.assert_close(loss, AgeLoss()(years[others], groups[others], age[others]))
    alone = AgeLoss()(years[1:2], groups[1:2], age[1:2])
    assert float(alone.detach()) == 0
    alone.backward()


def test_expectation_in_closed_form() -> None:
    """All years alike: 50; two years alike: their mean; and a mean over views is that of their shares."""
    assert float(expected_age(torch.zeros(1, YEARS))) == pytest.approx(50)
    two = torch.full((1, YEARS), -1e4)
    two[0, [20, 30]] = 0.0
    assert float(expected_age(two)) == pytest.approx(25)


def test_the_loss_by_hand() -> None:
    years, groups = logits(4, 5)
    age, weight = torch.tensor([3.0, 25.5, 40.0, 99.0]), torch.tensor([1.0, 2.0, 0.0, 0.5])
    total = 0.0
    for i in range(4):
        shares = [math.exp(v) for v in years[i].tolist()]
        mean = sum(k * share for k, share in enumerate(shares)) / sum(shares)
        group = sum(float(age[i]) > bound for bound in (20, 30, 40, 50))
        entropy = math.log(sum(math.exp(v) for v in groups[i].tolist())) - float(groups[i, group])
        total += float(weight[i]) * ((mean - float(age[i])) ** 2 + entropy)
    assert float(AgeLoss(5)(years, groups, age, weight)) == pytest.approx(total / 3.5, rel=1e-5)
    with pytest.raises(ValueError, match="101 years and 7 groups, got 101 and 5"):
        AgeLoss(7)(years, groups, age)


def test_the_published_head_has_its_size() -> None:
    """12.899 million: BN 2 x 512, 25088 x 512 + 512, 512 x 101 + 101, 101 x 7 + 7."""
    assert parameters(AgeHead(512, 49)) == 1024 + 25088 * 512 + 512 + 512 * 101 + 101 + 101 * 7 + 7
    assert round(parameters(AgeHead(512, 49)) / 1e6, 3) == 12.899
    assert parameters(CrossAge(512, 49)) == parameters(AgeHead(512, 49))


@pytest.mark.parametrize("device", DEVICES)
def test_groups_are_read_off_the_years(device: str) -> None:
    torch.manual_seed(0)
    head = AgeHead(16, 9, hidden=8, groups=4).to(device)
    years, hidden = head(torch.randn(5, 16, 3, 3, device=device))
    assert (years.shape, hidden.shape, head.group(years).shape) == ((5, YEARS), (5, 8), (5, 4))
    torch.testing.assert_close(head.classify(hidden), years)
    torch.testing.assert_close(head.group(years), functional.linear(years, head.group.weight, head.group.bias))
    assert bool((hidden >= 0).all())


def test_the_discriminator_learns_while_the_features_unlearn() -> None:
    torch.manual_seed(0)
    cross, age = CrossAge(8, 4, hidden=8), torch.tensor([5.0, 50.0, -1.0, 80.0])
    grads = {}
    for share in (1.0, 0.5, -1.0):  # -1 lets the gradient through as it is
        x = torch.randn(4, 8, 2, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
        cross.zero_grad()
        cross(x, age, torch.ones(4), share).backward()
        grads[share] = x.grad, cross.head.project.weight.grad.clone()
    torch.testing.assert_close(grads[1.0][0], -grads[-1.0][0])
    torch.testing.assert_close(grads[0.5][0], -grads[-1.0][0] / 2)
    torch.testing.assert_close(grads[1.0][1], grads[-1.0][1])
    assert all(float(p.grad.abs().sum()) > 0 for p in cross.parameters())


def test_bfloat16_is_finite_and_sums_in_float32() -> None:
    years, groups = logits(6)
    age = torch.tensor([0.0, 20.0, 40.0, 60.0, 80.0, 100.0])
    rough = AgeLoss()(years.bfloat16(), groups.bfloat16(), age)
    assert rough.dtype == torch.float32
    assert float(rough) == pytest.approx(float(AgeLoss()(years, groups, age)), rel=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(expected_age(years), expected_age(years.double()).float())
        loss = CrossAge(8, 4, hidden=8)(torch.randn(6, 8, 2, 2), age)
    assert bool(torch.isfinite(loss.detach()))
