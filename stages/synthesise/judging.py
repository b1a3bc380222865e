"""Made faces held to the truth: what a network that did not make them says of their identity and age, how far they are
from the true face of that age, and how steadily a face changes from group to group.

The truth is that of `psface truths`: the same session at several ages. Each of its faces is brought to the ages of the
others of its session.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.ager import Ager
from models.embedding import Embedded, embed
from pipeline.ageing import AgeingContract
from pipeline.attributes import AGE
from pipeline.errors import UserError
from pipeline.faces import COLOUR, DEPTH_GAIN, Faces, mirror, preprocess
from pipeline.samples import read_swaps
from pipeline.sessions import truth_of
from pipeline.tables import read_parquet

FAR_KEPT = 0.01  # of the threshold at which a made face counts as the same person
CHUNK = 32  # faces that are brought to all groups at a time
UNITS = {"normal": "degrees", "depth": "eye distances"}  # of the others: shares of the face's mean brightness


@dataclass
class Truths:
    """Faces of sessions at several ages; all arrays (T,).

    Attributes
    ----------
    session, subject, years
        Whose they are.
    drawn
        Which photograph the colours are of.
    faces : dict of Tensor (T, C, H, W)
        Preprocessed, by modality.
    swap : Tensor (T, k), optional
        Of `frames`, which flashes change places in a mirror.
    """

    session: np.ndarray
    subject: np.ndarray
    years: np.ndarray
    drawn: np.ndarray
    faces: dict[str, Tensor]
    swap: Tensor | None = None

    def __len__(self) -> int:
        return len(self.years)

    @cached_property
    def pairs(self) -> np.ndarray:
        """(P, 2) a face, and another of its session at another age, by index; in colour, of the same flash."""
        same = self.session[:, None] == self.session
        if COLOUR in self.faces:
            same &= self.drawn[:, None] == self.drawn
        return np.argwhere(same & (self.years[:, None] != self.years))


def read_truths(sessions: Path, faces: Path, modalities: Sequence[str]) -> Truths:
    """Truths that have a face.

    Raises
    ------
    UserError
        The tables are missing, are none of `psface truths`, or hold no session at two ages.
    """
    table = read_parquet(sessions, made_by="ingest", columns={"id": str, "subject": str}, key="id").sort_values("id")
    packed = Faces(faces)
    row = packed.rows_for(table["id"].tolist())
    table = table[row >= 0]
    alone = f"{sessions}: no session has a face at two ages in {faces}: run `psface truths` and crop first"
    if not len(table):
        raise UserError(alone)
    named = [truth_of(name) for name in table["id"]]
    session, years = np.array([n for n, _ in named], dtype=str), np.array([y for _, y in named], dtype=int)
    index = packed.index.set_index("session").reindex(table["id"])
    drawn = index["frame"].to_numpy() if "frame" in index else np.zeros(len(table), int)
    rows = row[row >= 0]
    seen = {name: torch.from_numpy(_prepared(packed, name, rows, session)) for name in modalities}
    swap = read_swaps(modalities, faces=packed, sessions=sessions, names=table["id"].tolist())
    truths = Truths(session, table["subject"].to_numpy(dtype=str), years, drawn, seen, swap)
    if not len(truths.pairs):
        raise UserError(alone)
    return truths


def _prepared(packed: Faces, modality: str, rows: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Faces as networks see them; of `frame`, all ages of a session under the same flash."""
    mask = packed.mask()[rows]
    if modality != "frame":
        return preprocess(packed.array(modality)[rows], mask, modality)
    frames = packed.array("frames")
    flash = [zlib.crc32(name.encode()) % frames.shape[-1] for name in session]
    lit = np.stack([frames[row, ..., f] for row, f in zip(rows, flash, strict=True)])
    return preprocess(lit[..., None], mask, modality)


def distances(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """How far faces (N, C, H, W) are from others, (N,) by modality, a mean over the pixels that both have.

    Normals by their angle in degrees, depth in eye distances after its mean is taken out, brightness in shares of the
    face's mean.
    """
    found = {}
    for name, first in one.items():
        second = other[name]
        inside = ((first != 0).any(dim=1) & (second != 0).any(dim=1))[:, None].float()
        if name == "normal":
            cosine = (first * second).sum(dim=1, keepdim=True).clamp(-1, 1)
            apart = torch.rad2deg(torch.arccos(cosine))
        else:
            apart = first - second
            if name == "depth":
                apart = (apart - _mean(apart, inside)) / DEPTH_GAIN
            apart = apart.abs().mean(dim=1, keepdim=True)
        found[name] = _mean(apart, inside).flatten().double().numpy()
    return found


def _mean(values: Tensor, inside: Tensor) -> Tensor:
    return (values * inside).sum(dim=(1, 2, 3), keepdim=True) / inside.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)


