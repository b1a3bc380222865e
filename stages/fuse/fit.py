"""Fusion of trained recognisers: what the frozen branches see is computed once, then gains, layer and heads are fitted.

The embedding's candidates, in this order: the plain concatenation, the concatenation with a gain for each branch, that
with the trained layer at one of a few strengths, a projection, a gate for each face; what is trained, at the end of any
epoch. A later one is taken only where its AUC on the validation pairs is higher. Each attribute's head is chosen apart,
by its loss on validation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import Fusion, create_model
from models.embedding import merge_views
from models.focal import class_constants
from models.fusion import FusionLayer, Gate
from models.magface import MagFace
from models.objective import Objective
from models.recogniser import Recognition
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
from stages.fuse.branches import Run, check_weights, contract_of
from stages.fuse.candidates import Trained
from stages.fuse.looking import Looker, Seen

GAINS = (0.5, 0.7, 1.0, 1.4)
STRENGTHS = (0.25, 0.5, 1.0)
WARMUP = 0.1


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
            assert isinstance(network.layer, FusionLayer)
            self.layer, dimensions = network.layer, network.layer.dimensions
            magface = MagFace(network.dimension, len(subjects), **params.identity.model_dump(exclude={"loss"}))
            kinds = [kind for kind in ("projection", "gate") if kind in params.candidates]
            self.trained = {kind: Trained(kind, params, dimensions, len(subjects)) for kind in kinds}
        for each in self.trained.values():
            each.to(self.fabric.device).begin()
        network.load_branches({modality: state for modality, (_, state) in runs.items()})
        self.network = network.to(self.fabric.device)
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
        views, validation_views = Looker(
            self.name, self.params, self.network, self.fabric, self.stores, self.scratch
        ).look()
        optimiser = self._optimiser()
        rng = torch.Generator().manual_seed(self.params.seed + 1)
        state = self._resume(optimiser, rng) or self._start(validation_views)
        best, heads = state["best"], state["heads"]
        for epoch in track(range(state["epoch"] + 1, self.params.epochs + 1), f"fuse {self.name}"):
            losses = self._epoch(views, optimiser, epoch, rng)
            rates = self._judge_candidates(validation_views, state, epoch)
            for name, chosen in heads.items():
                loss = self._head_loss(validation_views, name)
                if loss < chosen["loss"]:
                    chosen |= {"loss": loss, "head": _copy(self.network.heads[name])}
            self.history.add(epoch=epoch, **losses, **rates)
            state["epoch"] = epoch
            if self.checkpoint.due():
                self._save(state, optimiser, rng)
        if best["kind"] in self.trained:
            self.network.layer = self.trained[best["kind"]].layer
            own = {"dimension": self.params.dimension} if best["kind"] == "projection" else {}
            self.contract.network.kwargs |= {"kind": best["kind"], **own}
        self.network.layer.load_state_dict(best["layer"])
        for name, chosen in heads.items():
            self.network.heads[name].load_state_dict(chosen["head"])
        return self._fused(validation_views, best, state["aucs"])

    def _judge_candidates(self, views: list[Seen], state: dict[str, Any], epoch: int) -> dict[str, float]:
        """AUC on validation of what is trained, after an epoch; the best so far is kept."""
        layer = self.layer
        strengths = {strength: self._auc(views, layer, strength) for strength in STRENGTHS}
        strength = max(strengths, key=lambda s: strengths[s])
        rates = {"validation_auc": strengths[strength], "strength": strength}
        if "layer" in self.params.candidates:
            layer.strength.fill_(strength)
            self._offer(state, "layer", strengths[strength], epoch, layer)
        for kind, each in self.trained.items():
            rates[f"validation_auc_{kind}"] = self._rate([each.layer(view.embeddings) for view in views])
            self._offer(state, kind, rates[f"validation_auc_{kind}"], epoch, each.layer)
        rates["validation_auc"] = max([v for n, v in rates.items() if n != "strength"])
        return rates

    @staticmethod
    def _offer(state: dict[str, Any], kind: str, auc: float, epoch: int, layer: torch.nn.Module) -> None:
        state["aucs"][kind] = max(state["aucs"].get(kind, 0.0), auc)
        if auc > state["best"]["auc"]:
            state["best"] |= {"auc": auc, "epoch": epoch, "kind": kind, "layer": _copy(layer)}

    def _start(self, views: list[Seen]) -> dict[str, Any]:
        """The candidates before anything is trained, and the best of them."""
        layer, tried = self.layer, self.params.candidates
        plain = self._auc(views, layer)
        aucs = {"concatenation": plain} if "concatenation" in tried else {}
        if "gains" in tried:
            aucs["gains"] = self._choose_gains(views, plain)
        layer.strength.zero_()  # until the trained layer proves better
        heads = {
            name: {"loss": self._head_loss(views, name), "head": _copy(self.network.heads[name])}
            for name in self.labels
        }
        return {
            "epoch": 0,
            "aucs": aucs,
            "best": {
                "auc": max(aucs.values(), default=-1.0),
                "epoch": 0,
                "kind": max(aucs, key=lambda kind: aucs[kind], default=""),
                "layer": _copy(layer),
            },
            "heads": heads,
        }

    def _save(self, state: dict[str, Any], optimiser: torch.optim.Optimizer, rng: torch.Generator) -> None:
        modules = {name: module.state_dict() for name, module in self._fitted_modules().items()}
        parts = {"state": state, "optimiser": optimiser.state_dict(), "rng": rng.get_state()}
        self.checkpoint.write({**parts, "modules": modules, "history": self.history.rows} | self._trained_parts())

    def _trained_parts(self) -> dict[str, Any]:
        return {"trained": {kind: each.parts() for kind, each in self.trained.items()}}

    def _resume(self, optimiser: torch.optim.Optimizer, rng: torch.Generator) -> dict[str, Any] | None:
        parts = self.checkpoint.read()
        if parts is None:
            return None
        for name, module in self._fitted_modules().items():
            module.load_state_dict(parts["modules"][name])
        for kind, each in self.trained.items():
            each.resume(parts["trained"][kind])
        optimiser.load_state_dict(parts["optimiser"])
        rng.set_state(parts["rng"])
        self.history = History(parts["history"])
        state: dict[str, Any] = parts["state"]
        goes_on(f"fuse {self.name}", state["epoch"])
        return state

    def _fitted_modules(self) -> dict[str, torch.nn.Module]:
        return {"layer": self.layer, "heads": self.network.heads, "objective": self.objective}

    def _choose_gains(self, views: list[Seen], plain: float) -> float:
        """Set the gains with the highest AUC; equal ones unless others are better."""
        layer = self.layer
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
        auc = self._rate([layer(view.embeddings) for view in views])
        layer.strength.copy_(kept)
        return auc

    @torch.no_grad()
    def _rate(self, embeddings: list[Tensor]) -> float:
        return verify(merge_views(embeddings).cpu().numpy(), self.validation)["auc"]

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
        layer = self.layer
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
            for kind, each in self.trained.items():
                loss = each.step(
                    views[view].embeddings[chosen], self.target[chosen], self.subject_weight[chosen], group["lr"]
                )
                stop_unless_finite(
                    None if math.isfinite(loss) else kind, epoch=epoch, batch=number + 1, section=f"fuse.{self.name}"
                )
                totals[kind] = totals.get(kind, 0.0) + loss / len(steps)
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
    def _fused(self, views: list[Seen], best: dict[str, Any], aucs: dict[str, float]) -> Fitted:
        self.network.eval()
        judged = [self.network.judge(view.embeddings, view.features) for view in views]
        rates = verify(merge_views([each.embedding for each in judged]).cpu().numpy(), self.validation)
        accuracy = {}
        for name, truth in self.validation.labels.items():
            if name in self.network.names:
                shares = torch.stack([each.logits[name].softmax(dim=1) for each in judged]).mean(dim=0)
                accuracy[name] = balanced_accuracy(shares.cpu().numpy(), truth)
        validation = {
            **rates,
            "epoch": best["epoch"],
            "candidates": aucs,
            "kind": best["kind"],
            **self._taken(judged),
            "balanced_accuracy": accuracy,
            "counts": {"subjects": len(set(self.validation.subject)), "sessions": len(self.validation)},
        }
        return Fitted(self.contract, _copy(self.network), self.history, validation)

    def _taken(self, judged: list[Recognition]) -> dict[str, Any]:
        """What the chosen candidate makes of each modality."""
        layer, modalities = self.network.layer, self.contract.modalities
        if isinstance(layer, FusionLayer):
            gains = dict(zip(modalities, layer.gains.tolist(), strict=True))
            return {"gains": gains, "strength": float(layer.strength)}
        if not isinstance(layer, Gate):
            return {}
        gates = torch.stack([each.gates for each in judged if each.gates is not None]).mean(dim=0).cpu()
        trusted = gates.argmax(dim=1)
        return {
            "gates": {
                name: {"mean": float(gates[:, m].mean()), "trusted_most": int((trusted == m).sum())}
                for m, name in enumerate(modalities)
            }
        }


def _copy(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
