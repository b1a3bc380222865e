"""Erasure: against its other closed form, against scikit-learn's reader, and folded into a head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.erasure import SHRINKAGE, fit_erasure
from models.heads import EmbeddingHead


@pytest.fixture
def told() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (400, 24) that tell an attribute of two classes and one of three."""
    rng = np.random.default_rng(3)
    two, three = rng.integers(2, size=400), rng.integers(3, size=400)
    x = rng.normal(size=(400, 24)) @ rng.normal(size=(24, 24))
    x += 4 * two[:, None] * rng.normal(size=24) + 4 * np.eye(3)[three] @ rng.normal(size=(3, 24))
    return x / np.linalg.norm(x, axis=1, keepdims=True), two, three


def test_no_linear_reader_is_better_than_a_constant(told: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, two, three = told
    erased = x @ fit_erasure(x, [two, three]).T
    for codes in (two, three):
        assert LogisticRegression().fit(x, codes).score(x, codes) > 0.9
        assert LogisticRegression().fit(erased, codes).score(erased, codes) <= np.bincount(codes).max() / len(codes)


def test_it_is_the_oblique_projection_that_moves_least(told: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Least E|x - Mx|^2 with M C = 0, by Lagrange: M = I - C (C' S^-1 C)^-1 C' S^-1."""
    x, two, three = told
    classes = np.stack([two, three == 1, three == 2], axis=1).astype(float)
    c = (x - x.mean(axis=0)).T @ (classes - classes.mean(axis=0)) / len(x)
    s = np.cov(x, rowvar=False, bias=True)
    s += SHRINKAGE * np.trace(s) / 24 * np.eye(24)
    expected = np.eye(24) - c @ np.linalg.solve(c.T @ np.linalg.solve(s, c), np.linalg.solve(s, c).T)
    np.testing.assert_allclose(fit_erasure(x, [two, three]), expected, atol=1e-10)


def test_missing_labels_count_for_nothing(told: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, two, _ = told
    hidden = np.where(np.arange(400) < 300, two, -1)
    erased = x @ fit_erasure(x, [hidden]).T
    known = hidden >= 0
    gap = erased[hidden == 1].mean(axis=0) - erased[hidden == 0].mean(axis=0)
    assert np.abs(gap).max() < 1e-12
    assert np.abs((x[hidden == 1] - x[known].mean(axis=0)).mean(axis=0)).max() > 1e-2


@pytest.mark.parametrize("labels", [[], [np.zeros(400, dtype=int)], [np.full(400, -1)]])
def test_nothing_to_forget_leaves_all(told: tuple[np.ndarray, np.ndarray, np.ndarray], labels: list) -> None:
    np.testing.assert_array_equal(fit_erasure(told[0], labels), np.eye(24))


@pytest.mark.parametrize("own", [np.eye(8)[2], np.random.default_rng(0).normal(size=8)])
def test_embeddings_that_are_all_the_same_tell_nothing(own: np.ndarray) -> None:
    """Of a network that has collapsed: its training ended in a division by nothing, after its last epoch."""
    same, codes = np.tile(own / np.linalg.norm(own), (20, 1)), np.arange(20) % 3
    np.testing.assert_array_equal(fit_erasure(same, [codes]), np.eye(8))


def test_a_head_takes_a_matrix_in() -> None:
    torch.manual_seed(0)
    head = EmbeddingHead(6, 4, 8, 0.3)
    for _ in range(5):
        head(3 + 2 * torch.randn(32, 6, 2, 2))
    head.scale.weight.data.uniform_(0.5, 2)
    head.scale.bias.data.normal_()
    head.eval()
    faces, matrix = torch.randn(10, 6, 2, 2), torch.randn(8, 8)
    before = head(faces)
    head.map(matrix)
    torch.testing.assert_close(head(faces), before @ matrix.T, rtol=1e-4, atol=1e-4)
