"""Fine-tuning: from a trained run on, and with made faces among the photographed ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models import Recogniser
from models.embedding import embed
from models.margins import IdentityLoss, MarginLoss
from pipeline.contract import Contract, load_run
from pipeline.errors import UserError
from pipeline.faces import mirror
from pipeline.madefaces import TABLE, mixed, read_made
from pipeline.params import Train
from pipeline.samples import FaceStore, ReadToFit


def read_mixed(read: Callable[[], ReadToFit], folder: Path, params: Train) -> ReadToFit:
    """What ``read`` gives, with the made faces of a folder among the training samples."""
    made = read_made(folder, params.modalities or (), selective=params.synthetic == "selective")
    return mixed(read(), made)


def made_of(params: Train, folder: Path) -> list[Path]:
    """What of made faces keys the work: nothing where none are asked for."""
    return [] if params.synthetic == "none" else [folder, folder / TABLE]


def go_on_from(
    folder: Path, contract: Contract, network: Recogniser, identity: IdentityLoss, subject: Tensor, store: FaceStore
) -> None:
    """Give a network the weights of a trained run, and the class centres the mean directions of their subjects.

    Parameters
    ----------
    subject : Tensor (N,) int64
        Class of each sample; those beyond the store's own faces are made and do not count.

    Raises
    ------
    UserError
        The run has another network.
    """
    before, state = load_run(folder)
    if (before.network, before.channels, before.size) != (contract.network, contract.channels, contract.size):
        raise UserError(f"{folder}: `start` is another network than this entry describes: make their settings the same")
    network.load_state_dict(state)
    if not isinstance(identity, MarginLoss):
        return
    count = len(store.rows)
    looks = store.parts(count, torch.Generator().manual_seed(0))
    seen = [embed(network, faces, mirror=mirror, swap=swap).embeddings for faces, swap in looks]
    unit = F.normalize(torch.from_numpy(np.concatenate(seen)), dim=1)
    sums = torch.zeros(identity.centres.shape).index_add(0, subject[:count], unit)
    with torch.no_grad():
        identity.centres.copy_(F.normalize(sums, dim=1))
