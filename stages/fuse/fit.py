"""Fusion of trained recognisers: what the frozen branches see is computed once, then gains, layer and heads are fitted.

The embedding has three candidates, in this order: the plain concatenation, the concatenation with a gain for each
branch, and that with the trained layer at one of a few strengths, at the end of any epoch. A later one is taken only
where its AUC on the validation pairs is higher. Each attribute's head is chosen apart, by its loss on validation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import Fusion, create_model, restore_model
from models.embedding import merge_views
from models.focal import class_constants
from models.fusion import FusionLayer
from models.magface import MagFace
from models.objective import Objective
from pipeline.augment import augment
from pipeline.contract import Contract, Network
from pipeline.errors import UserError
from pipeline.faces import mirror
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
from pipeline.params import Fuse
from pipeline.progress import track
from pipeline.samples import FaceStore, Samples

GAINS = (0.5, 0.7, 1.0, 1.4)
STRENGTHS = (0.25, 0.5, 1.0)
SEEN_AT_ONCE = 64
WARMUP = 0.1
Run = tuple[Contract, Mapping[str, Tensor]]


@dataclass
class Seen:
    """What the frozen branches see of N faces: embeddings side by side (N, sum D), pooled features by attribute."""

    embeddings: Tensor
    features: dict[str, Tensor]


class Fuser:
    """Fits a fusion on the training samples and chooses it on the validation samples.

    Parameters
    ----------
    name : str
        Of the fused run.
    params : Fuse
    runs : dict
        Contract and weights of the trained run of each modality.
    train, validation : Samples
    stores : pair of FaceStore
        Their faces in all modalities.
    scratch : path
        What the branches saw and the state of the fit are kept here, and the fit goes on from what it finds.
    """

    def __init__(
        self,
        name: str,
        params: Fuse,
        runs: Mapping[Any, Run],
        train: Samples,
        validation: Samples,
        stores: tuple[FaceStore, FaceStore],
        scratch: Path,
    ) -> None:
        check_samples(train, validation)
        check_weights(runs)
        self.name, self.params, self.train, self.validation, self.stores = name, params, train, validation, stores
        self.scratch, self.checkpoint = scratch, Checkpoint(scratch / "last.pt")
        self.contract = contract_of(name, {modality: contract for modality, (contract, _) in runs.items()}, stores[0])
        self.fabric = make_fabric("auto")
        with torch.random.fork_rng():
            torch.manual_seed(params.seed)
            network = create_model("fusion", **self.contract.network.kwargs)
            assert isinstance(network, Fusion)
            subjects, target = np.unique(train.subject, return_inverse=True)
            magface = MagFace(network.dimension, len(subjects), **params.identity.model_dump(exclude={"loss"}))
        network.load_branches({modality: state for modality, (_, state) in runs.items()})
        self.network = network.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        vocabulary = self.contract.vocabulary
        constants = {n: class_constants(train.counts(n, vocabulary), params.focus) for n in network.names}
        # the layer and each head have no parameter in common, so that the losses' weights would change nothing
        self.objective = Objective(magface, constants, dict.fromkeys(network.names, 1.0)).to(self.fabric.device)
        put = self.fabric.to_device
        self.target = put(torch.from_numpy(target))
        self.labels = {n: put(torch.from_numpy(train.labels[n])) for n in network.names}
        self.weight = put(torch.from_numpy(train.weight / train.weight.mean()))
        self.subject_weight = put(torch.from_numpy(subject_weights(train)))
        self.history = History()

    def fit(self) -> Fitted:
        """Look once, then choose gains, and fit layer and heads."""
        views, validation_views = self._look()
        optimiser = self._optimiser()
        rng = torch.Generator().manual_seed(self.params.seed + 1)
        state = self._resume(optimiser, rng) or self._start(validation_views)
        layer, aucs, best, heads = self.network.layer, state["aucs"], state["best"], state["heads"]
        for epoch in track(range(state["epoch"] + 1, self.params.epochs + 1), f"fuse {self.name}"):
            losses = self._epoch(views, optimiser, epoch, rng)
            strengths = {strength: self._auc(validation_views, layer, strength) for strength in STRENGTHS}
            strength = max(strengths, key=lambda s: strengths[s])
            aucs["layer"] = max(aucs["layer"], strengths[strength])
            if strengths[strength] > best["auc"]:
                layer.strength.fill_(strength)
                best |= {"auc": strengths[strength], "epoch": epoch, "layer": _copy(layer)}
            for name, chosen in heads.items():
                loss = self._head_loss(validation_views, name)
                if loss < chosen["loss"]:
                    chosen |= {"loss": loss, "head": _copy(self.network.heads[name])}
            self.history.add(epoch=epoch, **losses, validation_auc=strengths[strength], strength=strength)
            state["epoch"] = epoch
            if self.checkpoint.due():
                self._save(state, optimiser, rng)
        layer.load_state_dict(best["layer"])
        for name, chosen in heads.items():
            self.network.heads[name].load_state_dict(chosen["head"])
        return self._fused(validation_views, best["epoch"], aucs)

    def _start(self, views: list[Seen]) -> dict[str, Any]:
        """The candidates before anything is trained, and the best of them."""
        layer = self.network.layer
        aucs = {"concatenation": self._auc(views, layer)}
        aucs["gains"] = self._choose_gains(views, aucs["concatenation"])
        aucs["layer"] = 0.0
        layer.strength.zero_()  # until the trained layer proves better
        heads = {
            name: {"loss": self._head_loss(views, name), "head": _copy(self.network.heads[name])}
            for name in self.labels
        }
        return {
            "epoch": 0,
            "aucs": aucs,
            "best": {"auc": aucs["gains"], "epoch": 0, "layer": _copy(layer)},
            "heads": heads,
        }

    def _save(self, state: dict[str, Any], optimiser: torch.optim.Optimizer, rng: torch.Generator) -> None:
        modules = {name: module.state_dict() for name, module in self._fitted_modules().items()}
        parts = {"state": state, "optimiser": optimiser.state_dict(), "rng": rng.get_state()}
        self.checkpoint.write({**parts, "modules": modules, "history": self.history.rows})

    def _resume(self, optimiser: torch.optim.Optimizer, rng: torch.Generator) -> dict[str, Any] | None:
        parts = self.checkpoint.read()
        if parts is None:
            return None
        for name, module in self._fitted_modules().items():
            module.load_state_dict(parts["modules"][name])
        optimiser.load_state_dict(parts["optimiser"])
        rng.set_state(parts["rng"])
        self.history = History(parts["history"])
        state: dict[str, Any] = parts["state"]
        goes_on(f"fuse {self.name}", state["epoch"])
        return state

    def _fitted_modules(self) -> dict[str, torch.nn.Module]:
        return {"layer": self.network.layer, "heads": self.network.heads, "objective": self.objective}

    def _look(self) -> tuple[list[Seen], list[Seen]]:
        """Views of the training faces, the first as they are, others varied; validation faces, plain and mirrored."""
        rng = torch.Generator().manual_seed(self.params.seed)
        plans = [(0, "plain"), *((0, "varied") for _ in range(self.params.views - 1)), (1, "plain"), (1, "mirrored")]
        seen: list[Seen] = []
        for number, (which, view) in enumerate(track(plans, f"fuse {self.name}: looking")):
            seen.append(self._seen(self.scratch / f"seen-{number}.pt", self.stores[which], view, rng))
        return seen[: self.params.views], seen[self.params.views :]

    def _seen(self, path: Path, store: FaceStore, view: str, rng: torch.Generator) -> Seen:
        """One view, from the file of an interrupted run where there is one."""
        kept = Checkpoint(path)
        parts = kept.read()
        if parts is None:
            parts = asdict(self._see(store, view, rng)) | {"rng": rng.get_state()}
            kept.write(parts)
        rng.set_state(parts.pop("rng"))
        return Seen(**self.fabric.to_device(parts))

    @torch.no_grad()
    def _see(self, store: FaceStore, view: str, rng: torch.Generator) -> Seen:
        parts = []
        for chosen in np.array_split(np.arange(len(store.rows)), -(-len(store.rows) // SEEN_AT_ONCE)):
            faces = store.take(chosen)
            if view == "varied":
                faces = augment(faces, self.params.augment, rng)
            elif view == "mirrored":
                faces = {name: mirror(x, name) for name, x in faces.items()}
            with self.fabric.autocast():
                parts.append(self.network.look({name: self._put(x) for name, x in faces.items()}))
        features = {n: torch.cat([part[1][n].float() for part in parts]) for n in self.network.names}
        return Seen(torch.cat([part[0] for part in parts]), features)

    def _put(self, faces: Tensor) -> Tensor:
        """Faces on the device in the layout in which convolutions are fastest."""
        return self.fabric.to_device(faces).contiguous(memory_format=torch.channels_last)

    def _choose_gains(self, views: list[Seen], plain: float) -> float:
        """Set the gains with the highest AUC; equal ones unless others are better."""
        layer = self.network.layer
        best, chosen = plain, layer.gains.clone()
        for gains in itertools.product(GAINS, repeat=len(layer.gains)):
            if max(gains) != GAINS[-1]:  # only ratios matter
                continue
            layer.gains.copy_(torch.tensor(gains))
            auc = self._auc(views, layer)
            if auc > best:
                best, chosen = auc, layer.gains.clone()
        layer.gains.copy_(chosen)
        return best

    @torch.no_grad()
    def _auc(self, views: list[Seen], layer: FusionLayer, strength: float = 0.0) -> float:
        kept = layer.strength.clone()
        layer.strength.fill_(strength)
        merged = merge_views([layer(view.embeddings) for view in views])
        layer.strength.copy_(kept)
        return verify(merged.cpu().numpy(), self.validation)["auc"]

    @torch.no_grad()
    def _head_loss(self, views: list[Seen], name: str) -> float:
        truth = self.fabric.to_device(torch.from_numpy(self.validation.labels[name]))
        head = self.network.heads[name]
        return sum(float(self.objective.attributes[name](head(view.features[name]), truth)) for view in views)

    def _optimiser(self) -> torch.optim.Optimizer:
        fitted = [*self.network.layer.parameters(), *self.network.heads.parameters(), *self.objective.parameters()]
        return torch.optim.AdamW(fitted, lr=self.params.lr, weight_decay=self.params.weight_decay)

    def _epoch(
        self, views: list[Seen], optimiser: torch.optim.Optimizer, epoch: int, rng: torch.Generator
    ) -> dict[str, float]:
        self.network.train()
        layer = self.network.layer
        kept = layer.strength.clone()
        layer.strength.fill_(1.0)
        totals: dict[str, float] = {}
        norms: list[Tensor] = []
        steps = list(self._batches(len(views), rng))
        for number, (view, chosen) in enumerate(steps):
            progress = (epoch - 1 + (number + 1) / len(steps)) / self.params.epochs
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(progress, self.params.lr, WARMUP)
            judged = self.network.judge(
                views[view].embeddings[chosen], {n: x[chosen] for n, x in views[view].features.items()}
            )
            labels = {name: codes[chosen] for name, codes in self.labels.items()}
            losses = self.objective(
                judged, self.target[chosen], labels, self.weight[chosen], self.subject_weight[chosen]
            )
            stop_unless_finite(losses.not_finite(), epoch=epoch, batch=number + 1, section=f"fuse.{self.name}")
            losses.total.backward()
            optimiser.step()
            optimiser.zero_grad()
            norms.append(losses.norm.cpu())
            for name, loss in losses.tasks.items():
                totals[name] = totals.get(name, 0.0) + float(loss.detach()) / len(steps)
        layer.strength.copy_(kept)
        everyone = torch.cat(norms)
        clamped = self.objective.identity.clamped(everyone)
        return {f"loss_{name}": value for name, value in totals.items()} | dict(norm_summary(everyone, clamped))

    def _batches(self, views: int, rng: torch.Generator) -> Iterable[tuple[int, Tensor]]:
        """Every view of every sample once, in batches of one view each."""
        for view in torch.randperm(views, generator=rng).tolist():
            for chosen in torch.randperm(len(self.train), generator=rng).split(self.params.batch):
                yield view, chosen

    @torch.no_grad()
    def _fused(self, views: list[Seen], epoch: int, aucs: dict[str, float]) -> Fitted:
        self.network.eval()
        judged = [self.network.judge(view.embeddings, view.features) for view in views]
        rates = verify(merge_views([each.embedding for each in judged]).cpu().numpy(), self.validation)
        accuracy = {}
        for name, truth in self.validation.labels.items():
            if name in self.network.names:
                shares = torch.stack([each.logits[name].softmax(dim=1) for each in judged]).mean(dim=0)
                accuracy[name] = balanced_accuracy(shares.cpu().numpy(), truth)
        layer = self.network.layer
        validation = {
            **rates,
            "epoch": epoch,
            "candidates": aucs,
            "gains": dict(zip(self.contract.modalities, layer.gains.tolist(), strict=True)),
            "strength": float(layer.strength),
            "balanced_accuracy": accuracy,
            "counts": {"subjects": len(set(self.validation.subject)), "sessions": len(self.validation)},
        }
        return Fitted(self.contract, _copy(self.network), self.history, validation)


def _copy(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def check_weights(runs: Mapping[Any, Run]) -> None:
    """Refuse weights that are not of the network that their contract names, before memory is taken for either."""
    for modality, (contract, state) in runs.items():
        try:
            restore_model(contract.network.name, state, **contract.network.kwargs)
        except (ValueError, TypeError) as error:  # TypeError: an argument named `state`
            raise UserError(
                f"the run of {modality}: its weights do not fit the network of its contract ({error}): train it again"
            ) from error


def contract_of(name: str, contracts: Mapping[str, Contract], store: FaceStore) -> Contract:
    """What the fused run says of itself; refuses branches that do not go together, or not with these faces."""
    first_name, first = next(iter(contracts.items()))
    for modality, each in contracts.items():
        if each.modalities != [modality]:
            raise UserError(f"the run of {modality} was trained on {', '.join(each.modalities)}: train it again")
        if (each.size, each.vocabulary) != (first.size, first.vocabulary):
            raise UserError(
                f"{first_name} ({first.size} px, {first.vocabulary}) and {modality} ({each.size} px, "
                f"{each.vocabulary}) do not go together: train both on the same faces and vocabulary"
            )
        size, channels = store.arrays[modality].shape[2:]
        if (each.size, each.channels[modality]) != (size, channels):
            raise UserError(
                f"the run of {modality} was trained on {each.channels[modality]} channels of {each.size} px, and the "
                f"faces have {channels} of {size} px: train it again"
            )
    shared = [n for n in first.attributes if all(n in each.attributes for each in contracts.values())]
    return Contract(
        run=name,
        modalities=list(contracts),
        size=first.size,
        channels={m: each.channels[m] for m, each in contracts.items()},
        normalisation={m: each.normalisation[m] for m, each in contracts.items()},
        network=Network(name="fusion", kwargs={"branches": [each.network.model_dump() for each in contracts.values()]}),
        attributes={n: first.attributes[n] for n in shared},
        vocabulary=first.vocabulary,
    )
