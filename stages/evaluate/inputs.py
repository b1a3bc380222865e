"""What a run is scored on: the test sessions that have a face, as the run's own preprocessing shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from pipeline.attributes import ATTRIBUTES
from pipeline.contract import Contract
from pipeline.errors import UserError
from pipeline.faces import Faces
from pipeline.samples import SPLIT_COLUMNS, FaceStore, Samples, read_samples
from pipeline.tables import read_parquet


@dataclass(frozen=True)
class EvaluationSet:
    """N test sessions.

    Attributes
    ----------
    samples
        Ids, subjects, labels in the run's vocabulary, sorted by id.
    rigs
        (N,) text.
    inputs
        By modality, (N, C, H, W) float32 as the network sees them.
    without_face
        Test sessions that are not among the N, because no face was cropped from them.
    """

    samples: Samples
    rigs: np.ndarray
    inputs: dict[str, Tensor]
    without_face: int


def read_evaluation_set(contract: Contract, *, faces: Path, sessions: Path, splits: Path) -> EvaluationSet:
    """Read the test sessions for a run.

    Raises
    ------
    UserError
        Where there are no test sessions, a test subject is also in another split, or the faces are not what the run was
        trained on.
    """
    table = read_parquet(splits, made_by="balance", columns=SPLIT_COLUMNS, key="session")
    tested = table["split"] == "test"
    if not tested.any():
        raise UserError(f"{splits}: no session is in the test split: raise `balance.test`")
    shared = sorted(set(table["subject"][tested]) & set(table["subject"][~tested]))
    if shared:
        raise UserError(f"{splits}: test subject {shared[0]} is in another split too: run `psface balance` again")
    packed = Faces(faces)
    for modality in contract.modalities:
        _check_shape(contract, modality, packed.array(modality).shape, packed.folder)
    samples = read_samples(
        "test",
        faces=packed,
        sessions=sessions,
        splits=splits,
        attributes=list(ATTRIBUTES),
        vocabulary=contract.vocabulary,
    )
    rigs = read_parquet(sessions, made_by="ingest", columns={"id": str, "rig": object}).set_index("id")["rig"]
    return EvaluationSet(
        samples=samples,
        rigs=rigs.loc[samples.session].to_numpy(dtype=str),
        inputs=dict(FaceStore(packed, contract.modalities, samples.row).all()),
        without_face=int(tested.sum()) - len(samples),
    )


def _check_shape(contract: Contract, modality: str, shape: tuple[int, ...], folder: Path) -> None:
    """A network sees the size and the channels that it was trained on, or nothing."""
    where = f"{folder / modality}.npy"
    if shape[1:3] != (contract.size, contract.size):
        raise UserError(
            f"{where}: faces of {shape[1]} x {shape[2]} px, run `{contract.run}` was trained on {contract.size} px;"
            f" set `crop.size: {contract.size}` or train it again"
        )
    if shape[3] != contract.channels[modality]:
        what = "frames a session" if modality == "frames" else "channels"
        raise UserError(
            f"{where}: {shape[3]} {what}, run `{contract.run}` was trained on {contract.channels[modality]};"
            " evaluate another modality or train it again"
        )


def raw_pixels(inputs: dict[str, Tensor]) -> np.ndarray:
    """The baseline that learns nothing: preprocessed pixels as they are, to be compared by their cosine.

    The mean face of these sessions is subtracted, which favours the baseline; each modality's vector is then made unit,
    so that a fusion's modalities count alike.

    Parameters
    ----------
    inputs
        By modality, (N, C, H, W).

    Returns
    -------
    (N, D) float32, D over all modalities.
    """
    vectors = []
    for pixels in inputs.values():
        flat = pixels.flatten(1).numpy()
        flat = flat - flat.mean(axis=0)
        vectors.append(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12))
    return np.concatenate(vectors, axis=1)
