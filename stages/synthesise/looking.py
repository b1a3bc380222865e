"""What the frozen recogniser sees in faces that validation subjects were brought to: for the history, and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Recogniser
from models.age import expected_age
from models.step import put_faces
from pipeline.ageing import AgeingContract
from pipeline.images import write_picture
from pipeline.samples import FaceStore, Samples
from pipeline.strips import sheet

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOOKS = 16  # faces that a row of the history tells of
SHOWN = 6  # faces in the picture
CHUNK = 64


class Onlooker:
    """Some faces of the validation split, evenly taken, brought to all groups that a generator can make."""

    def __init__(
        self, contract: AgeingContract, recogniser: Recogniser, samples: Samples, store: FaceStore, fabric: Fabric
    ) -> None:
        self.contract, self.recogniser, self.fabric = contract, recogniser, fabric
        chosen = np.unique(np.linspace(0, len(samples) - 1, LOOKS).round().astype(int))
        self.faces = put_faces(store.take(chosen), fabric.device)
        self.subjects = len(set(samples.subject[chosen]))

    @torch.no_grad()
    def brought(self, generator: nn.Module, faces: dict[str, Tensor]) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Each group that can be made, and the faces at it."""
        generator.eval()
        with self.fabric.autocast():
            seen = self.recogniser.decompose(faces)
            for group in self.contract.groups:
                wanted = torch.full((len(next(iter(faces.values()))),), group, device=self.fabric.device)
                yield group, generator(faces, seen, wanted)

    @torch.no_grad()
    def rates(self, generator: nn.Module) -> dict[str, float]:
        """Mean cosine of the embeddings with those of the faces, and the share of made faces read as of their group."""
        with self.fabric.autocast():
            own = F.normalize(self.recogniser(self.faces).embedding.float(), dim=1)
        kept, reached = [], []
        for group, made in self.brought(generator, self.faces):
            with self.fabric.autocast():
                said = self.recogniser(made)
            kept.append((own * F.normalize(said.embedding.float(), dim=1)).sum(dim=1))
            reached.append((said.logits["age_group"].argmax(dim=1) == group).float())
        return {
            "validation_identity": float(torch.cat(kept).mean()),
            "validation_group": float(torch.cat(reached).mean()),
        }

    @torch.no_grad()
    def told(self, generator: nn.Module) -> dict[str, Any]:
        """What validation.json says: `rates`, the mean age that is read in each group, counts."""
        ages = {}
        for group, made in self.brought(generator, self.faces):
            with self.fabric.autocast():
                said = expected_age(self.recogniser(made).logits["age"])
            ages[self.contract.names[group]] = round(float(said.mean()), 2)
        rates = {name.removeprefix("validation_"): value for name, value in self.rates(generator).items()}
        counts = {"subjects": self.subjects, "faces": len(next(iter(self.faces.values())))}
        return {**rates, "age_read": ages, "counts": counts}


def save_picture(path: Path, onlooker: Onlooker, generator: nn.Module) -> None:
    """A row a face: as it is, then in each group; modalities one below another."""
    faces = {name: x[:: max(len(x) // SHOWN, 1)][:SHOWN] for name, x in onlooker.faces.items()}
    states = [faces, *(made for _, made in onlooker.brought(generator, faces))]
    names = ["face", *(onlooker.contract.names[group] for group in onlooker.contract.groups)]
    columns = [{name: x.float().cpu().numpy() for name, x in state.items()} for state in states]
    write_picture(path, sheet(columns, names))
