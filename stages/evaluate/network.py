"""A trained run, loaded and run over faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models import restore_model
from models.embedding import Embedded, embed
from pipeline.contract import Contract, load_run
from pipeline.errors import UserError
from pipeline.faces import mirror
from pipeline.samples import FaceStore

BATCH = 64


def load_network(folder: Path) -> tuple[Contract, torch.nn.Module]:
    """A run's contract and its network with its weights.

    Raises
    ------
    UserError
        One line, where the folder holds no run that this version can load.
    """
    contract, state = load_run(folder)
    try:
        return contract, restore_model(contract.network.name, state, **contract.network.kwargs)
    except (ValueError, TypeError) as error:  # TypeError: an argument named `state`
        raise UserError(
            f"{folder}: its weights do not fit the network of this version ({error}): retrain it"
        ) from error


def embed_faces(network: torch.nn.Module, inputs: dict[str, Tensor], swap: Tensor | None = None) -> Embedded:
    """Embeddings of N faces, each averaged with that of its mirror image, their attributes and gates likewise.

    Parameters
    ----------
    network
        Sees the modalities of `inputs`.
    inputs
        By modality, (N, C, H, W) float32, preprocessed.
    swap
        (N, k) which flashes of `frames` change places in the mirror, where they are among the modalities.

    Raises
    ------
    UserError
        The network takes other inputs than its contract says.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return embed(network.to(device), inputs, batch_size=BATCH, device=device, mirror=mirror, swap=swap)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"the network takes other faces than its contract says ({error}): train the run again"
        ) from error


def embed_store(network: torch.nn.Module, store: FaceStore) -> np.ndarray:
    """As `embed_faces`, the embeddings of a store's faces, taken part by part."""
    return np.concatenate([embed_faces(network, *part)[0] for part in store.parts(len(store.rows))])
