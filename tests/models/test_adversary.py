"""Adversaries on a small problem whose attribute is known to be in the features, or to have been taken out of them."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adversary import Adversaries, constant_loss
from models.focal import FocalLoss, class_constants
from models.margins import ArcFace
from models.reversal import reverse_gradient
from pipeline.fitting import learning_rate

SUBJECTS, NOISE, DIMENSION = 16, 0.8, 16
PEAK = 3e-3  # learning rate of the encoder, which falls to 0 as it does in training


def sample(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Faces (N, 24), subjects and spectacles: worn by a third, independent of who it is, and plain to see."""
    rng = torch.Generator().manual_seed(seed)
    patterns = torch.randn(SUBJECTS + 1, 24, generator=torch.Generator().manual_seed(0))
    subject = torch.randint(SUBJECTS, (count,), generator=rng)
    worn = (torch.rand(count, generator=rng) < 1 / 3).long()
    noise = NOISE * torch.randn(count, 24, generator=rng)
    return patterns[subject] + worn[:, None] * 1.5 * patterns[SUBJECTS] + noise, subject, worn


@cache
def trained(coefficient: float, steps: int = 800) -> tuple[nn.Module, float, float]:
    """An encoder, its adversary's loss over the last hundred steps, and the best constant's loss."""
    faces, subject, worn = sample(1500, seed=1)
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, DIMENSION), nn.BatchNorm1d(DIMENSION))
    identity = ArcFace(DIMENSION, SUBJECTS, scale=16.0, margin=0.2)
    alpha, _ = class_constants(torch.bincount(worn).tolist(), 1.0)
    adversaries = Adversaries(DIMENSION, {"spectacles": alpha}, {"spectacles": coefficient}, hidden=32)
    ours = torch.optim.Adam([*encoder.parameters(), *identity.parameters()], lr=PEAK)
    theirs = torch.optim.Adam(adversaries.parameters(), lr=3e-3)
    seen = []
    for step in range(steps):
        ours.param_groups[0]["lr"] = learning_rate(step / steps, PEAK, warmup=0.0)
        chosen = torch.randint(len(faces), (64,))
        embedding, labels, ones = encoder(faces[chosen]), {"spectacles": worn[chosen]}, torch.ones(64)
        against = adversaries(embedding, labels, ones, min(2 * step / steps, 1.0))["spectacles"]
        ours.zero_grad()
        theirs.zero_grad()
        (identity(embedding, subject[chosen])[0] + against).backward()
        ours.step()
        theirs.step()
        for _ in range(2):
            theirs.zero_grad()
            adversaries(embedding.detach(), labels, ones)["spectacles"].backward()
            theirs.step()
        seen.append(float(against.detach()))
    return encoder.eval(), sum(seen[-100:]) / 100, constant_loss(alpha, worn, torch.ones(len(worn)))


