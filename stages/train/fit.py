"""Training of a recogniser: the loop, its checkpoints and what it leaves behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from models import Recogniser, create_model
from models.adversary import constant_loss
from models.age import AGE, AGE_GROUP
from models.embedding import embed
from models.erasure import fit_erasure
from models.objective import Losses
from models.recogniser import Recognition
from models.step import Truth, descend, put_faces
from models.synchronised import share, together
from pipeline.augment import augment
from pipeline.errors import PsfaceError, UserError
from pipeline.faces import mirror
from pipeline.fitting import (
    Checkpoint,
    Fitted,
    History,
    age_error,
    balanced_accuracy,
    check_samples,
    goes_on,
    keep_freed_memory,
    learning_rate,
    make_fabric,
    norm_summary,
    stop_unless_finite,
    verify,
)
from pipeline.parallel import end_with_parent
from pipeline.params import Train
from pipeline.progress import track
from pipeline.samples import FaceStore, ReadToFit, Samples
from pipeline.verification import check_finite
from stages.train.build import (
    batch_size,
    codes_of,
    contract_of,
    labels_of,
    make_objective,
    make_optimisers,
    weights_of,
    without_effect,
)
from stages.train.mixing import go_on_from
from stages.train.samplers import epoch_batches

if TYPE_CHECKING:
    from lightning_fabric import Fabric


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
        for name, loss in losses.values.items():
            self.totals[name] = self.totals.get(name, 0.0) + loss / batches

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
    run : str
        Its name, an entry of `train:`.
    params : Train
    train, validation : Samples
        Of different subjects.
    stores : pair of FaceStore
        Their faces.
    scratch : path
        The state of the fit is kept here, and the fit goes on from what it finds.
    fabric : Fabric
        Launched; where it has several processes, each fits its own copy on its part of every batch.
    start : path, optional
        Folder of a trained run to go on from.
    """

    def __init__(
        self,
        run: str,
        params: Train,
        train: Samples,
        validation: Samples,
        stores: tuple[FaceStore, FaceStore],
        scratch: Path,
        fabric: Fabric,
        start: Path | None = None,
    ) -> None:
        check_samples(train, validation)
        keep_freed_memory()
        self.run, self.params, self.train, self.validation = run, params, train, validation
        self.store, self.validation_store = stores
        self.checkpoint = Checkpoint(scratch / "last.pt")
        self.fabric = fabric
        self.contract = contract_of(run, params, self.validation_store)
        target, self.subjects = codes_of(train.subject)
        self.truth = Truth(target, labels_of(params, train), *weights_of(params, train))
        with torch.random.fork_rng():  # initial weights are the seed's, and nobody else's random numbers move
            torch.manual_seed(params.seed)
            self._build(start)
        self.history, self.epoch, self.begun = History(), 0, Begun()
        self.best: dict[str, Any] = {"auc": -1.0, "epoch": 0, "state": {}}

    def _build(self, start: Path | None) -> None:
        params, processes = self.params, self.fabric.world_size
        self.size = batch_size(params, self.train)
        if self.size % processes:
            raise UserError(
                f"a batch of {self.size} faces cannot be shared by {processes} processes: change train.batch"
            )
        model = create_model(self.contract.network.name, **self.contract.network.kwargs)
        assert isinstance(model, Recogniser)
        self.network = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = make_objective(params, self.train, self.subjects, model).to(self.fabric.device)
        if start is not None:
            go_on_from(start, self.contract, model, self.objective.identity, self.truth.subject, self.store)
        if processes > 1:
            share(self.network)
        self.model = self.fabric.setup_module(self.network)
        optimiser, self.opponent = make_optimisers(params, self.network, self.objective)
        self.optimiser: Any = self.fabric.setup_optimizers(optimiser)
        self.share = 0.0  # of the adversaries' coefficients
        against = self.objective.adversaries
        self.constants = {
            f"constant_{name}": constant_loss(alpha, self.truth.labels[name], self.truth.weight)
            for name, alpha in (against.alpha.items() if against is not None else ())
        }

    def fit(self) -> Fitted:
        """Train to the last epoch, or until validation has not gained for ``patience`` of them."""
        self._resume()
        for _ in track(range(self.epoch, self.params.epochs), f"train {self.run}"):
            if self.epoch - self.best["epoch"] >= self.params.patience:
                break
            devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
            with torch.random.fork_rng(devices):  # dropout draws from torch's own numbers
                losses = self._train_epoch()
            self.epoch += 1
            self._validate(losses)
            self.begun = Begun()
            self._save()
        self._erase()
        rates = {"auc": self.best["auc"], "eer": self.best["eer"], "epoch": self.best["epoch"]}
        counts = {"subjects": len(set(self.validation.subject)), "sessions": len(self.validation)}
        error = {name: self.best[name] for name in ("age_error",) if name in self.best}
        validation = {**rates, "balanced_accuracy": self.best["balanced_accuracy"], **error, "counts": counts}
        return Fitted(self.contract, self.best["state"], self.history, validation)

    def _erase(self) -> None:
        """Take attributes out of the chosen state's embeddings, as far as a line reads them off training faces."""
        names = [AGE_GROUP if name == AGE else name for name in self.params.erase]
        labels = [self.truth.labels[name].numpy() for name in names if name in self.truth.labels]
        if not labels or not self.fabric.is_global_zero:
            return
        self.network.load_state_dict(self.best["state"])
        rng = torch.Generator().manual_seed(self.params.seed)
        looks = self.store.parts(len(self.train), rng)
        device = self.fabric.device
        seen = [embed(self.network, faces, device=device, mirror=mirror, swap=swap)[0] for faces, swap in looks]
        embeddings = np.concatenate(seen)
        matrix = fit_erasure(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), labels)
        self.network.embedding.map(torch.from_numpy(matrix))
        rates, accuracy, error = self._rates()
        self.best |= {**rates, "balanced_accuracy": accuracy, **error, "state": self._state()}

    def _state(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    def _train_epoch(self) -> dict[str, float]:
        """Train on what is left of an epoch; its order and its random numbers are the seed's and the epoch's."""
        self.model.train()
        seed = self.params.seed + 1 + self.epoch
        rng = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        params = self.params
        classes = {name: codes for name, codes in self.truth.labels.items() if name != AGE}
        batches = epoch_batches(params.sampler, self.truth.subject, classes, self.size, params.per_subject, rng)
        batches = batches[: max(len(self.store.rows) // self.size, 1)]  # made faces make no epoch longer
        begun = self.begun
        begun.set_random(rng, self.fabric.device)
        for number in range(begun.batches, len(batches)):
            progress = (self.epoch + number / len(batches)) / params.epochs
            rate = learning_rate(progress + 1 / len(batches) / params.epochs, params.lr, params.warmup)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.share = risen(progress, params.adversary.rise)
            losses = self._step(batches[number], rng)
            stop_unless_finite(losses.not_finite(), epoch=self.epoch + 1, batch=number + 1, section=f"train.{self.run}")
            begun.add(losses, len(batches))
            if self.checkpoint.due() and begun.batches < len(batches):
                begun.get_random(rng, self.fabric.device)
                self._save()
        everyone = torch.cat(begun.norms)
        clamped = self.objective.identity.clamped(everyone)
        return {f"loss_{name}": value for name, value in begun.totals.items()} | dict(norm_summary(everyone, clamped))

    def _step(self, chosen: Tensor, rng: torch.Generator) -> Losses:
        # several processes prepare the whole batch each, so that they draw what one process would have drawn
        indices = chosen.numpy()
        faces, swap = self.store.take(indices, rng), self.store.swap(indices)
        faces = augment(faces, self.params.augment, rng, self.fabric.device, swap=swap)
        part = len(chosen) // self.fabric.world_size
        mine = slice(self.fabric.global_rank * part, (self.fabric.global_rank + 1) * part)
        seen = self.model(put_faces({name: x[mine] for name, x in faces.items()}, self.fabric.device))
        if self.fabric.world_size > 1:
            seen = together(seen, identity=self.objective.cross_age is not None)
        truth = self.truth.take(chosen, self.fabric.device)
        losses = descend(self.fabric, self.objective, self.optimiser, seen, truth, self.share)
        self._sharpen(seen, truth)
        return losses

    def _sharpen(self, seen: Recognition, truth: Truth) -> None:
        """The adversaries' own steps on a batch, of which the first has its gradient already."""
        if self.opponent is None:
            return
        assert self.objective.adversaries is not None
        self.opponent.step()
        embedding = seen.embedding.detach()
        for _ in range(self.params.adversary.steps - 1):
            self.opponent.zero_grad()
            torch.stack(
                list(self.objective.adversaries(embedding, truth.labels, truth.weight).values())
            ).sum().backward()
            self.opponent.step()
        self.opponent.zero_grad()

    def _validate(self, losses: dict[str, float]) -> None:
        # the first process looks, so that all decide alike
        nothing: tuple[dict[str, Any], ...] = ({}, {}, {})
        rates, accuracy, error = self.fabric.broadcast(self._rates() if self.fabric.is_global_zero else nothing)
        columns = {f"validation_{name}": value for name, value in (rates | accuracy).items()} | error
        lr = self.optimiser.param_groups[0]["lr"]
        weights = {f"weight_{name}": weight for name, weight in self.objective.weights.items()}
        learned = weights if self.params.task_weights == "uncertainty" else {}
        self.history.add(epoch=self.epoch, lr=lr, reversal=self.share, **losses, **self.constants, **learned, **columns)
        if rates["auc"] > self.best["auc"]:
            state = self._state()
            self.best = {**rates, "epoch": self.epoch, "balanced_accuracy": accuracy, **error, "state": state}

    def _rates(self) -> tuple[dict[str, float], dict[str, float | None], dict[str, float | None]]:
        """AUC and EER of the pairs, balanced accuracies by attribute, and the age's error in years."""
        with self.fabric.autocast():
            store, device = self.validation_store, self.fabric.device
            embeddings, probabilities, _ = embed(
                self.network, store.all(), device=device, mirror=mirror, swap=store.swaps
            )
        check_finite(embeddings, f"train.{self.run}.lr")
        labels = self.validation.labels
        accuracy = {
            name: balanced_accuracy(probabilities[name], labels[name])
            for name in labels
            if name in probabilities and name != AGE
        }
        error = {"age_error": age_error(probabilities[AGE], labels[AGE])} if AGE in labels else {}
        return verify(embeddings, self.validation), accuracy, error

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
                "opponent": self.opponent.state_dict() if self.opponent is not None else None,
            }
        )

    def _resume(self) -> None:
        parts = self.checkpoint.read()
        if parts is None:
            return
        self.network.load_state_dict(parts["network"])
        self.objective.load_state_dict(parts["objective"])
        self.optimiser.load_state_dict(parts["optimiser"])
        if self.opponent is not None:
            self.opponent.load_state_dict(parts["opponent"])
        self.epoch, self.best, self.history = parts["epoch"], parts["best"], History(parts["history"])
        self.begun = Begun(**parts["begun"])
        if self.fabric.is_global_zero:
            goes_on(f"train {self.run}", self.epoch, self.begun.batches)


def risen(progress: float, rise: float) -> float:
    """How far the adversaries' coefficients have risen, in [0, 1]: in a line over the share ``rise`` of training.

    An adversary that still guesses must not steer the features.
    """
    return min(progress / rise, 1.0) if rise > 0 else 1.0


def train(
    run: str,
    params: Train,
    read: Callable[[], ReadToFit],
    scratch: Path,
    *,
    start: Path | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Fit a recogniser in one process or in several, write its files to ``scratch/result``, and return its validation.

    Parameters
    ----------
    read : callable
        Gives samples and stores, as `pipeline.samples.read_to_fit` does; picklable, for it is called in each process.
    start : path, optional
        Folder of a trained run to go on from.
    processes : int
        Each takes a GPU where there are any, and its part of every batch.
    """
    fabric = make_fabric(params.precision, processes)
    done: dict[str, Any] | PsfaceError = fabric.launch(
        partial(_train, run=run, params=params, read=read, scratch=scratch, start=start)
    )
    if isinstance(done, PsfaceError):
        raise done
    return done


def _train(
    fabric: Fabric, run: str, params: Train, read: Callable[[], ReadToFit], scratch: Path, start: Path | None
) -> dict[str, Any] | PsfaceError:
    if fabric.world_size > 1:
        end_with_parent(os.getppid())
    try:
        samples, stores = read()
        for note in without_effect(params, samples[0]) if fabric.is_global_zero else ():
            print(f"note: train.{run}: {note}", file=sys.stderr, flush=True)
        fitted = Trainer(run, params, *samples, stores, scratch, fabric, start).fit()
    except PsfaceError as error:
        return error  # of a process of its own, an exception would come back as the text of its traceback
    if fabric.is_global_zero:
        fitted.save(scratch / "result")
    return fitted.validation
