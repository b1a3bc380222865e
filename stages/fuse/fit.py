"""Fusion of trained recognisers: what the frozen branches see is computed once, then candidates and heads are fitted.

The embedding's candidates, in this order: the plain concatenation, the concatenation with a gain for each branch, that
with the trained layer at one of a few strengths, a projection, a gate for each face; what is trained, at the end of any
epoch; last the whole network, fine-tuned from the best of these. A later one is taken only where its AUC on the
validation pairs is higher. Each attribute's head on frozen branches is chosen apart, by its loss on validation.
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
from models.fusion import FusionLayer, Gate, make_layer
from models.recogniser import Recognition
from models.step import Truth
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
from stages.fuse.candidates import Heads, Joining
from stages.fuse.judging import Judge, copied
from stages.fuse.looking import Looker, Seen
from stages.fuse.tuning import Tuner

GAINS = (0.5, 0.7, 1.0, 1.4)
WARMUP = 0.1
TRAINED = ("layer", "projection", "gate")


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
        self.name, self.params, self.validation = name, params, validation
        self.scratch, self.checkpoint = scratch, Checkpoint(scratch / "last.pt")
        self.contract = contract_of(name, {modality: contract for modality, (contract, _) in runs.items()}, stores[0])
        self.fabric = make_fabric("auto")
        with torch.random.fork_rng():
            torch.manual_seed(params.seed)
            self._build(train, {modality: state for modality, (_, state) in runs.items()})
        self.looker = Looker(name, params, self.network, self.fabric, stores, scratch)
        self.judge, self.history = Judge(validation), History()

    def _build(self, train: Samples, branches: Mapping[str, Mapping[str, Tensor]]) -> None:
        device, params = self.fabric.device, self.params
        network = create_model("fusion", **self.contract.network.kwargs)
        assert isinstance(network, Fusion)
        network.load_branches(branches)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert isinstance(self.network.layer, FusionLayer)
        self.layer = self.network.layer
        subjects, target = np.unique(train.subject, return_inverse=True)
        self.joinings = {
            kind: Joining(
                self.layer if kind == "layer" else make_layer(kind, self.layer.dimensions, params.dimension),
                params,
                len(subjects),
                device,
            )
            for kind in TRAINED
            if kind in params.candidates
        }
        counts = {name: train.counts(name, self.contract.vocabulary) for name in network.names}
        self.constants = {name: class_constants(each, params.focus) for name, each in counts.items()}
        self.heads = Heads(self.network.heads, self.constants, params, device)
        self.truth = Truth(
            torch.from_numpy(target),
            {name: torch.from_numpy(train.labels[name]) for name in network.names},
            torch.from_numpy(train.weight / train.weight.mean()),
            torch.from_numpy(subject_weights(train)),
        )

    def fit(self) -> Fitted:
        """Look once, fit and choose on frozen branches; then fine-tune, where that is a candidate."""
        views, seen = self.looker.look()
        rng = torch.Generator().manual_seed(self.params.seed + 1)
        state = self._resume(rng) or self._start(seen)
        for epoch in track(range(state["epoch"] + 1, self.params.epochs + 1), f"fuse {self.name}"):
            losses = self._epoch(views, epoch, rng)
            rates = self._offer_trained(seen, epoch)
            for name, chosen in state["heads"].items():
                self._choose_head(chosen, name, seen)
            self.history.add(epoch=epoch, **losses, **rates)
            state["epoch"] = epoch
            if self.checkpoint.due() or epoch == self.params.epochs:
                self._save(state, rng)
        self._take(state["heads"])
        if "finetune" in self.params.candidates:
            seen = self._finetune(views[0].embeddings, seen)
        return self._fused(seen)

    def _start(self, seen: list[Seen]) -> dict[str, Any]:
        """Offer what is not trained, and set the gains that the layer is trained with."""
        layer = self.layer
        layer.strength.zero_()
        self.judge.best["layer"] = copied(layer)
        several = itertools.product(GAINS, repeat=len(layer.gains))
        choices = {
            "concatenation": [(1.0,) * len(layer.gains)],
            "gains": [gains for gains in several if max(gains) == GAINS[-1]],  # only ratios matter
        }
        for kind in [kind for kind in choices if kind in self.params.candidates]:
            for gains in choices[kind]:
                layer.gains.copy_(torch.tensor(gains))
                self.judge.offer(kind, layer, seen)
        layer.gains.copy_(self.judge.best["layer"]["gains"])
        layer.strength.fill_(1.0)
        heads: dict[str, dict[str, Any]] = {name: {"loss": math.inf} for name in self.network.names}
        for name, chosen in heads.items():
            self._choose_head(chosen, name, seen)
        return {"epoch": 0, "heads": heads}

    def _choose_head(self, chosen: dict[str, Any], name: str, seen: list[Seen]) -> None:
        """Keep an attribute's head where it has the lowest loss so far."""
        labels = self.fabric.to_device(torch.from_numpy(self.validation.labels[name]))
        loss = self.heads.loss(name, seen, labels)
        if loss < chosen["loss"]:
            chosen |= {"loss": loss, "head": copied(self.network.heads[name])}

    def _epoch(self, views: list[Seen], epoch: int, rng: torch.Generator) -> dict[str, float]:
        """Every view of every face once; the first trained candidate's loss and norms stand as the identity's."""
        names = {kind: kind if place else "identity" for place, kind in enumerate(self.joinings)}
        totals: dict[str, float] = {}
        norms: dict[str, list[Tensor]] = {kind: [] for kind in self.joinings}
        steps = list(self._batches(len(views), rng))
        for number, (view, chosen) in enumerate(steps):
            lr = learning_rate((epoch - 1 + (number + 1) / len(steps)) / self.params.epochs, self.params.lr, WARMUP)
            truth, losses = self.truth.take(chosen, self.fabric.device), {}
            for kind, each in self.joinings.items():
                losses[names[kind]], norm = each.step(views[view].embeddings[chosen], truth, lr)
                norms[kind].append(norm)
            losses |= self.heads.step({n: x[chosen] for n, x in views[view].features.items()}, truth, lr)
            bad = next((name for name, loss in losses.items() if not math.isfinite(loss)), None)
            stop_unless_finite(bad, epoch=epoch, batch=number + 1, section=f"fuse.{self.name}")
            for name, loss in losses.items():
                totals[f"loss_{name}"] = totals.get(f"loss_{name}", 0.0) + loss / len(steps)
        for kind, each in itertools.islice(self.joinings.items(), 1):
            everyone = torch.cat(norms[kind])
            totals |= norm_summary(everyone, each.magface.clamped(everyone))
        return totals

    def _batches(self, views: int, rng: torch.Generator) -> Iterable[tuple[int, Tensor]]:
        """Every view of every sample once, in batches of one view each."""
        for view in torch.randperm(views, generator=rng).tolist():
            for chosen in torch.randperm(len(self.truth.subject), generator=rng).split(self.params.batch):
                yield view, chosen

    def _offer_trained(self, seen: list[Seen], epoch: int) -> dict[str, float]:
        """AUC on validation of what is trained, after an epoch, and the highest of them."""
        judge = self.judge
        rates = {
            f"validation_auc_{kind}": max(judge.offer(kind, layer, seen, epoch) for layer in each.variants())
            for kind, each in self.joinings.items()
        }
        return {"validation_auc": max(rates.values(), default=max(judge.aucs.values(), default=math.nan)), **rates}

    def _save(self, state: dict[str, Any], rng: torch.Generator) -> None:
        judged = {"aucs": self.judge.aucs, "best": self.judge.best}
        fitted = {name: each.state() for name, each in self._fitted().items()}
        self.checkpoint.write(
            {"state": state, **judged, "rng": rng.get_state(), "history": self.history.rows, "fitted": fitted}
        )

    def _resume(self, rng: torch.Generator) -> dict[str, Any] | None:
        parts = self.checkpoint.read()
        if parts is None:
            return None
        for name, each in self._fitted().items():
            each.resume(parts["fitted"][name])
        rng.set_state(parts["rng"])
        self.judge.aucs, self.judge.best = parts["aucs"], parts["best"]
        self.history = History(parts["history"])
        state: dict[str, Any] = parts["state"]
        goes_on(f"fuse {self.name}", state["epoch"])
        return state

    def _fitted(self) -> dict[str, Joining | Heads]:
        return {"heads": self.heads} | {str(kind): each for kind, each in self.joinings.items()}

    def _take(self, heads: Mapping[str, Mapping[str, Any]]) -> None:
        """Put the best layer and heads into the network, and say so in its contract."""
        kind = self.judge.best["kind"]
        if kind in ("projection", "gate"):
            self.network.layer = self.joinings[kind].layer
            self.contract.network.kwargs |= {"kind": kind}
        if kind == "projection":
            self.contract.network.kwargs |= {"dimension": self.params.dimension}
        self.network.layer.load_state_dict(self.judge.best["layer"])
        for name, chosen in heads.items():
            self.network.heads[name].load_state_dict(chosen["head"])

    def _finetune(self, embeddings: Tensor, seen: list[Seen]) -> list[Seen]:
        """Train the network as a whole; what it then sees of the validation faces."""
        tuner = Tuner(
            self.name,
            self.params,
            self.network,
            self.looker,
            self.judge,
            self.truth,
            embeddings,
            self.constants,
            self.fabric,
            self.scratch,
        )
        tuned = tuner.fit(self.judge.best["auc"])
        self.judge.aucs["finetune"] = tuned["auc"]
        for number, row in enumerate(tuned["rows"], start=1):
            self.history.add(epoch=self.params.epochs + number, **row)
        if not tuned["taken"]:
            return seen
        self.judge.best |= {"auc": tuned["auc"], "kind": "finetune", "epoch": self.params.epochs + tuned["taken"]}
        return self.looker.validation()

    @torch.no_grad()
    def _fused(self, seen: list[Seen]) -> Fitted:
        judged = [self.network.judge(view.embeddings, view.features) for view in seen]
        rates = verify(merge_views([each.embedding for each in judged]).cpu().numpy(), self.validation)
        accuracy = {}
        for name, truth in self.validation.labels.items():
            if name in self.network.names:
                shares = torch.stack([each.logits[name].softmax(dim=1) for each in judged]).mean(dim=0)
                accuracy[name] = balanced_accuracy(shares.cpu().numpy(), truth)
        validation = {
            **rates,
            "epoch": self.judge.best["epoch"],
            "candidates": self.judge.aucs,
            "kind": self.judge.best["kind"],
            **self._taken(judged),
            "balanced_accuracy": accuracy,
            "counts": {"subjects": len(set(self.validation.subject)), "sessions": len(self.validation)},
        }
        return Fitted(self.contract, copied(self.network), self.history, validation)

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
