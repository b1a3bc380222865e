"""The thesis's training, step by step and epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.thesis_recipe.data import ThesisFaces, as_stored
from benchmarks.thesis_recipe.loss import L_A, ThesisLoss
from benchmarks.thesis_recipe.network import ORDER, ThesisNetwork

BATCH = 16
EPOCHS = 119


class Fit:
    """Network, losses and optimiser; Adam at 1e-4, a cosine over 40 epochs that then starts again, no weight decay."""

    def __init__(self, faces: ThesisFaces, seed: int, workers: int = 0) -> None:
        torch.manual_seed(seed)
        self.network = ThesisNetwork()
        self.loss = ThesisLoss(faces.modality, torch.bincount(faces.labels[:, 0]).tolist())
        self.optimiser = torch.optim.Adam([*self.network.parameters(), *self.loss.parameters()], lr=1e-4)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(self.optimiser, 40, 1, 1e-6)
        self.batches = DataLoader(faces, BATCH, shuffle=True, num_workers=workers)

    def step(self, faces: Tensor, labels: Tensor) -> tuple[dict[str, float], Tensor]:
        """One step on a batch: its losses, read at once as the thesis does, and the norms of its embeddings."""
        self.optimiser.zero_grad()
        seen = self.network(faces)
        total, tasks = self.loss(seen, labels[:, 0], {name: labels[:, i + 1] for i, name in enumerate(ORDER)})
        total.backward()
        self.optimiser.step()
        return {name: loss.item() for name, loss in tasks.items()}, seen.embedding.detach().norm(dim=1)


@dataclass
class Epoch:
    """What an epoch, or what there was time for, came to: batches, mean losses, norms, the test AUC afterwards."""

    batches: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    norms: Tensor = field(default_factory=lambda: torch.zeros(0))
    auc: float = float("nan")

    @property
    def clamped(self) -> float:
        """The share of norms that MagFace does not see."""
        return float((self.norms < L_A).float().mean())


def train(fit: Fit, test: Callable[[], float], *, minutes: float, epochs: int = EPOCHS) -> list[Epoch]:
    """Train until epochs or minutes are used up; looking at the test set after each epoch costs no minutes here."""
    done: list[Epoch] = []
    left = 60 * minutes
    while left > 0 and len(done) < epochs:
        start, rows, norms = time.monotonic(), [], []
        fit.network.train()
        for faces, labels in fit.batches:
            if len(faces) < 2:  # one face alone has no variance
                continue
            losses, norm = fit.step(faces, labels)
            rows.append(losses)
            norms.append(norm)
            if time.monotonic() - start > left:
                break
        fit.schedule.step()
        left -= time.monotonic() - start
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        done.append(Epoch(len(rows), means, torch.cat(norms), test()))
        print(f"epoch {len(done)}: identity {means['identity']:.2f}, test AUC {done[-1].auc:.4f}", flush=True)
    return done


@torch.no_grad()
def embed(network: ThesisNetwork, faces: Tensor, modality: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Embeddings (N, 512) of preprocessed faces, not normalised and without a mirror image; probabilities (N, 2)."""
    network.eval()
    seen = [network(as_stored(part, modality)) for part in faces.split(64)]
    probabilities = {name: torch.cat([s.logits[name].softmax(dim=1) for s in seen]).numpy() for name in ORDER}
    return torch.cat([s.embedding for s in seen]).numpy(), probabilities
