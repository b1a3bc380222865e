"""Which made faces recognition should learn from: those that a network which did not make them believes.

The published criterion of MTLFace's selective fine-tuning could not be read anywhere; this one is ours. A face of a
training subject, brought to another group of ages, is kept where for the judge

    cos(made, face) > t                             t: its threshold at a false accept rate on validation subjects
    argmax_s cos(made, mean of subject s) = own     of all training subjects
    age read off it within `TOLERANCE` years of the group that it was brought to
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.age import age_groups
from models.ager import Ager
from models.embedding import embed
from pipeline.ageing import OLDEST, AgeingContract
from pipeline.attributes import AGE
from pipeline.faces import mirror
from pipeline.madefaces import MadeFaces
from pipeline.progress import track
from pipeline.samples import FaceStore, Samples
from stages.synthesise.judging import directions, years_of

TOLERANCE = 5.0  # years
CHUNK = 64


def draw_groups(contract: AgeingContract, age: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Groups (N, each) for faces of these ages (N,): of those that can be made, none twice and not their own; fewer
    than ``each`` where there are no more.
    """
    own = age_groups(torch.from_numpy(age), len(contract.bounds) + 1).numpy()
    rng = np.random.default_rng(seed)
    rows = [rng.permutation([group for group in contract.groups if group != mine]) for mine in own]
    return np.array([row[: min(each, len(contract.groups) - 1)] for row in rows])


def pick(
    ager: Ager,
    contract: AgeingContract,
    judge: nn.Module,
    threshold: float,
    samples: Samples,
    store: FaceStore,
    *,
    each: int,
    seed: int,
) -> tuple[MadeFaces, dict[str, np.ndarray]]:
    """Made faces of all samples, and what the judge says of them: ``cosine``, ``years``, ``own`` and ``kept``."""
    device = next(judge.parameters()).device
    groups = draw_groups(contract, samples.labels[AGE], each, seed)
    means, subject = _means(judge, samples, store)
    parts: list[dict[str, np.ndarray]] = []
    chunks = np.array_split(np.arange(len(samples)), -(-len(samples) // CHUNK))
    for chunk in track(chunks, f"select {contract.run}"):
        faces, swap = store.take(chunk), store.swap(chunk)
        real = directions(embed(judge, faces, device=device, mirror=mirror, swap=swap).embeddings)
        for column in range(groups.shape[1]):
            aged = _brought(ager, faces, groups[chunk, column])
            said = embed(judge, aged, device=device, mirror=mirror, swap=swap)
            unit = directions(said.embeddings)
            found = {"source": chunk, "group": groups[chunk, column], "years": years_of(said)}
            found |= {"cosine": (unit * real).sum(axis=1), "own": (unit @ means.T).argmax(axis=1) == subject[chunk]}
            parts.append(found | {name: x.numpy().astype(np.float16) for name, x in aged.items()})
    told = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    starts, ends = _ranges(contract)
    group, years = told["group"], told["years"]
    near = (years >= starts[group] - TOLERANCE) & (years <= ends[group] + TOLERANCE)
    kept = (told["cosine"] > threshold) & told["own"] & near
    meant = _typical(contract, samples.labels[AGE])[group]
    made = MadeFaces(samples.session[told["source"]], meant, {name: told[name] for name in store.arrays})
    return made, {name: told[name] for name in ("group", "cosine", "years", "own")} | {"kept": kept}


def _brought(ager: Ager, faces: dict[str, Tensor], group: np.ndarray) -> dict[str, Tensor]:
    """Faces each at a group of its own."""
    found = {name: torch.empty_like(x) for name, x in faces.items()}
    for wanted in np.unique(group):
        rows = torch.from_numpy(np.flatnonzero(group == wanted))
        for name, x in ager({name: x[rows] for name, x in faces.items()}, int(wanted)).items():
            found[name][rows] = x
    return found


def _means(judge: nn.Module, samples: Samples, store: FaceStore) -> tuple[np.ndarray, np.ndarray]:
    """Mean directions (S, D) of the subjects' photographed faces, and each sample's subject (N,) as a row of them."""
    device = next(judge.parameters()).device
    chunks = np.array_split(np.arange(len(samples)), -(-len(samples) // CHUNK))
    seen = [
        embed(judge, store.take(chunk), device=device, mirror=mirror, swap=store.swap(chunk)).embeddings
        for chunk in chunks
    ]
    names, subject = np.unique(samples.subject, return_inverse=True)
    sums = np.zeros((len(names), seen[0].shape[1]))
    np.add.at(sums, subject, directions(np.concatenate(seen)))
    return directions(sums), subject


def _ranges(contract: AgeingContract) -> tuple[np.ndarray, np.ndarray]:
    """First and last years of the groups."""
    return np.array([0, *(b + 1 for b in contract.bounds)]), np.array([*contract.bounds, OLDEST])


def _typical(contract: AgeingContract, age: np.ndarray) -> np.ndarray:
    """Years that a made face of each group is meant to show: the mean of the photographed faces in it."""
    own = age_groups(torch.from_numpy(age), len(contract.bounds) + 1).numpy()
    return np.array([age[own == g].mean() if (own == g).any() else -1.0 for g in range(len(contract.bounds) + 1)])
