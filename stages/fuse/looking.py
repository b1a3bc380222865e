"""What the branches see of the faces. While they are frozen that is computed once, and kept view by view."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models import Fusion
from models.step import put_faces
from pipeline.augment import augment
from pipeline.faces import mirror
from pipeline.fitting import Checkpoint
from pipeline.params import Fuse
from pipeline.progress import track
from pipeline.samples import FaceStore

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SEEN_AT_ONCE = 64
VALIDATION = ("plain", "mirrored")


@dataclass
class Seen:
    """What the branches see of N faces: embeddings side by side (N, sum D), pooled features by attribute."""

    embeddings: Tensor
    features: dict[str, Tensor]


@dataclass
class Looker:
    """Looks at training and validation faces through a fusion's branches; views go into files of ``scratch``."""

    name: str
    params: Fuse
    network: Fusion
    fabric: Fabric
    stores: tuple[FaceStore, FaceStore]
    scratch: Path

    def look(self) -> tuple[list[Seen], list[Seen]]:
        """Views of the training faces, the first as they are, others varied; validation faces, plain and mirrored."""
        rng = torch.Generator().manual_seed(self.params.seed)
        plans = [(0, "plain"), *((0, "varied") for _ in range(self.params.views - 1)), *((1, v) for v in VALIDATION)]
        seen: list[Seen] = []
        for number, (which, view) in enumerate(track(plans, f"fuse {self.name}: looking")):
            seen.append(self._seen(self.scratch / f"seen-{number}.pt", self.stores[which], view, rng))
        return seen[: self.params.views], seen[self.params.views :]

    def validation(self) -> list[Seen]:
        """The validation faces, plain and mirrored, as the network sees them now."""
        return [self.fabric.to_device(self._see(self.stores[1], view)) for view in VALIDATION]

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
    def _see(self, store: FaceStore, view: str, rng: torch.Generator | None = None) -> Seen:
        parts = []
        for chosen in np.array_split(np.arange(len(store.rows)), -(-len(store.rows) // SEEN_AT_ONCE)):
            faces, swap = store.take(chosen), store.swap(chosen)
            if rng is not None and view == "varied":
                faces = augment(faces, self.params.augment, rng, self.fabric.device, swap=swap)
            elif view == "mirrored":
                faces = {name: mirror(x, name, swap) for name, x in faces.items()}
            with self.fabric.autocast():
                parts.append(self.network.look(put_faces(faces, self.fabric.device)))
        features = {n: torch.cat([part[1][n].float() for part in parts]) for n in self.network.names}
        return Seen(torch.cat([part[0] for part in parts]), features)
