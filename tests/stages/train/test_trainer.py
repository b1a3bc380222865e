"""What a trainer is made of and what one of its steps does; each test keeps a fault of the thesis's code away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor

from pipeline.attributes import ATTRIBUTES
from pipeline.cli import main
from pipeline.faces import mirror
from pipeline.fitting import make_fabric
from pipeline.params import Train
from pipeline.samples import read_to_fit
from pipeline.tables import write_parquet
from stages.train import fit

TABLES = {"sessions": Path("data/sessions.parquet"), "splits": Path("data/splits.parquet")}
NAMES = ["spectacles", "facial_hair", "expression"]
STILL = {"mirror": 0, "rotate": 0, "zoom": 0, "shift": 0, "tilt": 0, "light": 0}
TINY = {"modalities": ["normal"], "epochs": 2, "batch": 16, "width": 8, "dimension": 144, "precision": "32",
        "attributes": dict.fromkeys(NAMES, 1.0)}  # fmt: skip


@pytest.fixture(autouse=True)
def split(fabricate: Callable[..., Path]) -> None:
    """A workspace of three splits, each with other shares of the classes."""
    fabricate()
    table = pd.read_parquet("data/splits.parquet")
    number = table["subject"].astype(int) - 1001
    table["split"] = np.select([number < 14, number < 20], ["train", "validation"], "test")
    write_parquet("data/splits.parquet", table)
    known = pd.read_parquet("data/sessions.parquet")
    place, every = np.arange(len(known)), table["split"].map({"train": 4, "validation": 2, "test": 1}).to_numpy()
    known["spectacles"] = (place % every == 0).astype(int)
    known["facial_hair"] = np.where(place % every == 0, 3, 0)
    known["expression"] = np.where(place % 7 == 0, -1, np.where(place % every == 0, 0, 2))  # the rarer one is the first
    write_parquet("data/sessions.parquet", known)


def make(**changes: Any) -> fit.Trainer:
    values = Train.model_validate({**TINY, **changes})
    samples, stores = read_to_fit(
        ["normal"], faces=Path("data/faces"), **TABLES, attributes=list(values.attributes), vocabulary=values.vocabulary
    )
    return fit.Trainer("normal", values, *samples, stores, Path("scratch"), make_fabric("32"))


@pytest.mark.parametrize("vocabulary", ["binary", "photoface"])
def test_fault_10_constants_are_counted_in_the_training_split_alone(vocabulary: str) -> None:
    """The thesis's tenth defect: alpha and gamma were those of the whole set, test included."""
    trainer = make(vocabulary=vocabulary, focus=1.5)
    table = pd.read_parquet(TABLES["splits"]).merge(
        pd.read_parquet(TABLES["sessions"]), left_on="session", right_on="id"
    )
    table = table[table["split"] == "train"]
    against = trainer.objective.adversaries
    assert against is not None
    for name in NAMES:
        codes = table.loc[table[name] >= 0, name].to_numpy()
        codes = ATTRIBUTES[name].to_binary(codes) if vocabulary == "binary" else codes
        focal, counts = trainer.objective.attributes[name], Counter(codes.tolist())
        classes = range(len(focal.alpha))
        alpha = [len(codes) / (len(counts) * counts[code]) if code in counts else 0.0 for code in classes]
        assert focal.alpha.tolist() == pytest.approx(alpha)
        assert focal.gamma.tolist() == [1.5 if code == counts.most_common(1)[0][0] else 0.0 for code in classes]
        assert against.alpha[name] == pytest.approx(alpha)


def test_fault_8_labels_are_read_before_training_and_not_for_each_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thesis's eighth defect: a CSV was read and searched for each sample of each epoch."""
    Path("params.yaml").write_text(yaml.safe_dump({"train": {"normal": {**TINY, "epochs": 3}}}))
    read, step, seen = pd.read_parquet, fit.Trainer._step, []
    monkeypatch.setattr(pd, "read_parquet", lambda path, *a, **k: seen.append(Path(path).name) or read(path, *a, **k))
    monkeypatch.setattr(fit.Trainer, "_step", lambda self, *a: seen.append("step") or step(self, *a))
    main(["train", "normal"])
    assert seen.count("step") == 9  # 56 sessions
    assert Counter(seen[: seen.index("step")])["sessions.parquet"] == 2  # once for each split
    assert set(seen[seen.index("step") :]) == {"step"}


