"""A generator with the recogniser that sees for it: faces in, the same faces at other ages out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.generator import Generator
from models.recogniser import Recogniser
from models.step import put_faces


class Ager(nn.Module):
    """Brings faces to groups of ages.

    Parameters
    ----------
    recogniser, generator
        That belong together; both are put into evaluation mode.
    """

    def __init__(self, recogniser: Recogniser, generator: Generator) -> None:
        super().__init__()
        self.recogniser, self.generator = recogniser, generator
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def forward(self, faces: Mapping[str, Tensor], group: int) -> dict[str, Tensor]:
        """Preprocessed faces (B, C, H, W) by modality -> the same at a group, on the CPU in float32."""
        device = next(self.generator.parameters()).device
        placed = put_faces({name: faces[name] for name in self.generator.channels}, device)
        seen = self.recogniser.decompose(placed)
        wanted = torch.full((len(next(iter(placed.values()))),), group, device=device)
        return {name: x.float().cpu() for name, x in self.generator(placed, seen, wanted).items()}
