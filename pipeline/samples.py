"""What a network is fitted on: faces of a split with their subjects, labels and weights, in memory where they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.attributes import AGE, ATTRIBUTES, classes, labels
from pipeline.errors import UserError
from pipeline.faces import Faces, preprocess
from pipeline.flashes import mirror_order
from pipeline.tables import read_parquet

if TYPE_CHECKING:
    import pandas as pd

HELD = 2**31  # bytes of faces held ready in memory; beyond that they are read and prepared batch by batch
CHUNK = 256
SEEN = 512  # faces that a network is shown at a time
SPLIT_COLUMNS = {"session": str, "subject": str, "split": str, "keep": bool, "weight": float}


@dataclass(frozen=True)
class Samples:
    """Sessions of a split that have a face.

    Attributes
    ----------
    session : ndarray (N,) of str
    subject : ndarray (N,) of str
    row : ndarray (N,) int
        Rows in the packed faces.
    labels : dict of ndarray (N,) int
        By attribute, in the vocabulary; -1 where missing. `age` is float32, in years.
    weight : ndarray (N,) float32
        From balancing; 1 elsewhere.
    """

    session: np.ndarray
    subject: np.ndarray
    row: np.ndarray
    labels: dict[str, np.ndarray]
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def counts(self, name: str, vocabulary: str) -> list[int]:
        """How many sessions have each class of an attribute."""
        known = self.labels[name][self.labels[name] >= 0]
        return np.bincount(known, minlength=len(classes(name, vocabulary))).tolist()


def read_splits(path: str | Path) -> pd.DataFrame:
    """The table of splits, a row a session.

    Raises
    ------
    UserError
        It cannot be read, or a subject is in more than one split: what is then measured is not of unseen subjects.
    """
    table = read_parquet(path, made_by="balance", columns=SPLIT_COLUMNS, key="session")
    names = table.groupby("subject")["split"].unique()
    shared = names[names.map(len) > 1].sort_index()
    if len(shared):
        within = " and ".join(sorted(map(str, shared.iloc[0])))
        raise UserError(
            f"{path}: subject {shared.index[0]} is in {within}, and splits share no subject: run `psface balance` again"
        )
    return table


def read_samples(
    split: str, *, faces: Faces, sessions: str | Path, splits: str | Path, attributes: Sequence[str], vocabulary: str
) -> Samples:
    """The sessions of a split that are kept and have a face, sorted by id.

    Raises
    ------
    UserError
        None is left, the tables do not belong together, or splits share a subject.
    """
    table = read_splits(splits)
    table = table[(table["split"] == split) & table["keep"].astype(bool)]
    columns = {"id": str, **{name: float if name == AGE else int for name in attributes}}
    known = read_parquet(sessions, made_by="ingest", columns=columns, key="id").set_index("id")
    for name in [n for n in attributes if n != AGE]:
        if not ATTRIBUTES[name].knows(known[name].to_numpy()):
            raise UserError(f"{sessions}: codes of {name} that stand for nothing: run `psface ingest` again")
    missing = table.loc[~table["session"].isin(known.index), "session"]
    if len(missing):
        raise UserError(f"{splits}: session {missing.iloc[0]} is not in {sessions}: run `psface balance` again")
    table = table.assign(row=faces.rows_for(table["session"].tolist())).query("row >= 0").sort_values("session")
    if table.empty:
        raise UserError(
            f"{splits}: no session of the {split} split has a face in {faces.folder}; "
            "see the reasons in its index, or change balance's shares"
        )
    codes = known.loc[table["session"]]
    return Samples(
        session=table["session"].to_numpy(dtype=str),
        subject=table["subject"].to_numpy(dtype=str),
        row=table["row"].to_numpy(dtype=int),
        labels={
            name: labels(
                name, codes[name].to_numpy(dtype=np.float32 if name == AGE else np.int64, copy=True), vocabulary
            )
            for name in (*ATTRIBUTES, AGE)
            if name in attributes
        },
        weight=table["weight"].to_numpy(dtype=np.float32, copy=True),
    )


def read_swaps(
    modalities: Sequence[str], *, faces: Faces, sessions: str | Path, names: Sequence[str] | np.ndarray
) -> Tensor | None:
    """Which flashes of `frames` change places in a mirror, (N, k) int64 by session; None where nobody sees `frames`.

    Raises
    ------
    UserError
        The table of sessions has no lights for these faces.
    """
    if "frames" not in modalities:
        return None
    table = read_parquet(sessions, made_by="ingest", columns={"id": str, "lights": object}, key="id").set_index("id")
    count = faces.array("frames").shape[3]
    try:
        lights = np.stack(
            [np.asarray(each, dtype=float).reshape(count, 3) for each in table["lights"].loc[list(names)]]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{sessions}: other lights than those of the {count} frames in {faces.folder}: run `psface crop` again"
        ) from error
    rigs, rig = np.unique(lights.reshape(len(lights), -1), axis=0, return_inverse=True)
    swaps = np.stack([mirror_order(each.reshape(count, 3)) for each in rigs])
    return torch.from_numpy(swaps[rig.ravel()])


class FaceStore:
    """Preprocessed faces of samples by modality: all in memory where they fit, else read batch by batch.

    Parameters
    ----------
    faces : Faces
    modalities : sequence of str
    rows : ndarray (N,) int
        Rows in the packed arrays.
    redraw : bool
        Of `frame`, each `take` draws another of the session's photographs, as training should see them.
    swaps : Tensor (N, k), optional
        Of `frames`, which flashes change places in a mirror, `read_swaps`.

    Raises
    ------
    UserError
        A modality is not packed, or a face is not of numbers alone.
    """

    def __init__(
        self,
        faces: Faces,
        modalities: Sequence[str],
        rows: np.ndarray,
        *,
        redraw: bool = False,
        swaps: Tensor | None = None,
        held: int = HELD,
    ) -> None:
        self.rows, self.mask, self.swaps = rows, faces.mask(), swaps
        self.redraw = redraw and "frame" in modalities
        packed = {name: "frames" if self.redraw and name == "frame" else name for name in modalities}
        for name in packed.values():
            faces.check_finite(name, rows)
        self.arrays = {name: faces.array(array) for name, array in packed.items()}
        size = 4 * len(rows) * sum(int(np.prod(array.shape[1:])) for array in self.arrays.values())
        self.held = self._prepared(np.arange(len(rows))) if size <= held else None

    def take(self, indices: np.ndarray, rng: torch.Generator | None = None) -> dict[str, Tensor]:
        """Faces (B, C, H, W) float32 by modality, of samples by index; ``rng`` draws the photographs of `redraw`."""
        chosen = torch.from_numpy(np.asarray(indices))
        taken = (
            self._prepared(indices) if self.held is None else {name: faces[chosen] for name, faces in self.held.items()}
        )
        if self.redraw:
            frames = taken["frame"]  # (B, k, H, W)
            drawn = torch.randint(frames.shape[1], (len(chosen),), generator=rng)
            taken["frame"] = frames[torch.arange(len(chosen)), drawn][:, None]
        return taken

    def swap(self, indices: np.ndarray) -> Tensor | None:
        """(B, k) which flashes of samples change places in a mirror, as `pipeline.faces.mirror` takes it."""
        return None if self.swaps is None else self.swaps[torch.from_numpy(np.asarray(indices))]

    def all(self) -> Mapping[str, Tensor]:
        """All faces, in the order of the samples."""
        return self.held if self.held is not None else self._prepared(np.arange(len(self.rows)))

    def parts(
        self, count: int, rng: torch.Generator | None = None
    ) -> Iterator[tuple[dict[str, Tensor], Tensor | None]]:
        """The first ``count`` as `take` and `swap` give them, so many at a time that their memory does not matter."""
        for indices in np.array_split(np.arange(count), max(1, -(-count // SEEN))):
            yield self.take(indices, rng), self.swap(indices)

    def _prepared(self, indices: np.ndarray) -> dict[str, Tensor]:
        """Read and prepare in chunks: a chunk's raw values are all that is in memory beside the result."""
        chunks = np.array_split(self.rows[indices], max(1, -(-len(indices) // CHUNK)))
        return {
            name: torch.cat([torch.from_numpy(self._preprocess(array[rows], rows, name)) for rows in chunks])
            for name, array in self.arrays.items()
        }

    def _preprocess(self, values: np.ndarray, rows: np.ndarray, name: str) -> np.ndarray:
        if not (self.redraw and name == "frame"):
            return preprocess(values, self.mask[rows], name)
        each = [preprocess(values[..., i : i + 1], self.mask[rows], name) for i in range(values.shape[-1])]
        return np.concatenate(each, axis=1)  # every photograph prepared by itself


ReadToFit = tuple[tuple[Samples, Samples], tuple[FaceStore, FaceStore]]


def read_to_fit(
    modalities: Sequence[str],
    *,
    faces: Path,
    sessions: Path,
    splits: Path,
    attributes: Sequence[str],
    vocabulary: str,
    redraw: bool = False,
) -> ReadToFit:
    """Training and validation samples, and the faces of both in some modalities.

    With ``redraw``, training sees another photograph of a session as its `frame` each time; validation the packed one.

    Raises
    ------
    UserError
        As `read_samples`, and where a modality is not packed.
    """
    packed = Faces(faces)
    train, validation = (
        read_samples(
            split, faces=packed, sessions=sessions, splits=splits, attributes=attributes, vocabulary=vocabulary
        )
        for split in ("train", "validation")
    )
    swaps = [read_swaps(modalities, faces=packed, sessions=sessions, names=of.session) for of in (train, validation)]
    return (train, validation), (
        FaceStore(packed, modalities, train.row, redraw=redraw, swaps=swaps[0]),
        FaceStore(packed, modalities, validation.row, swaps=swaps[1]),
    )