@dataclass
class Made:
    """What was measured of made faces.

    Attributes
    ----------
    pairs : (P, 2)
        Of the truths: which face was brought to which one's age.
    cosine : (P,)
        Of the judge's embeddings of the made face and of the face itself.
    years : (P,)
        That the judge reads off the made face.
    distance : dict of (P,)
        By modality, of the made face from the true one.
    step, detour, leap : (T,)
        Of each face on its way through all groups: mean change from group to group, in what the networks see; the sum
        of all changes over the change from the first to the last; the largest change over the mean one.
    """

    pairs: np.ndarray
    cosine: np.ndarray
    years: np.ndarray
    distance: dict[str, np.ndarray]
    step: np.ndarray
    detour: np.ndarray
    leap: np.ndarray


@dataclass
class _Gathered:
    pairs: list[np.ndarray] = field(default_factory=list)
    cosine: list[np.ndarray] = field(default_factory=list)
    years: list[np.ndarray] = field(default_factory=list)
    distance: list[dict[str, np.ndarray]] = field(default_factory=list)
    ways: list[np.ndarray] = field(default_factory=list)


def make_all(
    ager: Ager, contract: AgeingContract, judge: nn.Module, truths: Truths, own: Embedded, chunks: Iterator[np.ndarray]
) -> Made:
    """Bring all truths to all groups, and measure what comes out.

    Parameters
    ----------
    own : Embedded
        What the judge says of the truths themselves.
    chunks : iterator of ndarray
        Their indices, in parts (`chunks_of`).
    """
    unit = directions(own.embeddings)
    device = next(judge.parameters()).device
    meant = _meant(contract, truths)
    found = _Gathered()
    for chunk in chunks:
        faces = {name: x[chunk] for name, x in truths.faces.items()}
        swap = None if truths.swap is None else truths.swap[chunk]
        made = {group: ager(faces, group) for group in contract.groups}
        found.ways.append(_way([_flat(each) for each in made.values()]))
        for group, aged in made.items():
            pairs = truths.pairs[np.isin(truths.pairs[:, 0], chunk) & (meant[truths.pairs[:, 1]] == group)]
            if not len(pairs):
                continue
            at = np.searchsorted(chunk, pairs[:, 0])
            said = embed(judge, aged, device=device, mirror=mirror, swap=swap)
            found.pairs.append(pairs)
            found.cosine.append((directions(said.embeddings)[at] * unit[pairs[:, 0]]).sum(axis=1))
            found.years.append(years_of(said)[at])
            true = {name: x[pairs[:, 1]] for name, x in truths.faces.items()}
            found.distance.append(distances({name: x[at] for name, x in aged.items()}, true))
    distance = {name: np.concatenate([each[name] for each in found.distance]) for name in truths.faces}
    cosine, years = np.concatenate(found.cosine), np.concatenate(found.years)
    return _sorted(np.concatenate(found.pairs), cosine, years, distance, np.concatenate(found.ways))


def _meant(contract: AgeingContract, truths: Truths) -> np.ndarray:
    """The group (T,) of each truth's years."""
    try:
        return np.array([contract.group(str(years)) for years in truths.years])
    except UserError as error:
        raise UserError(f"{error}: give `simulate.truths.ages` of those, or train on people of more ages") from error


def _sorted(pairs: np.ndarray, cosine: np.ndarray, years: np.ndarray, distance: dict, ways: np.ndarray) -> Made:
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    distance = {name: values[order] for name, values in distance.items()}
    return Made(pairs[order], cosine[order], years[order], distance, *ways.T)


def chunks_of(truths: Truths) -> list[np.ndarray]:
    """Indices of the truths, in parts."""
    return np.array_split(np.arange(len(truths)), -(-len(truths) // CHUNK))


def directions(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (N, D) of length 1."""
    return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(min=1e-12))


def years_of(said: Embedded) -> np.ndarray:
    """Mean ages (N,) under what a judge says of each year."""
    probabilities = said.probabilities[AGE].astype(np.float64)
    return probabilities @ np.arange(probabilities.shape[1])


def _flat(faces: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([x.flatten(1) for x in faces.values()], dim=1)


def _way(states: Sequence[Tensor]) -> np.ndarray:
    """(N, 3) step, detour and leap of faces in successive groups, by the mean absolute change of a value."""
    steps = torch.stack([(b - a).abs().mean(dim=1) for a, b in pairwise(states)])
    whole = (states[-1] - states[0]).abs().mean(dim=1)
    mean = steps.mean(dim=0)
    ways = [mean, steps.sum(dim=0) / whole.clamp(min=1e-6), steps.max(dim=0).values / mean.clamp(min=1e-6)]
    return torch.stack(ways, dim=1).double().numpy()
