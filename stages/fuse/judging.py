"""Which fusion is taken: the first of those with the highest AUC on the validation pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.embedding import merge_views
from pipeline.fitting import verify
from pipeline.samples import Samples
from stages.fuse.looking import Seen


class Judge:
    """Rates ways of joining embeddings, and remembers each candidate's best AUC and what the best of all was.

    Attributes
    ----------
    aucs : dict
        By candidate.
    best : dict
        ``auc``, ``kind``, ``epoch`` and the state of its ``layer``.
    """

    def __init__(self, validation: Samples) -> None:
        self.validation = validation
        self.aucs: dict[str, float] = {}
        self.best: dict[str, Any] = {"auc": -1.0, "kind": "", "epoch": 0}

    @torch.no_grad()
    def rate(self, layer: nn.Module, views: list[Seen]) -> float:
        """The AUC that a layer gives, of views of the validation faces."""
        embeddings = merge_views([layer(view.embeddings) for view in views])
        return verify(embeddings.cpu().numpy(), self.validation)["auc"]

    def offer(self, kind: str, layer: nn.Module, views: list[Seen], epoch: int = 0) -> float:
        """Rate a layer, and remember it where it is the best so far; its AUC."""
        auc = self.rate(layer, views)
        self.aucs[kind] = max(self.aucs.get(kind, 0.0), auc)
        if auc > self.best["auc"]:
            self.best = {"auc": auc, "kind": kind, "epoch": epoch, "layer": copied(layer)}
        return auc


def copied(module: nn.Module) -> dict[str, Tensor]:
    """A module's state, on the CPU, that training no longer changes."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