@torch.no_grad()
def embeddings(encoder: nn.Module, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    faces, subject, worn = sample(1500, seed)
    return F.normalize(encoder(faces), dim=1), subject, worn


def recovered(encoder: nn.Module) -> float:
    """Balanced accuracy of a fresh MLP, trained on some frozen embeddings, on others."""
    x, _, worn = embeddings(encoder, seed=2)
    torch.manual_seed(5)
    probe = nn.Sequential(nn.Linear(DIMENSION, 64), nn.ReLU(), nn.Linear(64, 2))
    optimiser = torch.optim.Adam(probe.parameters(), lr=0.01)
    balance = 1 / torch.bincount(worn).float()
    for _ in range(200):
        optimiser.zero_grad()
        F.cross_entropy(probe(4 * x), worn, balance).backward()
        optimiser.step()
    x, _, worn = embeddings(encoder, seed=3)
    said = probe(4 * x).argmax(dim=1)
    return float(torch.stack([(said[worn == c] == c).float().mean() for c in (0, 1)]).mean())


def recognised(encoder: nn.Module) -> float:
    """Share of faces whose nearest of other faces is the same subject's."""
    x, subject, _ = embeddings(encoder, seed=4)
    similar = x @ x.T - 2 * torch.eye(len(x))
    return float((subject[similar.argmax(dim=1)] == subject).float().mean())


def test_an_adversary_that_only_watches_is_better_than_a_constant() -> None:
    """Pins how the thesis's adversaries ended: all as constant predictors."""
    encoder, loss, constant = trained(0.0)
    assert constant == pytest.approx(math.log(2), rel=1e-3)  # classes count alike
    assert loss < 0.8 * constant
    assert recovered(encoder) > 0.7


def test_a_fresh_probe_recovers_less_once_the_gradient_is_reversed() -> None:
    plain, against = trained(0.0)[0], trained(1.0)[0]
    assert recovered(against) - 0.5 < 0.5 * (recovered(plain) - 0.5)
    assert recognised(against) > 0.95


def test_the_best_constant_is_the_best() -> None:
    alpha, codes = [0.5, 3.0, 1.0], torch.tensor([0, 0, 0, 1, 2, -1, 0])
    weight = torch.tensor([1.0, 2, 1, 1, 0.5, 9, 1])
    known = codes >= 0

    def loss(logits: Tensor) -> Tensor:
        each = torch.tensor(alpha)[codes[known]] * -F.log_softmax(logits, dim=0)[codes[known]]
        return (each * weight[known]).sum() / weight[known].sum()

    logits = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200)
    optimiser.step(lambda: (optimiser.zero_grad(), value := loss(logits), value.backward())[1])
    assert constant_loss(alpha, codes, weight) == pytest.approx(float(loss(logits).detach()), rel=1e-4)
    assert constant_loss(alpha, torch.full((4,), -1), torch.ones(4)) == 0


def test_a_class_that_is_absent_and_labels_that_are_missing() -> None:
    alpha, _ = class_constants([3, 1, 0], 1.0)
    adversaries = Adversaries(8, {"pose": alpha}, {"pose": 0.1})
    embedding = torch.randn(5, 8, requires_grad=True)
    found = adversaries(embedding, {"pose": torch.full((5,), -1)}, torch.ones(5))["pose"]
    found.backward()
    assert float(found.detach()) == 0
    assert float(embedding.grad.abs().sum()) == 0


def alone(against: Adversaries, index: int, embedding: Tensor, codes: Tensor, weight: Tensor, share: float) -> Tensor:
    """The loss of one adversary, computed by itself."""
    alpha = list(against.alpha.values())[index]
    x = F.normalize(embedding, dim=1) * math.sqrt(embedding.shape[1])
    x = reverse_gradient(x, share * float(against.coefficients[index]))
    for number, layer in enumerate(against.layers):
        count = len(alpha) if number == 2 else layer.weight.shape[2]
        x = F.linear(x, layer.weight[index, :, :count].T, layer.bias[index, 0, :count])
        x = F.leaky_relu(x, 0.2) if number < 2 else x
    return FocalLoss(alpha, [0.0] * len(alpha))(x, codes, weight)


def test_side_by_side_is_one_by_one() -> None:
    """With other numbers of classes, missing labels, weights and coefficients."""
    rng = torch.Generator().manual_seed(3)
    alpha = {"spectacles": [0.7, 1.6], "pose": [0.4, 1.0, 0.0, 3.0, 2.0], "expression": [1.0, 0.5, 2.0]}
    coefficients = dict(zip(alpha, (1.0, 0.3, 2.0), strict=True))
    against = Adversaries(8, alpha, coefficients, hidden=6).double()
    embedding = torch.randn(9, 8, dtype=torch.float64, generator=rng)
    labels = {name: torch.randint(-1, len(each), (9,), generator=rng) for name, each in alpha.items()}
    weight = torch.rand(9, dtype=torch.float64, generator=rng)
    found = []
    for together in (True, False):
        against.zero_grad()
        leaf = embedding.clone().requires_grad_()
        each = [alone(against, i, leaf, labels[name], weight, 0.5) for i, name in enumerate(alpha)]
        losses = list(against(leaf, labels, weight, 0.5).values()) if together else each
        torch.stack(losses).sum().backward()
        found.append([*losses, leaf.grad, *(p.grad.clone() for p in against.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    assert float(against.layers[2].weight.grad[0, :, 2:].abs().max()) == 0  # classes that spectacles do not have
