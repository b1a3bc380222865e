"""Recognition across ages after fine-tuning on made faces: none, all, or those that `psface select` kept.

Part of benchmarks/synthesis.py, which trains the runs. All three go on from the same run with the same steps; their
pairs of test sessions are told apart by the years between two sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models import restore_model
from models.embedding import embed
from pipeline.attributes import AGE
from pipeline.contract import load_run
from pipeline.faces import Faces, mirror
from pipeline.samples import FaceStore, read_samples, read_swaps
from pipeline.verification import difference, pair_scores, rates, resample
from stages.evaluate.splits import GAPS, ByAge, of_gap

FARS = (0.01,)
RESAMPLES, SEED = 1000, 7


def compare(runs: dict[str, Path], against: Sequence[tuple[str, str]], tables: dict[str, Path]) -> dict[str, Any]:
    """Rates of runs by gap, and paired differences of some of them, first minus second.

    Parameters
    ----------
    runs
        Folders of `psface train` by name, all of the same modalities.
    tables
        ``faces``, ``sessions`` and ``splits``, for `read_samples`.
    """
    contract, _ = load_run(next(iter(runs.values())))
    packed = Faces(tables["faces"])
    samples = read_samples(
        "test", faces=packed, sessions=tables["sessions"], splits=tables["splits"], attributes=[AGE],
        vocabulary=contract.vocabulary,
    )  # fmt: skip
    faces = FaceStore(packed, contract.modalities, samples.row).all()
    swap = read_swaps(contract.modalities, faces=packed, sessions=tables["sessions"], names=samples.session)
    scores = {name: pair_scores(embedded(folder, faces, swap), samples.subject) for name, folder in runs.items()}
    draws = resample(len(np.unique(samples.subject)), RESAMPLES, np.random.default_rng(SEED))
    found: dict[str, Any] = {name: {} for name in (*runs, *(f"{one} - {other}" for one, other in against))}
    years = ByAge(np.where(samples.labels[AGE] < 0, np.nan, samples.labels[AGE]))
    for gap in GAPS:
        parts = {name: of_gap(pairs, years.conditions(pairs.genuine_sessions)[gap]) for name, pairs in scores.items()}
        count = {"n": len(next(iter(parts.values())).genuine)}
        for name, part in parts.items():
            found[name][gap] = {rate: {"value": float(x[0]), "low": None, "high": None, **count}
                                for rate, x in rates(part, FARS).items()}  # fmt: skip
        for one, other in against:
            gaps = difference(parts[one], parts[other], draws, FARS)
            found[f"{one} - {other}"][gap] = {rate: {**each, **count} for rate, each in gaps.items()}
    return found


def embedded(folder: Path, faces: dict[str, torch.Tensor], swap: torch.Tensor | None) -> np.ndarray:
    """A run's embeddings of faces; ``swap`` as of `pipeline.samples.read_swaps`."""
    contract, state = load_run(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = restore_model(contract.network.name, state, **contract.network.kwargs).to(device)
    return embed(network, faces, device=device, mirror=mirror, swap=swap).embeddings
