"""Torch devices by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    import torch


def usable_device(name: str, *, double: bool = False) -> torch.device:
    """The torch device of a name; with ``double``, one that has double precision (Apple's has not).

    Raises
    ------
    UserError
        torch knows no such device, or this machine has none.
    """
    import torch

    try:
        somewhere = torch.zeros(1, device=name, dtype=torch.double if double else None)
        somewhere.cpu()  # torch's `meta` has no numbers
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise UserError(f"device `{name}` cannot be used here; `cpu` always can, `cuda` with a GPU") from error
    return somewhere.device
