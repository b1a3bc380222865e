"""Training of one modality's recogniser: the loop, its checkpoints and what it leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from models import Recogniser, create_model
from models.embedding import embed
from models.focal import class_constants
from models.magface import MagFace
from models.objective import Losses, Objective
from models.reversal import ramp
from models.synchronised import share, together
from pipeline.attributes import classes
from pipeline.augment import augment
from pipeline.contract import Contract, Network
from pipeline.errors import PsfaceError, UserError
from pipeline.faces import PREPROCESSING, mirror
from pipeline.fitting import (
    Checkpoint,
    Fitted,
    History,
    balanced_accuracy,
    check_samples,
    goes_on,
    learning_rate,
    make_fabric,
    norm_summary,
    stop_unless_finite,
    subject_weights,
    verify,
)
from pipeline.parallel import end_with_parent
from pipeline.params import Train
from pipeline.progress import track
from pipeline.samples import FaceStore, ReadToFit, Samples

if TYPE_CHECKING:
    from lightning_fabric import Fabric

NETWORK = "iresnet18"


@dataclass
class Begun:
    """An epoch as far as it has come: batches done, their losses and norms, and the state of the random numbers."""

    batches: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    norms: list[Tensor] = field(default_factory=list)
    rng: Tensor | None = None
    cpu: Tensor | None = None
    cuda: Tensor | None = None

    def add(self, losses: Losses, batches: int) -> None:
        """Count one batch of ``batches``."""
        self.batches += 1
        self.norms.append(losses.norm.cpu())
        for name, loss in losses.tasks.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(loss.detach()) / batches

    def get_random(self, rng: torch.Generator, device: torch.device) -> None:
        """Note where the random numbers stand."""
        self.rng, self.cpu = rng.get_state(), torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def set_random(self, rng: torch.Generator, device: torch.device) -> None:
        """Put the random numbers where they stood; at the start of an epoch they stay as they are."""
        if self.rng is not None and self.cpu is not None:
            rng.set_state(self.rng)
            torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, device)


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
        The state of the fit is kept here, and the fit goes on from what it finds.
    fabric : Fabric
        Launched; where it has several processes, each fits its own copy on its part of every batch.
    """

    def __init__(
        self,
        modality: str,
        params: Train,
        train: Samples,
        validation: Samples,
        stores: tuple[FaceStore, FaceStore],
        scratch: Path,
        fabric: Fabric,
    ) -> None:
        check_samples(train, validation)
        self.modality, self.params, self.train, self.validation = modality, params, train, validation
        self.store, self.validation_store = stores
        self.checkpoint = Checkpoint(scratch / "last.pt")
        self.fabric = fabric
        self.contract = contract_of(modality, params, self.validation_store)
        self.labels = {name: torch.from_numpy(codes) for name, codes in train.labels.items()}
        subjects, target = np.unique(train.subject, return_inverse=True)
        self.target, self.subjects = torch.from_numpy(target), len(subjects)
        self.weight = torch.from_numpy(train.weight / train.weight.mean())
        self.subject_weight = torch.from_numpy(subject_weights(train))
        with torch.random.fork_rng():  # initial weights are the seed's, and nobody else's random numbers move
            torch.manual_seed(params.seed)
            self._build()
        self.history, self.epoch, self.begun = History(), 0, Begun()
        self.best: dict[str, Any] = {"auc": -1.0, "epoch": 0, "state": {}}

    def _build(self) -> None:
        params = self.params
        processes = self.fabric.world_size
        self.size = min(params.batch, len(self.train))
        if self.size % processes:
            raise UserError(
                f"a batch of {self.size} faces cannot be shared by {processes} processes: change train.batch"
            )
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
        if processes > 1:
            share(self.network)
        self.model = self.fabric.setup_module(self.network)
        optimiser = torch.optim.AdamW(_groups(self.network, objective), lr=params.lr, weight_decay=params.weight_decay)
        self.optimiser: Any = self.fabric.setup_optimizers(optimiser)

    def fit(self) -> Fitted:
        """Train to the last epoch, or until validation has not gained for ``patience`` of them."""
        self._resume()
        for _ in track(range(self.epoch, self.params.epochs), f"train {self.modality}"):
            if self.epoch - self.best["epoch"] >= self.params.patience:
                break
            devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
            with torch.random.fork_rng(devices):  # dropout draws from torch's own numbers
                losses = self._train_epoch()
            self.epoch += 1
            self._validate(losses)
            self.begun = Begun()
            self._save()
        rates = {"auc": self.best["auc"], "eer": self.best["eer"], "epoch": self.best["epoch"]}
        counts = {"subjects": len(set(self.validation.subject)), "sessions": len(self.validation)}
        validation = {**rates, "balanced_accuracy": self.best["balanced_accuracy"], "counts": counts}
        return Fitted(self.contract, self.best["state"], self.history, validation)

    def _train_epoch(self) -> dict[str, float]:
        """Train on what is left of an epoch; its order and its random numbers are the seed's and the epoch's."""
        self.model.train()
        seed = self.params.seed + 1 + self.epoch
        rng = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        order = torch.randperm(len(self.train), generator=rng)
        batches = order[: len(order) // self.size * self.size].split(self.size)  # one face alone has no variance
        begun = self.begun
        begun.set_random(rng, self.fabric.device)
        for number in range(begun.batches, len(batches)):
            progress = (self.epoch + number / len(batches)) / self.params.epochs
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(
                    progress + 1 / len(batches) / self.params.epochs, self.params.lr, self.params.warmup
                )
            self.network.reversal = ramp(progress)
            losses = self._step(batches[number], rng)
            stop_unless_finite(
                losses.not_finite(), epoch=self.epoch + 1, batch=number + 1, section=f"train.{self.modality}"
            )
            begun.add(losses, len(batches))
            if self.checkpoint.due() and begun.batches < len(batches):
                begun.get_random(rng, self.fabric.device)
                self._save()
        everyone = torch.cat(begun.norms)
        clamped = self.objective.identity.clamped(everyone)
        return {f"loss_{name}": value for name, value in begun.totals.items()} | dict(norm_summary(everyone, clamped))

    def _step(self, chosen: Tensor, rng: torch.Generator) -> Losses:
        # several processes prepare the whole batch each, so that they draw what one process would have drawn
        faces = augment(self.store.take(chosen.numpy(), rng), self.params.augment, rng)
        part = len(chosen) // self.fabric.world_size
        mine = slice(self.fabric.global_rank * part, (self.fabric.global_rank + 1) * part)
        inputs = {
            name: x[mine].to(self.fabric.device).contiguous(memory_format=torch.channels_last)
            for name, x in faces.items()
        }
        put = self.fabric.to_device
        labels = {name: put(codes[chosen]) for name, codes in self.labels.items()}
        seen = self.model(inputs)
        losses: Losses = self.objective(
            together(seen) if self.fabric.world_size > 1 else seen,
            put(self.target[chosen]),
            labels,
            put(self.weight[chosen]),
            put(self.subject_weight[chosen]),
        )
        self.fabric.backward(losses.total)
        if self.fabric.world_size > 1:  # the network's gradients are averaged by DDP, these should be the same anyway
            for parameter in self.objective.parameters():
                parameter.grad = cast(Tensor, self.fabric.all_reduce(cast(Tensor, parameter.grad)))
        self.optimiser.step()
        self.optimiser.zero_grad()
        return losses

    def _validate(self, losses: dict[str, float]) -> None:
        # the first process looks, so that all decide alike
        rates, accuracy = self.fabric.broadcast(self._rates() if self.fabric.is_global_zero else ({}, {}))
        columns = {f"validation_{name}": value for name, value in (rates | accuracy).items()}
        lr = self.optimiser.param_groups[0]["lr"]
        self.history.add(epoch=self.epoch, lr=lr, reversal=self.network.reversal, **losses, **columns)
        if rates["auc"] > self.best["auc"]:
            state = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
            self.best = {**rates, "epoch": self.epoch, "balanced_accuracy": accuracy, "state": state}

    def _rates(self) -> tuple[dict[str, float], dict[str, float | None]]:
        with self.fabric.autocast():
            embeddings, probabilities = embed(
                self.network, self.validation_store.all(), device=self.fabric.device, mirror=mirror
            )
        accuracy = {
            name: balanced_accuracy(probabilities[name], truth) for name, truth in self.validation.labels.items()
        }
        return verify(embeddings, self.validation), accuracy

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        self.checkpoint.write(
            {
                "epoch": self.epoch,
                "begun": asdict(self.begun),
                "history": self.history.rows,
                "best": self.best,
                "network": self.network.state_dict(),
                "objective": self.objective.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            }
        )

    def _resume(self) -> None:
        parts = self.checkpoint.read()
        if parts is None:
            return
        self.network.load_state_dict(parts["network"])
        self.objective.load_state_dict(parts["objective"])
        self.optimiser.load_state_dict(parts["optimiser"])
        self.epoch, self.best, self.history = parts["epoch"], parts["best"], History(parts["history"])
        self.begun = Begun(**parts["begun"])
        if self.fabric.is_global_zero:
            goes_on(f"train {self.modality}", self.epoch, self.begun.batches)


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


def train(
    modality: str, params: Train, read: Callable[[], ReadToFit], scratch: Path, *, processes: int = 1
) -> dict[str, Any]:
    """Fit a recogniser in one process or in several, write its files to ``scratch/result``, and return its validation.

    Parameters
    ----------
    read : callable
        Gives samples and stores, as `pipeline.samples.read_to_fit` does; picklable, for it is called in each process.
    processes : int
        Each takes a GPU where there are any, and its part of every batch.
    """
    fabric = make_fabric(params.precision, processes)
    done: dict[str, Any] | PsfaceError = fabric.launch(
        partial(_train, modality=modality, params=params, read=read, scratch=scratch)
    )
    if isinstance(done, PsfaceError):
        raise done
    return done


def _train(
    fabric: Fabric, modality: str, params: Train, read: Callable[[], ReadToFit], scratch: Path
) -> dict[str, Any] | PsfaceError:
    if fabric.world_size > 1:
        end_with_parent(os.getppid())
    try:
        samples, stores = read()
        fitted = Trainer(modality, params, *samples, stores, scratch, fabric).fit()
    except PsfaceError as error:
        return error  # of a process of its own, an exception would come back as the text of its traceback
    if fabric.is_global_zero:
        fitted.save(scratch / "result")
    return fitted.validation
