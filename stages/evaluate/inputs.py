"""What a run is scored on: the test sessions that have a face, as the run's own preprocessing shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from pipeline.attributes import AGE, ATTRIBUTES, told
from pipeline.contract import Contract
from pipeline.errors import UserError
from pipeline.faces import Faces
from pipeline.maskdesigns import TWIN
from pipeline.samples import FaceStore, Samples, read_samples, read_splits, read_swaps
from pipeline.tables import read_parquet
from stages.evaluate.ages import age_group

PHOTOMETRIC = ("residual", "integrability")
MOST_PROBED = 2000  # training sessions that are embedded for the probes


@dataclass(frozen=True)
class ProbedSet:
    """Training sessions that probes are fitted on: subjects (M,), labels (M,) by attribute, and their faces.

    Labels are binary; that of `age` is its group. -1 where missing.
    """

    subject: np.ndarray
    labels: dict[str, np.ndarray]
    faces: FaceStore


@dataclass(frozen=True)
class EvaluationSet:
    """N test sessions.

    Attributes
    ----------
    samples
        Ids, subjects, labels in the run's vocabulary, sorted by id.
    rigs
        (N,) text.
    binary
        By attribute, (N,) labels in the binary vocabulary, -1 where missing, whatever the run's own is; without those
        that need not be spoken of.
    facts
        By name (N,) float64, NaN where unknown: `age` in years; `albedo`, the median inside the face as reconstructed;
        `detector`, its score; `residual` and `integrability` of the reconstruction.
    inputs
        By modality, (N, C, H, W) float32 as the network sees them.
    without_face
        Test sessions that are not among the N, because no face was cropped from them.
    swap
        (N, k) which flashes of `frames` change places in a mirror, where `frames` are among the inputs.
    """

    samples: Samples
    rigs: np.ndarray
    binary: dict[str, np.ndarray]
    facts: dict[str, np.ndarray]
    inputs: dict[str, Tensor]
    without_face: int
    swap: Tensor | None = None


def read_evaluation_set(
    contract: Contract, *, faces: Path, sessions: Path, splits: Path, quality: Path
) -> EvaluationSet:
    """Read the test sessions for a run.

    Raises
    ------
    UserError
        Where there are no test sessions or no pairs of them, splits share a subject, or the faces are not what the run
        was trained on.
    """
    tested = _count_tested(splits)
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
    _check_pairs(splits, samples)
    known = read_parquet(sessions, made_by="ingest", columns={"id": str, "rig": object}).set_index("id")
    known = known.loc[samples.session]
    binary = in_binary(samples.labels, contract.vocabulary)
    return EvaluationSet(
        samples=samples,
        rigs=known["rig"].to_numpy(dtype=str),
        binary={name: binary[name] for name in told(binary)},
        facts={
            AGE: _numbers(known.reindex(columns=[AGE])[AGE]),
            "albedo": _albedo(packed, samples.row),
            "detector": _numbers(
                packed.index.set_index("session").reindex(columns=["score"]).loc[samples.session, "score"]
            ),
            **_photometric(quality, samples.session),
        },
        inputs=dict(FaceStore(packed, contract.modalities, samples.row).all()),
        without_face=tested - len(samples),
        swap=read_swaps(contract.modalities, faces=packed, sessions=sessions, names=samples.session),
    )


def _count_tested(splits: Path) -> int:
    """Sessions in the test split, of which there are some."""
    tested = int((read_splits(splits)["split"] == "test").sum())
    if not tested:
        raise UserError(f"{splits}: no session is in the test split: raise `balance.test`")
    return tested


def _check_pairs(splits: Path, samples: Samples) -> None:
    """Refuse test sessions without a genuine or without an impostor pair; one visit, masked and bare, is none."""
    visits = dict(zip((name.removesuffix(TWIN) for name in samples.session), samples.subject, strict=True))
    each = np.unique(list(visits.values()), return_counts=True)[1]
    fault = "no genuine pair: nobody has two" if each.max() < 2 else "no impostor pair: they are all of one subject"
    if each.max() < 2 or len(each) < 2:
        raise UserError(
            f"{splits}: the {len(samples)} test sessions with a face have {fault}; raise `balance.test` or add sessions"
        )


def read_probed_set(contract: Contract, *, faces: Path, sessions: Path, splits: Path, seed: int) -> ProbedSet | None:
    """Training sessions to fit probes on, at most `MOST_PROBED` drawn by ``seed``; None without any."""
    table = read_splits(splits)
    packed = Faces(faces)
    chosen = table[(table["split"] == "train") & table["keep"].astype(bool)]
    if not len(chosen) or not (packed.rows_for(chosen["session"].tolist()) >= 0).any():
        return None
    samples = read_samples(
        "train",
        faces=packed,
        sessions=sessions,
        splits=splits,
        attributes=list(ATTRIBUTES),
        vocabulary=contract.vocabulary,
    )
    drawn = np.arange(len(samples))
    if len(drawn) > MOST_PROBED:
        drawn = np.sort(np.random.default_rng(seed).choice(len(drawn), MOST_PROBED, replace=False))
    labels = in_binary({name: codes[drawn] for name, codes in samples.labels.items()}, contract.vocabulary)
    known = read_parquet(sessions, made_by="ingest", columns={"id": str}).set_index("id").reindex(columns=[AGE])
    labels[AGE] = age_group(_numbers(known.loc[samples.session[drawn], AGE]))
    swaps = read_swaps(contract.modalities, faces=packed, sessions=sessions, names=samples.session[drawn])
    store = FaceStore(packed, contract.modalities, samples.row[drawn], swaps=swaps)
    return ProbedSet(samples.subject[drawn], labels, store)


def in_binary(labels: dict[str, np.ndarray], vocabulary: str) -> dict[str, np.ndarray]:
    """Labels of a vocabulary in the binary one."""
    if vocabulary == "binary":
        return labels
    return {name: ATTRIBUTES[name].to_binary(codes) for name, codes in labels.items()}


def _numbers(values: pd.Series) -> np.ndarray:
    """(N,) float64; NaN for what is no number, and for ages of -1."""
    found = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, copy=True)
    found[found < 0] = np.nan
    return found


def _albedo(faces: Faces, rows: np.ndarray) -> np.ndarray:
    """(N,) median albedo inside the mask; NaN of photographs, which have none."""
    if not (faces.folder / "albedo.npy").exists():
        return np.full(len(rows), np.nan)
    albedo, mask = faces.array("albedo"), faces.mask()
    inside = [np.asarray(albedo[row][..., 0], dtype=float)[mask[row] > 0] for row in rows]
    return np.array([np.median(pixels) if pixels.size else np.nan for pixels in inside])


def _photometric(path: Path, sessions: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of the reconstruction by session; NaN for all where maps were made elsewhere and there is no table."""
    if not path.exists():
        return {name: np.full(len(sessions), np.nan) for name in PHOTOMETRIC}
    table = read_parquet(path, made_by="reconstruct", columns={"session": str}, key="session").set_index("session")
    return {name: _numbers(table.reindex(index=sessions, columns=[name])[name]) for name in PHOTOMETRIC}


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
