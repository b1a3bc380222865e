"""Faces of training subjects at ages at which nobody photographed them: written by `psface select`, trained on by
`psface train`.

A folder holds `made.parquet`, a row a face, and `<modality>.npy`, (N, C, H, W) float16 as networks see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.attributes import AGE
from pipeline.errors import UserError
from pipeline.samples import FaceStore, ReadToFit, Samples
from pipeline.tables import read_parquet, write_atomic, write_parquet

TABLE = "made.parquet"
COLUMNS = {"session": str, "age": float, "kept": bool}


@dataclass
class MadeFaces:
    """N made faces.

    Attributes
    ----------
    session : ndarray (N,) of str
        Of the photographed face that each was made of.
    age : ndarray (N,) float
        Years that they are meant to show.
    faces : dict of ndarray (N, C, H, W) float16
        Preprocessed, by modality.
    """

    session: np.ndarray
    age: np.ndarray
    faces: dict[str, np.ndarray]


def write_made(folder: Path, made: MadeFaces, **judged: np.ndarray) -> None:
    """Write made faces with what judges said of them, `kept` among it, a column (N,) each."""
    import pandas as pd

    for name, faces in made.faces.items():
        write_atomic(folder / f"{name}.npy", partial(_save, faces))
    write_parquet(folder / TABLE, pd.DataFrame({"session": made.session, "age": made.age, **judged}))


def _save(faces: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, faces)


def read_made(folder: Path, modalities: Sequence[str], *, selective: bool) -> MadeFaces:
    """Made faces of a folder; with ``selective`` those alone that the judges kept.

    Raises
    ------
    UserError
        They are missing or damaged, or none was kept.
    """
    table = read_parquet(folder / TABLE, made_by="select", columns=COLUMNS)
    chosen = np.flatnonzero(table["kept"].to_numpy(dtype=bool)) if selective else np.arange(len(table))
    if not len(chosen):
        raise UserError(f"{folder}: no made face was kept: train the synthesis longer, or set synthetic: all")
    faces = {}
    for name in modalities:
        path = folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            faces[name] = np.asarray(array[chosen], dtype=np.float16)
        except FileNotFoundError:
            raise UserError(f"{path} is missing: these faces were made by a run that sees other modalities") from None
        except Exception as error:  # numpy reads a header as Python is read: ValueError, TokenError, EOFError, ...
            raise UserError(f"{path} is not what `psface select` writes: run it again") from error
        if len(array) != len(table) or faces[name].ndim != 4 or not np.isfinite(faces[name]).all():
            raise UserError(f"{path} is not what `psface select` writes: run it again")
    rows = table.iloc[chosen]
    return MadeFaces(rows["session"].to_numpy(dtype=str), rows["age"].to_numpy(dtype=float), faces)


class MixedStore(FaceStore):
    """A store's faces, and made ones behind them.

    Parameters
    ----------
    store : FaceStore
        Of N faces.
    made : dict of ndarray (M, C, H, W)
        Samples N to N + M - 1.
    source : ndarray (M,) int
        Which of the N each was made of: its flashes are that face's.
    """

    def __init__(self, store: FaceStore, made: Mapping[str, np.ndarray], source: np.ndarray) -> None:
        self.store, self.made, self.rows = store, made, store.rows
        own = store.swap(source)
        self.swaps = None if store.swaps is None or own is None else torch.cat([store.swaps, own])

    def take(self, indices: np.ndarray, rng: torch.Generator | None = None) -> dict[str, Tensor]:
        """Faces (B, C, H, W) float32 by modality, of samples by index."""
        indices = np.asarray(indices)
        own = indices < len(self.store.rows)
        taken = self.store.take(indices[own], rng) if own.any() else {}
        found = {}
        for name, made in self.made.items():
            mixed = torch.empty((len(indices), *made.shape[1:]))
            if own.any():
                mixed[torch.from_numpy(own)] = taken[name]
            mixed[torch.from_numpy(~own)] = torch.from_numpy(made[indices[~own] - len(self.rows)].astype(np.float32))
            found[name] = mixed
        return found


def mixed(read: ReadToFit, made: MadeFaces) -> ReadToFit:
    """What a network is fitted on, with made faces among the training ones: of the labels only their age differs.

    Raises
    ------
    UserError
        They are of other sessions, or of another size.
    """
    (train, validation), (store, other) = read
    place = {name: i for i, name in enumerate(train.session)}
    strangers = [name for name in made.session if name not in place]
    if strangers:
        raise UserError(
            f"session {strangers[0]} of the made faces is none of the training split: run `psface select` again"
        )
    look = store.take(np.arange(1))
    unlike = [name for name, x in look.items() if x.shape[1:] != made.faces[name].shape[1:]]
    if unlike:
        raise UserError(
            f"{unlike[0]}: the made faces are of another size than the packed ones: run `psface select` again"
        )
    source = np.array([place[name] for name in made.session], dtype=int)
    labels = {name: np.concatenate([codes, codes[source]]) for name, codes in train.labels.items()}
    if AGE in labels:
        labels[AGE][len(train) :] = made.age
    joined = Samples(
        session=np.concatenate([train.session, made.session]),
        subject=np.concatenate([train.subject, train.subject[source]]),
        row=np.concatenate([train.row, np.full(len(source), -1)]),
        labels=labels,
        weight=np.concatenate([train.weight, train.weight[source]]),
    )
    return (joined, validation), (MixedStore(store, made.faces, source), other)
