"""Training of one modality's recogniser: the loop, its checkpoints and what it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import Recogniser, create_model
from models.embedding import embed
from models.focal import class_constants
from models.magface import MagFace
from models.objective import Objective
from models.reversal import ramp
from pipeline.attributes import classes
from pipeline.augment import augment
from pipeline.contract import Contract, Network
from pipeline.faces import PREPROCESSING, mirror
from pipeline.fitting import (
    Fitted,
    History,
    balanced_accuracy,
    check_samples,
    learning_rate,
    make_fabric,
    norm_summary,
    stop_unless_finite,
    subject_weights,
    verify,
)
from pipeline.params import Train
from pipeline.progress import track
from pipeline.samples import FaceStore, Samples
from pipeline.tables import write_atomic

NETWORK = "iresnet18"


class Trainer:
    """Fits a recogniser on the training samples and chooses its state by the AUC on the validation samples.

    Parameters
    ----------
    modality : str
    params : Train
    train, validation : Samples
        Of different subjects.
    stores : pair of FaceStore
        Their faces.
    scratch : path
        A checkpoint an epoch is kept here, and the fit goes on from the one it finds.
    """

    def __init__(
        self,
        modality: str,
        params: Train,
        train: Samples,
        validation: Samples,
        stores: tuple[FaceStore, FaceStore],
        scratch: Path,
    ) -> None:
        check_samples(train, validation)
        self.modality, self.params, self.train, self.validation = modality, params, train, validation
        self.store, self.validation_store = stores
        self.checkpoint = scratch / "last.pt"
        self.fabric = make_fabric(params.precision)
        self.contract = contract_of(modality, params, self.validation_store)
        self.labels = {name: torch.from_numpy(codes) for name, codes in train.labels.items()}
        subjects, target = np.unique(train.subject, return_inverse=True)
        self.target, self.subjects = torch.from_numpy(target), len(subjects)
        self.weight = torch.from_numpy(train.weight / train.weight.mean())
        self.subject_weight = torch.from_numpy(subject_weights(train))
        with torch.random.fork_rng():  # initial weights are the seed's, and nobody else's random numbers move
            torch.manual_seed(params.seed)
            self._build()
        self.history, self.epoch = History(), 0
        self.best: dict[str, Any] = {"auc": -1.0, "epoch": 0, "state": {}}

    def _build(self) -> None:
        params = self.params
        model = create_model(self.contract.network.name, **self.contract.network.kwargs)
        assert isinstance(model, Recogniser)
        self.network = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        constants = {
            name: class_constants(self.train.counts(name, params.vocabulary), params.focus) for name in self.labels
        }
        identity = MagFace(params.dimension, self.subjects, **params.identity.model_dump())
        weights: dict[str, float] = {name: params.attributes[name] for name in params.attributes}
        objective = Objective(identity, constants, weights, params.adversary)
        self.objective = objective.to(self.fabric.device)
        self.model = self.fabric.setup_module(self.network)
        optimiser = torch.optim.AdamW(_groups(self.network, objective), lr=params.lr, weight_decay=params.weight_decay)
        self.optimiser: Any = self.fabric.setup_optimizers(optimiser)

    def fit(self) -> Fitted:
        """Train to the last epoch, or until validation has not gained for ``patience`` of them."""
        self._resume()
        label = f"train {self.modality}"
        for _ in track(range(self.epoch, self.params.epochs), label):
            if self.epoch - self.best["epoch"] >= self.params.patience:
                break
            with torch.random.fork_rng():  # dropout draws from torch's own numbers
                torch.manual_seed(self.params.seed + 1 + self.epoch)
                losses = self._train_epoch(torch.Generator().manual_seed(self.params.seed + 1 + self.epoch))
            self.epoch += 1
            self._validate(losses)
            self._save()
        rates = {"auc": self.best["auc"], "eer": self.best["eer"], "epoch": self.best["epoch"]}
        counts = {"subjects": len(set(self.validation.subject)), "sessions": len(self.validation)}
        validation = {**rates, "balanced_accuracy": self.best["balanced_accuracy"], "counts": counts}
        return Fitted(self.contract, self.best["state"], self.history, validation)

    def _train_epoch(self, rng: torch.Generator) -> dict[str, float]:
        self.model.train()
        size = min(self.params.batch, len(self.train))
        order = torch.randperm(len(self.train), generator=rng)
        batches = order[: len(order) // size * size].split(size)  # a last batch of one would have no variance
        totals: dict[str, float] = {}
        norms = []
        for number, chosen in enumerate(batches):
            progress = (self.epoch + number / len(batches)) / self.params.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(
                    progress + 1 / len(batches) / self.params.epochs, self.params.lr, self.params.warmup
                )
            self.network.reversal = ramp(progress)
            losses = self._step(chosen, rng)
            stop_unless_finite(
                losses.not_finite(), epoch=self.epoch + 1, batch=number + 1, section=f"train.{self.modality}"
            )
            norms.append(losses.norm.cpu())
            for name, loss in losses.tasks.items():
                totals[name] = totals.get(name, 0.0) + float(loss.detach()) / len(batches)
        everyone = torch.cat(norms)
        clamped = self.objective.identity.clamped(everyone)
        return {f"loss_{name}": value for name, value in totals.items()} | dict(norm_summary(everyone, clamped))

    def _step(self, chosen: Tensor, rng: torch.Generator) -> Any:
        faces = augment(self.store.take(chosen.numpy(), rng), self.params.augment, rng)
        inputs = {
            name: x.to(self.fabric.device).contiguous(memory_format=torch.channels_last) for name, x in faces.items()
        }
        put = self.fabric.to_device
        labels = {name: put(codes[chosen]) for name, codes in self.labels.items()}
        losses = self.objective(
            self.model(inputs),
            put(self.target[chosen]),
            labels,
            put(self.weight[chosen]),
            put(self.subject_weight[chosen]),
        )
        self.fabric.backward(losses.total)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return losses

    def _validate(self, losses: dict[str, float]) -> None:
        with self.fabric.autocast():
            embeddings, probabilities = embed(
                self.network, self.validation_store.all(), device=self.fabric.device, mirror=mirror
            )
        rates = verify(embeddings, self.validation)
        accuracy = {
            name: balanced_accuracy(probabilities[name], truth) for name, truth in self.validation.labels.items()
        }
        columns = {f"validation_{name}": value for name, value in (rates | accuracy).items()}
        lr = self.optimiser.param_groups[0]["lr"]
        self.history.add(epoch=self.epoch, lr=lr, reversal=self.network.reversal, **losses, **columns)
        if rates["auc"] > self.best["auc"]:
            state = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
            self.best = {**rates, "epoch": self.epoch, "balanced_accuracy": accuracy, "state": state}

    def _save(self) -> None:
        parts = {
            "epoch": self.epoch,
            "history": self.history.rows,
            "best": self.best,
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_atomic(self.checkpoint, lambda p: torch.save(parts, p))

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        parts = torch.load(self.checkpoint, map_location=self.fabric.device, weights_only=True)
        self.network.load_state_dict(parts["network"])
        self.objective.load_state_dict(parts["objective"])
        self.optimiser.load_state_dict(parts["optimiser"])
        self.epoch, self.best, self.history = parts["epoch"], parts["best"], History(parts["history"])


def _groups(*modules: torch.nn.Module) -> list[dict[str, Any]]:
    """Parameters for the optimiser: norms, slopes and biases are not decayed."""
    parameters = [p for module in modules for p in module.parameters()]
    still = [p for p in parameters if p.ndim <= 1]
    return [{"params": [p for p in parameters if p.ndim > 1]}, {"params": still, "weight_decay": 0.0}]


def contract_of(modality: str, params: Train, store: FaceStore) -> Contract:
    """What the run says of itself: preprocessing and network."""
    size, channels = store.arrays[modality].shape[2:]
    attributes: dict[str, int] = {name: len(classes(name, params.vocabulary)) for name in params.attributes}
    kwargs = {
        "modality": modality,
        "channels": channels,
        "size": size,
        "attributes": attributes,
        "width": params.width,
        "strides": list(params.strides),
        "dimension": params.dimension,
        "dropout": params.dropout,
    }
    return Contract(
        run=modality,
        modalities=[modality],
        size=size,
        channels={modality: channels},
        normalisation={modality: PREPROCESSING[modality]},
        network=Network(name=NETWORK, kwargs=kwargs),
        attributes=attributes,
        vocabulary=params.vocabulary,
    )
