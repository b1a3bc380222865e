"""A judge before whom syntheses are tried: the truth's faces and what it says of them, its thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.ager import Ager, restore_ager
from models.embedding import Embedded, embed
from models.recogniser import Recogniser
from pipeline.ageing import AgeingContract, AgeingRun
from pipeline.attributes import AGE
from pipeline.contract import Contract
from pipeline.errors import UserError
from pipeline.faces import Faces, mirror
from pipeline.progress import track
from pipeline.samples import FaceStore, read_samples, read_splits, read_swaps
from pipeline.strips import sheet
from pipeline.verification import pair_scores, threshold_at
from stages.synthesise.build import load_recogniser
from stages.synthesise.judging import (
    Made,
    Truths,
    chunks_of,
    directions,
    distances,
    make_all,
    read_truths,
    years_of,
)
from stages.synthesise.verdict import differences, verdict

SHOWN = 5  # sessions in the picture


def load_ager(run: AgeingRun, source: Path) -> Ager:
    """The networks of a run.

    Raises
    ------
    UserError
        Its tensors do not fit what it says of itself.
    """
    seeing, network = run.contract.recogniser.network, run.contract.network
    try:
        ager = restore_ager(seeing.name, (seeing.kwargs, run.recogniser), (network.kwargs, run.generator))
    except (ValueError, TypeError) as error:
        raise UserError(f"{source}: its weights do not fit its networks ({error}): make the run again") from error
    return ager.to(_device())


def load_judge(run: AgeingRun, folder: Path) -> tuple[Contract, Recogniser]:
    """A recogniser that tells the age, sees what a synthesis makes, and is not the one before which it was trained.

    Raises
    ------
    UserError
        The folder holds no such run.
    """
    contract, network = load_recogniser(folder)
    check_judge(run, contract, network, folder)
    return contract, network.to(_device())


def check_judge(run: AgeingRun, contract: Contract, network: nn.Module, folder: Path) -> None:
    """Refuse a judge, read from a folder, that sees other faces than a synthesis makes, or before which it was trained.

    Raises
    ------
    UserError
        It says which of both.
    """
    wanted = run.contract.recogniser
    if sorted(contract.modalities) != sorted(wanted.modalities) or contract.size != wanted.size:
        raise UserError(
            f"{folder}: this judge sees {', '.join(contract.modalities)} of {contract.size} px, the synthesis makes "
            f"{', '.join(wanted.modalities)} of {wanted.size} px: train one that sees the same"
        )
    seeing = run.recogniser
    if all(torch.equal(x, seeing[name]) for name, x in network.state_dict().items() if name in seeing):
        raise UserError(f"{folder}: this is the recogniser that the synthesis was trained before: take another's word")


def check_unseen(truths: Truths, splits: Path) -> None:
    """Refuse truths of people whom networks were trained or chosen on.

    Raises
    ------
    UserError
        It names the first of them.
    """
    table = read_splits(splits)
    split = table[table["split"] != "test"].drop_duplicates("subject").set_index("subject")["split"]
    seen = sorted(set(truths.subject) & set(split.index))
    if seen:
        raise UserError(
            f"{splits}: subject {seen[0]} of the truths is in {split[seen[0]]}, and faces of unseen people are judged: "
            "run `psface truths` with these splits"
        )


def thresholds_of(
    judge: tuple[Contract, nn.Module], fars: Mapping[str, float], *, faces: Path, sessions: Path, splits: Path
) -> dict[str, float]:
    """A judge's cosine that so many impostor pairs of the validation split exceed, by name of the rate."""
    contract, network = judge
    packed, vocabulary = Faces(faces), contract.vocabulary
    samples = read_samples(
        "validation", faces=packed, sessions=sessions, splits=splits, attributes=[AGE], vocabulary=vocabulary
    )
    shown = FaceStore(packed, contract.modalities, samples.row).all()
    swap = read_swaps(contract.modalities, faces=packed, sessions=sessions, names=samples.session)
    said = embed(network, shown, device=_device(), mirror=mirror, swap=swap)
    scores = pair_scores(said.embeddings, samples.subject)
    return {name: threshold_at(scores, far) for name, far in fars.items()}


class Trial:
    """The truths' faces before a judge.

    Parameters
    ----------
    run : AgeingRun
        The synthesis, for what it sees.
    judge : path
        A folder of `psface train` that tells the age.
    truths, faces : path
        The truth's table of sessions, and its packed faces.
    """

    def __init__(self, run: AgeingRun, judge: Path, truths: Path, faces: Path) -> None:
        self.judge = load_judge(run, judge)
        self.network: nn.Module = self.judge[1]
        wanted = run.contract.recogniser.modalities
        self.truths: Truths = read_truths(truths, faces, wanted)
        swap = self.truths.swap
        self.said: Embedded = embed(self.network, self.truths.faces, device=_device(), mirror=mirror, swap=swap)

    def hold(
        self, ager: Ager, contract: AgeingContract, thresholds: Mapping[str, float]
    ) -> tuple[dict[str, Any], Made]:
        """What a synthesis reaches, and what was measured of its faces."""
        chunks = track(chunks_of(self.truths), f"judge {contract.run}")
        made = make_all(ager, contract, self.network, self.truths, self.said, chunks)
        source, target = made.pairs.T
        unit = directions(self.said.embeddings)
        as_they_are = [{name: x[at] for name, x in self.truths.faces.items()} for at in (source, target)]
        own = {"cosine": (unit[source] * unit[target]).sum(axis=1), "years": years_of(self.said)}
        own |= {"distance": distances(*as_they_are)}
        return verdict(self.truths, thresholds, own, made), made

    def differences(self, thresholds: Mapping[str, float], one: Made, other: Made) -> dict[str, Any]:
        """One synthesis less another."""
        if not np.array_equal(one.pairs, other.pairs):
            raise UserError("the two syntheses can make different groups of ages: train both on the same faces")
        return differences(self.truths, thresholds, one, other)

    def picture(self, ager: Ager, contract: AgeingContract) -> np.ndarray:
        """Some sessions, each its face of the middle age first, then in turn what that was made at each age, and the
        true one."""
        sessions = np.unique(self.truths.session)
        whole = [s for s in sessions if (self.truths.session == s).sum() == len(np.unique(self.truths.years))]
        some = [whole[int(i)] for i in np.unique(np.linspace(0, len(whole) - 1, SHOWN).round())] if whole else []
        members = [np.flatnonzero(self.truths.session == s) for s in some] or [np.arange(1)]
        ordered = np.stack([each[np.argsort(self.truths.years[each])] for each in members])  # (rows, ages)
        start = ordered[:, ordered.shape[1] // 2]
        faces = {name: x[start] for name, x in self.truths.faces.items()}
        columns, names = [faces], [f"face, {self.truths.years[start[0]]}"]
        for column in ordered.T:
            years = str(self.truths.years[column[0]])
            columns += [ager(faces, contract.group(years)), {n: x[column] for n, x in self.truths.faces.items()}]
            names += [f"made, {years}", f"true, {years}"]
        return sheet([{name: x.numpy() for name, x in column.items()} for column in columns], names)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
