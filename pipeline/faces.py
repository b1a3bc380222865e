"""The packed faces of `data/faces/`, and the one preprocessing between them and a network.

Arrays hold physical values, (N, H, W, C) float16: unit normals, albedo as reconstructed, depth over the distance of the
eyes, frames in [0, 1]. `preprocess` turns them into what a network sees; its name travels in the contract of each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from pipeline.errors import UserError
from pipeline.files import check_regular
from pipeline.tables import read_parquet

if TYPE_CHECKING:
    import pandas as pd

Array = TypeVar("Array", bound=Any)

MODALITIES = ("albedo", "normal", "depth", "frame", "frames")
PHOTOGRAPHED = ("frame", "frames")  # what a single photograph has of them
COLOUR = "colour"  # the photograph of `frame` as RGB, where `crop.colour` asks for it
TEMPLATE = "arcface-112"
PREPROCESSING = {
    "normal": "unit-1",
    "albedo": "mean-relative-1",
    "depth": "eye-distance-1",
    "frame": "mean-relative-1",
    "frames": "mean-relative-1",
    "colour": "mean-relative-1",
}
LOWEST, HIGHEST = -1.0, 3.0  # of mean-relative values
CHANNELS = {
    "albedo": 1,
    "normal": 3,
    "depth": 1,
    "frame": 1,
    "colour": 3,
}  # of frames, as many as a session has flashes
INDEX_COLUMNS = {"session": str, "row": int}
CHUNK = 256  # faces looked at together
DEPTH_GAIN = 2.0  # depth over eye distance spans about +-0.5 on a face


class Faces:
    """Read access to a folder of packed faces, memory-mapped.

    Parameters
    ----------
    folder : path
        ``data/faces`` of a workspace.
    """

    def __init__(self, folder: str | Path = "data/faces") -> None:
        self.folder = Path(folder)

    @cached_property
    def index(self) -> pd.DataFrame:
        """A row a session, sorted by session: ``row`` in the arrays (-1: no face), landmarks, score, reason."""
        return read_parquet(self.folder / "index.parquet", made_by="crop", columns=INDEX_COLUMNS, key="session")

    def array(self, modality: str) -> np.ndarray:
        """(N, H, W, C) float16, memory-mapped."""
        if modality not in (*MODALITIES, COLOUR):
            raise UserError(f"no modality `{modality}`; valid: {', '.join((*MODALITIES, COLOUR))}")
        array = self._map(f"{modality}.npy", dimensions=4, kinds="f")
        if array.shape[:3] != (mask := self.mask()).shape:
            self._refuse(f"{modality}.npy", f"{array.shape[:3]} beside {mask.shape} of mask.npy")
        if array.shape[3] != CHANNELS.get(modality, array.shape[3]):
            self._refuse(f"{modality}.npy", f"{array.shape[3]} channels")
        return array

    def mask(self) -> np.ndarray:
        """(N, H, W) uint8, 1 on the face, memory-mapped."""
        return self._map("mask.npy", dimensions=3, kinds="bu")

    def check_finite(self, modality: str, rows: np.ndarray) -> None:
        """Refuse faces (M,), by row, that are not numbers inside the mask: no network learns or tells anything of them.

        Raises
        ------
        UserError
            It names the first of their sessions.
        """
        array, mask = self.array(modality), self.mask()
        for chunk in np.array_split(rows, max(1, -(-len(rows) // CHUNK))):
            finite = np.isfinite(array[chunk])
            if finite.all():  # nearly always, and then the mask need not be read
                continue
            bad = chunk[(~finite.all(axis=3) & (mask[chunk] != 0)).any(axis=(1, 2))]
            if len(bad):
                session = self.index.loc[self.index["row"] == bad[0], "session"].iloc[0]
                raise UserError(
                    f"{self.folder / modality}.npy: the face of session {session} holds NaN or infinite values: "
                    "run `psface crop` again"
                )

    def rows_for(self, sessions: Sequence[str]) -> np.ndarray:
        """Rows in the arrays of sessions by id; -1 where a session has no face."""
        rows = self.index.set_index("session")["row"]
        return rows.reindex(list(sessions)).fillna(-1).astype(int).to_numpy()

    def _map(self, name: str, *, dimensions: int, kinds: str) -> np.ndarray:
        path = self.folder / name
        try:
            check_regular(path)
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            hint = " with crop.colour: true" if path.stem == COLOUR else ""
            raise UserError(f"{path} is missing: run `psface crop` (or `dvc repro`){hint} first") from None
        except Exception as error:  # numpy reads a header as Python is read: ValueError, TokenError, EOFError, ...
            raise UserError(f"{path} is not whole: run `psface crop` again") from error
        if array.ndim != dimensions or array.dtype.kind not in kinds:
            self._refuse(name, f"{array.ndim} dimensions of {array.dtype}")
        if len(array) <= self.index["row"].max():
            self._refuse(name, f"{len(array)} faces, and index.parquet names more")
        return array

    def _refuse(self, name: str, fault: str) -> NoReturn:
        raise UserError(f"{self.folder / name} is not what `psface crop` writes ({fault}): run it again")


def preprocess(array: np.ndarray, mask: np.ndarray, modality: str) -> np.ndarray:
    """What a network sees of packed faces.

    Parameters
    ----------
    array : ndarray (N, H, W, C)
        Physical values of one modality.
    mask : ndarray (N, H, W)
        Nonzero on the face.
    modality : str
        Normals pass as they are. Albedo and frames are divided by the face's mean inside the mask (one mean over all
        frames of a session, or over all colours), minus 1, clipped to [-1, 3]: exposure and the unknown scale of albedo
        cancel. Depth, in eye distances, is doubled. All are 0 outside the mask.

    Returns
    -------
    ndarray (N, C, H, W) float32
    """
    values = np.asarray(array, dtype=np.float32)
    inside = np.asarray(mask, dtype=bool)[..., None]  # (N, H, W, 1)
    if PREPROCESSING[modality] == "mean-relative-1":
        pixels = np.maximum(inside.sum(axis=(1, 2, 3), keepdims=True), 1) * values.shape[-1]
        mean = np.where(inside, values, 0).sum(axis=(1, 2, 3), keepdims=True) / pixels
        values = np.clip(values / np.maximum(mean, 1e-6) - 1, LOWEST, HIGHEST)
    elif modality == "depth":
        values = values * DEPTH_GAIN
    return np.ascontiguousarray(np.where(inside, values, 0).transpose(0, 3, 1, 2), dtype=np.float32)


def mirror(batch: Array, modality: str, swap: Array | None = None) -> Array:
    """Preprocessed faces (N, C, H, W), of numpy or torch, seen in a mirror.

    Flipped left to right; n_x is negated; and the flashes of `frames` change sides too: each channel gets the
    photograph of channel ``swap`` (N, C), `pipeline.flashes.mirror_order` of each session.

    Raises
    ------
    ValueError
        Nobody says which flashes of `frames` change places.
    """
    flipped: Any = np.flip(batch, 3).copy() if isinstance(batch, np.ndarray) else batch.flip(3)
    if modality == "normal":
        flipped[:, 0] *= -1
    elif modality == "frames":
        if swap is None:
            raise ValueError("which flashes of `frames` a mirror swaps depends on their lights: give each session's")
        places = swap[:, :, None, None]
        if isinstance(batch, np.ndarray):
            flipped[:] = np.take_along_axis(flipped, places, axis=1)
        else:
            flipped.copy_(flipped.gather(1, places.expand_as(flipped)))  # into its own memory, whose order stays
    return flipped
