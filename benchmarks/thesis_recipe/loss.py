"""The thesis's losses, with the constants that it wrote into its code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks.thesis_recipe.network import ORDER, Seen
from models.focal import FocalLoss

SCALE, L_A, U_A, L_M, U_M = 64.0, 10.0, 110.0, 0.45, 0.8
LAMBDA_G = 20.0  # below the bound of 22.6 under which the loss has one optimum
FOCAL = {  # alpha and gamma of class 0 and 1: from the thesis's whole set, test sessions included (fault 10)
    "gender": ((0.916, 0.084), (2.0, 0.0)),
    "spectacles": ((0.28, 0.72), (0.0, 1.0)),
    "facial_hair": ((0.3, 0.7), (0.0, 1.0)),
    "pose": ((0.0263, 0.9737), (0.0, 2.5)),
    "expression": ((0.232, 0.768), (0.0, 1.0)),
}


def task_weights(modality: str) -> dict[str, float]:
    """Weight of each attribute's loss, and of its adversary's, beside the identity's 1."""
    some = 5.0 if modality == "normal" else 10.0
    return {"gender": 30.0, "expression": 10.0, "pose": 30.0, "spectacles": some, "facial_hair": some}


class WeightedMagFace(nn.Module):
    """MagFace with an easy margin and a weight a class, on embeddings whose norms it does not reach.

    Parameters
    ----------
    counts : sequence of int
        Training sessions of each subject.
    """

    alpha: Tensor

    def __init__(self, counts: Sequence[int], dimension: int = 512) -> None:
        super().__init__()
        rare = 1 - torch.tensor(list(counts), dtype=torch.float32) / sum(counts)
        spread = (rare - rare.min()) / (rare.max() - rare.min()).clamp(min=1e-12)
        self.register_buffer("alpha", 0.3 + 0.7 * spread)
        self.centres = nn.Parameter(F.normalize(torch.rand(dimension, len(counts)) * 2 - 1, dim=0))

    def forward(self, embedding: Tensor, target: Tensor) -> Tensor:
        # fault 3: the norms lie below l_a, so that they are clamped: one margin for all, and no gradient of g
        norm = embedding.norm(dim=1, keepdim=True).clamp(L_A, U_A)  # (B, 1)
        margin = L_M + (U_M - L_M) * (norm - L_A) / (U_A - L_A)
        cosine = (F.normalize(embedding, dim=1) @ F.normalize(self.centres, dim=0)).clamp(-1, 1)
        turned = cosine * margin.cos() - (1 - cosine**2).clamp(min=1e-7).sqrt() * margin.sin()
        turned = torch.where(cosine > 0, turned, cosine)
        own = F.one_hot(target, len(self.alpha)).bool()
        each = F.cross_entropy(SCALE * torch.where(own, turned, cosine), target, reduction="none")  # (B,)
        regulariser = norm / U_A**2 + 1 / norm  # (B, 1)
        # fault 4: (B,) and (B, 1) make (B, B), whose mean weighs no regulariser by its own sample
        return (self.alpha[target] * (each + LAMBDA_G * regulariser)).mean()


class ThesisLoss(nn.Module):
    """The sum of all losses, and each of them."""

    def __init__(self, modality: str, counts: Sequence[int]) -> None:
        super().__init__()
        self.identity = WeightedMagFace(counts)
        self.focal = nn.ModuleDict({name: FocalLoss(*FOCAL[name]) for name in ORDER})
        self.weights = task_weights(modality)

    def forward(self, seen: Seen, subject: Tensor, labels: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses of a batch; subjects (B,) as classes, labels (B,) by attribute, -1 where missing."""
        tasks = {"identity": self.identity(seen.embedding, subject)}
        total = tasks["identity"]
        for name in ORDER:
            tasks[name] = self.focal[name](seen.logits[name], labels[name])
            tasks[f"adversary_{name}"] = self.focal[name](seen.adversaries[name], labels[name])
            total = total + self.weights[name] * (tasks[name] + tasks[f"adversary_{name}"])
        return total, tasks


def best_constant(name: str, truth: np.ndarray) -> float:
    """The focal loss of the best predictor that gives every sample the same probability, on labels (N,) of 0 and 1."""
    (alpha, gamma), one = FOCAL[name], float(np.mean(truth[truth >= 0] == 1))

    def loss(p: float) -> float:
        zero = alpha[0] * p ** gamma[0] * -math.log(1 - p)
        return (1 - one) * zero + one * alpha[1] * (1 - p) ** gamma[1] * -math.log(p)

    return float(minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded").fun)


def attribute_auc(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """What the thesis called an attribute's AUC: does P(true class) tell right from wrong predictions?

    Fault 2: of two classes a prediction is right just where P(true class) is above one half, whatever it is worth; so
    this is 1 for every predictor, a random one included. Probabilities (N, 2), truth (N,), none missing.
    """
    own = probabilities[np.arange(len(truth)), truth]
    right = probabilities.argmax(axis=1) == truth
    return float(roc_auc_score(right, own)) if len(np.unique(right)) == 2 else 1.0
