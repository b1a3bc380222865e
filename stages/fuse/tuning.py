"""Fine-tuning end to end: branches, layer and heads go on together from the best fusion of frozen branches.

The branches stay in evaluation mode: the statistics of their norms are those that they were trained with, and nothing
is dropped out of their features. The class centres start as the subjects' mean directions, so that the first steps
already pull faces to where their subjects are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models import Fusion
from models.magface import MagFace
from models.objective import Objective
from models.step import Truth, descend, make_adamw, put_faces
from pipeline.augment import augment
from pipeline.fitting import Checkpoint, goes_on, learning_rate, norm_summary, stop_unless_finite
from pipeline.params import Fuse
from pipeline.progress import track
from stages.fuse.judging import Judge, copied
from stages.fuse.looking import Looker

if TYPE_CHECKING:
    from lightning_fabric import Fabric

WARMUP = 0.1
PATIENCE = 2  # epochs without a gain


class Tuner:
    """Trains a fusion's network as a whole, and keeps what validation rates above the fusion that it began with.

    Parameters
    ----------
    name : str
        Of the fused run.
    params : Fuse
    network : Fusion
        The fusion of frozen branches, which is changed.
    looker : Looker
        Sees the validation faces with that network.
    judge : Judge
        Rates the layer on them.
    truth : Truth
        Of the training faces.
    embeddings : Tensor (N, sum D)
        The frozen branches' of the training faces.
    constants : dict
        Alpha and gamma of each class, by attribute.
    fabric : Fabric
    scratch : path
        The state after each epoch is kept here.
    """

    def __init__(
        self,
        name: str,
        params: Fuse,
        network: Fusion,
        looker: Looker,
        judge: Judge,
        truth: Truth,
        embeddings: Tensor,
        constants: Mapping[str, tuple[list[float], list[float]]],
        fabric: Fabric,
        scratch: Path,
    ) -> None:
        self.name, self.params, self.network, self.looker, self.judge = name, params, network, looker, judge
        self.truth, self.fabric, self.checkpoint = truth, fabric, Checkpoint(scratch / "tuned.pt")
        start = centres(network.layer(embeddings).detach(), truth.subject)
        magface = MagFace(network.dimension, len(start), **params.identity.model_dump(exclude={"loss"}))
        magface.centres.data.copy_(start)
        self.objective = Objective(magface, constants, dict.fromkeys(constants, 1.0)).to(fabric.device)
        network.unfreeze()
        self.model = fabric.setup_module(network)
        optimiser = make_adamw(
            [*network.parameters(), *self.objective.parameters()], params.finetune.lr, params.weight_decay
        )
        self.optimiser: Any = fabric.setup_optimizers(optimiser)

    def fit(self, auc: float) -> dict[str, Any]:
        """Train until validation has not gained over ``auc`` for two epochs; the network is left as validation chose.

        Returns
        -------
        dict
            The best ``auc`` of any epoch, the one that was ``taken`` or 0, and the ``rows`` of the history.
        """
        state = self._resume() or {"epoch": 0, "rows": [], "auc": -1.0, "taken": 0, "network": copied(self.network)}
        for epoch in track(range(state["epoch"] + 1, self.params.finetune.epochs + 1), f"fuse {self.name}: tuning"):
            if state["epoch"] - state["taken"] >= PATIENCE:
                break
            losses = self._epoch(epoch)
            rate = self.judge.rate(self.network.layer, self.looker.validation())
            state["rows"].append({**losses, "validation_auc": rate, "validation_auc_finetune": rate})
            state["epoch"] = epoch
            if rate > max(auc, state["auc"]):
                state |= {"taken": epoch, "network": copied(self.network)}
            state["auc"] = max(rate, state["auc"])
            if self.checkpoint.due():
                self._save(state)
        self.network.load_state_dict(state["network"])
        return state

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Every training face once, varied; its order and variations are the seed's and the epoch's."""
        rng = torch.Generator().manual_seed(self.params.seed + 1 + epoch)
        settings = self.params.finetune
        batches = torch.randperm(len(self.truth.subject), generator=rng).split(settings.batch)
        totals: dict[str, float] = {}
        norms = []
        self.model.train()
        for number, chosen in enumerate(batches):
            progress = (epoch - 1 + (number + 1) / len(batches)) / settings.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(progress, settings.lr, WARMUP)
            store, indices = self.looker.stores[0], chosen.numpy()
            faces, swap = store.take(indices), store.swap(indices)
            faces = augment(faces, self.params.augment, rng, self.fabric.device, swap=swap)
            seen = self.model(put_faces(faces, self.fabric.device))
            truth = self.truth.take(chosen, self.fabric.device)
            losses = descend(self.fabric, self.objective, self.optimiser, seen, truth)
            section = f"fuse.{self.name}.finetune"
            stop_unless_finite(losses.not_finite(), epoch=epoch, batch=number + 1, section=section)
            norms.append(losses.norm.cpu())
            for task, loss in losses.values.items():
                totals[f"loss_{task}"] = totals.get(f"loss_{task}", 0.0) + loss / len(batches)
        everyone = torch.cat(norms)
        return totals | dict(norm_summary(everyone, self.objective.identity.clamped(everyone)))

    def _save(self, state: dict[str, Any]) -> None:
        modules = {"model": self.network.state_dict(), "objective": self.objective.state_dict()}
        self.checkpoint.write({"state": state, **modules, "optimiser": self.optimiser.state_dict()})

    def _resume(self) -> dict[str, Any] | None:
        parts = self.checkpoint.read()
        if parts is None:
            return None
        self.network.load_state_dict(parts["model"])
        self.objective.load_state_dict(parts["objective"])
        self.optimiser.load_state_dict(parts["optimiser"])
        state: dict[str, Any] = parts["state"]
        goes_on(f"fuse {self.name}: tuning", state["epoch"])
        return state


def centres(embeddings: Tensor, subject: Tensor) -> Tensor:
    """Mean directions (K, D) of the subjects 0 to K - 1, of embeddings (N, D) and their subjects (N,)."""
    units = F.normalize(embeddings, dim=1)
    total = torch.zeros(int(subject.max()) + 1, units.shape[1], device=units.device)
    return F.normalize(total.index_add(0, subject.to(units.device), units), dim=1)