def watch(trainer: fit.Trainer, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The faces that the network will be given."""
    seen: list[dict[str, Tensor]] = []
    network = trainer.model
    monkeypatch.setattr(trainer, "model", lambda faces: seen.append(faces) or network(faces))
    return seen


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_fault_12_the_network_sees_mirrored_faces_as_often_as_is_asked(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thesis's twelfth defect: faces were never mirrored."""
    trainer = make(augment={**STILL, "mirror": share})
    given, rng = watch(trainer, monkeypatch), torch.Generator().manual_seed(3)
    chosen = torch.arange(16)
    plain = trainer.store.take(chosen.numpy())["normal"]
    for _ in range(4):
        trainer._step(chosen, rng)
    flipped = torch.stack([_like(faces["normal"], mirror(plain, "normal")) for faces in given])
    assert bool((flipped | torch.stack([_like(faces["normal"], plain) for faces in given])).all())
    assert flipped.float().mean() == pytest.approx(share, abs=0.25)  # of 64 draws; half of them or none is told apart


def _like(faces: Tensor, others: Tensor) -> Tensor:
    """(B,) bool: which faces are the same but for rounding."""
    return (faces - others).abs().amax(dim=(1, 2, 3)) < 1e-3


def test_the_reversal_rises_with_training_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adversary of a coefficient that stayed at 0 would only watch, and no loss would tell."""
    trainer = make(adversary={"rise": 0.5, "steps": 1}, epochs=2)
    shares: list[float] = []
    against = trainer.objective.adversaries
    assert against is not None
    against.register_forward_pre_hook(lambda _, given: shares.append(float(given[3])))
    trainer.fit()
    assert shares == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1])  # three batches an epoch
    assert [fit.risen(at, 0.25) for at in (0, 0.125, 0.25, 1)] == [0, 0.5, 1, 1]
    assert fit.risen(0, 0) == 1


def test_the_reversal_reaches_the_network() -> None:
    """The same step with it and without moves the network elsewhere, and the adversaries alike."""
    moved = {}
    for share in (0.0, 1.0):
        trainer = make(adversary={"steps": 1}, dropout=0)
        trainer.share = share
        trainer._step(torch.arange(16), torch.Generator().manual_seed(3))
        against = trainer.objective.adversaries
        assert against is not None
        moved[share] = trainer.network.embedding.project.weight.detach(), next(against.parameters()).detach()
    assert float((moved[0.0][0] - moved[1.0][0]).abs().max()) > 1e-4
    torch.testing.assert_close(moved[0.0][1], moved[1.0][1])


def test_adversaries_take_their_extra_steps_on_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them down their losses of the embeddings that the network has just been seen to give."""
    left = {}
    for steps in (1, 6):
        trainer = make(adversary={"steps": steps, "lr": 0.003}, dropout=0, augment=STILL)
        against, opponent = trainer.objective.adversaries, trainer.opponent
        assert against is not None
        assert opponent is not None
        done, step = [], opponent.step
        monkeypatch.setattr(opponent, "step", lambda step=step, done=done: done.append(1) or step())
        given: list[Tensor] = []
        against.register_forward_pre_hook(lambda _, seen, given=given: given.append(seen[0].detach()))
        chosen = torch.arange(16)
        trainer._step(chosen, torch.Generator().manual_seed(3))
        assert (len(done), len(given)) == (steps, steps)
        assert all(torch.equal(each, given[0]) for each in given)
        truth = trainer.truth.take(chosen, torch.device("cpu"))
        with torch.no_grad():
            left[steps] = torch.stack(list(against(given[0], truth.labels, truth.weight).values())).sum()
    assert left[6] < 0.9 * left[1]
