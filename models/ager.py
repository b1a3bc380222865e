"""A generator with the recogniser that sees for it: faces in, the same faces at other ages out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.generator import Generator, restore_generator
from models.recogniser import Recogniser
from models.registry import restore_model
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


def restore_ager(
    name: str,
    recogniser: tuple[Mapping[str, Any], Mapping[str, Tensor]],
    generator: tuple[Mapping[str, Any], Mapping[str, Tensor]],
) -> Ager:
    """An ager around trained weights.

    Parameters
    ----------
    name
        The recogniser's, of the registry.
    recogniser, generator
        Arguments and weights of each.

    Raises
    ------
    ValueError
        The arguments make no network, or the weights are not those of it.
    """
    seeing = restore_model(name, recogniser[1], **recogniser[0])
    if not isinstance(seeing, Recogniser):
        raise ValueError(f"{name} has no features to make faces of")
    return Ager(seeing, restore_generator(generator[1], **generator[0]))
