"""Erasure: what embeddings tell of attributes in a line is taken out of them, in closed form [1]_.

A linear reader of an attribute can only be better than a constant where the embeddings and the attribute covary. With
S the covariance of the embeddings and C their covariances with the attributes' classes, the projection

    P = S^(1/2) U U' S^(-1/2),        U an orthonormal basis of S^(-1/2) C

takes C to nothing, (I - P) C = 0, and is the one that moves the embeddings least. It has as many directions as there
are classes to forget, a few of hundreds, which are mostly of no use to tell people apart. What bends (an MLP) may still
read something: adversaries (`models.adversary`) are against that too, and cost more of the identity.

References
----------
.. [1] N. Belrose et al., "LEACE: perfect linear concept erasure in closed form", NeurIPS 2023. arXiv:2306.03819
   (theorem 4.3; without its shift, which keeps the mean and which cosines would see).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.focal import MISSING

SHRINKAGE = 0.01  # of the mean variance, onto each: fewer faces than numbers leave directions without any
NOTHING = 1e-12  # variance of unit embeddings that are all the same, of which nothing can be told
ENOUGH = 1e-6  # of the strongest direction: below, there is nothing to forget


def fit_erasure(embeddings: np.ndarray, labels: Sequence[np.ndarray]) -> np.ndarray:
    """The matrix that takes attributes out of embeddings.

    Parameters
    ----------
    embeddings : ndarray (N, D)
        Of unit length, as they are compared.
    labels : sequence of ndarray (N,) int
        Codes of each attribute; -1 where missing, which counts for nothing.

    Returns
    -------
    ndarray (D, D)
        I - P: ``embeddings @ result.T`` has no covariance with any class of any attribute.
    """
    x = embeddings.astype(np.float64)
    together = [_covariances(x, codes) for codes in labels]
    covariances = np.concatenate([np.zeros((x.shape[1], 0)), *together], axis=1)  # (D, classes)
    spread = np.cov(x, rowvar=False, bias=True)
    if not covariances.size or np.trace(spread) < NOTHING:
        return np.eye(x.shape[1])
    spread += SHRINKAGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    values, vectors = np.linalg.eigh(spread)
    root, inverse = ((vectors * values**power) @ vectors.T for power in (0.5, -0.5))
    basis, strength, _ = np.linalg.svd(inverse @ covariances, full_matrices=False)
    basis = basis[:, strength > ENOUGH * strength.max()]
    return np.asarray(np.eye(len(spread)) - (root @ basis) @ (basis.T @ inverse))


def _covariances(x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(D, classes - 1) with the indicator of each class but the first, over the faces that have a label."""
    known = codes != MISSING
    classes = np.unique(codes[known])
    if len(classes) < 2:
        return np.zeros((x.shape[1], 0))
    is_class = (codes[known][:, None] == classes[1:]).astype(np.float64)
    return np.asarray(x[known].T @ (is_class - is_class.mean(axis=0)) / known.sum())
