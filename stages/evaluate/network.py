"""A trained run, loaded and run over faces."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models import create_model
from models.embedding import embed
from pipeline.contract import Contract, load_run
from pipeline.errors import UserError
from pipeline.faces import mirror

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
        # shapes alone, "meta": no memory is taken for sizes that the weights do not have
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own words on layers of no width, which the weights do not have
            network = create_model(contract.network.name, **contract.network.kwargs)
            _check_types(network.state_dict(), state)
        network.load_state_dict(state, assign=True)
    except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AttributeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder}: its weights do not fit the network of this version ({reason}): retrain it"
        ) from error
    return contract, network


def _check_types(expected: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        if name in expected and (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, {tuple(expected[name].shape)} expected")


def embed_faces(network: torch.nn.Module, inputs: dict[str, Tensor]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Embeddings of N faces, each averaged with that of its mirror image, and the probabilities of their attributes.

    Parameters
    ----------
    network
        Sees the modalities of `inputs`.
    inputs
        By modality, (N, C, H, W) float32, preprocessed.

    Returns
    -------
    (N, D) float32, and by attribute (N, classes).

    Raises
    ------
    UserError
        The network takes other inputs than its contract says.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return embed(network.to(device), inputs, batch_size=BATCH, device=device, mirror=mirror)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"the network takes other faces than its contract says ({error}): train the run again"
        ) from error
