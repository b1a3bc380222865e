"""`psface select`, and training on what it made: who is kept, what is mixed in, where a run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from agedfaces import SIDE, TINY
from torch import Tensor

from models.embedding import Embedded
from pipeline.cli import main
from pipeline.contract import load_run
from pipeline.errors import UserError
from pipeline.madefaces import MadeFaces, MixedStore, mixed, read_made
from pipeline.samples import Samples
from stages.synthesise import picking
from stages.synthesise.picking import draw_groups, pick

TRAIN: dict[str, Any] = {"epochs": 1, "batch": 8, "width": 8, "dimension": 16, "precision": "32", "erase": [],
                         "adversaries": {}, "attributes": {"age": 0.01}, "age_groups": 4,
                         "identity": {"loss": "cosface", "scale": 8, "margin": 0.1}}  # fmt: skip
SELECT = ["select", "aged", "--judge", "runs/judge/train"]


class Bare:
    """What of a contract is asked for."""

    bounds, groups, run = [30, 40, 50], [0, 1, 3], "aged"


def write_train(**changes: Any) -> None:
    entries = {"train": {"frame": {**TRAIN, **changes}}, "synthesise": {"aged": TINY}}
    Path("params.yaml").write_text(yaml.safe_dump(entries))


class Store:
    """Faces whose single value is the number of their sample."""

    def __init__(self, count: int) -> None:
        self.rows, self.arrays = np.arange(count), {"frame": None}

    swaps = None

    def swap(self, indices: np.ndarray) -> None:
        """None of its modalities has flashes."""

    def take(self, indices: np.ndarray, rng: object = None) -> dict[str, Tensor]:
        return {"frame": torch.from_numpy(np.asarray(indices)).float()[:, None, None, None].expand(-1, 1, 2, 2)}


def samples(age: list[float], subject: list[str]) -> Samples:
    names = np.array([f"{s}/{i}" for i, s in enumerate(subject)])
    return Samples(names, np.array(subject), np.arange(len(age)), {"age": np.array(age, np.float32)},
                   np.ones(len(age), np.float32))  # fmt: skip


def test_nobody_is_brought_to_his_own_age() -> None:
    contract: Any = Bare()
    groups = draw_groups(contract, np.array([5.0, 35, 45, 70, -1] * 20), 2, 7)
    own = np.array([0, 1, 2, 3, -1] * 20)
    assert (groups != own[:, None]).all()
    assert (groups[:, 0] != groups[:, 1]).all()
    assert set(groups.ravel()) == {0, 1, 3}
    assert sorted(draw_groups(contract, np.array([70.0]), 8, 7)[0]) == [0, 1]  # not one face twice


def test_a_face_is_kept_where_identity_and_age_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four faces made of four people the second looks like another, the third is 6 years too old, the fourth unlike
    its face: the first alone is kept, whose 35 years are 5 more than its group has."""
    unit = np.eye(8, dtype=np.float32)
    real = unit[:4] + 0.01
    looks = np.stack([unit[0], unit[2] + 1.5 * unit[1] + 2 * unit[2], unit[2], unit[3] + 2 * unit[5]])
    looks[1] = 0.6 * unit[1] + 0.8 * unit[2]
    years = np.array([35.0, 20, 36, 20])

    def embed(judge: object, faces: dict[str, Tensor], **how: object) -> Embedded:
        number = faces["frame"][:, 0, 0, 0].int().numpy()
        made = number >= 100
        who = number % 100
        said = np.where(made[:, None], looks[who], real[who])
        shares = np.zeros((len(number), 101), np.float32)
        shares[np.arange(len(number)), years[who].astype(int)] = 1
        return Embedded(said, {"age": shares}, None)

    monkeypatch.setattr(picking, "embed", embed)
    monkeypatch.setattr(picking, "draw_groups", lambda *_: np.zeros((4, 1), int))
    contract: Any = Bare()

    def ager(faces: dict[str, Tensor], group: int) -> dict[str, Tensor]:
        return {"frame": faces["frame"] + 100}

    judge, store = torch.nn.Linear(1, 1), Store(4)
    made, told = pick(ager, contract, judge, 0.5, samples([40, 41, 60, 20], list("abcd")), store, each=1, seed=7)  # type: ignore[arg-type]
    assert told["own"].tolist() == [True, False, True, True]
    assert (told["cosine"] > 0.5).tolist() == [True, True, True, False]
    assert told["kept"].tolist() == [True, False, False, False]
    assert made.faces["frame"][:, 0, 0, 0].tolist() == [100, 101, 102, 103]
    assert made.age.tolist() == [20] * 4  # the one photographed face of that group


def test_made_faces_come_behind_the_photographed_ones() -> None:
    train, store = samples([40, 41], ["a", "b"]), Store(2)
    made = MadeFaces(
        np.array(["b/1", "b/1", "a/0"]), np.array([8.0, 70, 8]), {"frame": np.full((3, 1, 2, 2), 9, np.float16)}
    )
    made.faces["frame"][1] = 7
    (joined, validation), (both, other) = mixed(((train, train), (store, store)), made)  # type: ignore[arg-type]
    assert joined.subject.tolist() == ["a", "b", "b", "b", "a"]
    assert joined.labels["age"].tolist() == [40, 41, 8, 70, 8]
    assert (validation, other) == (train, store)
    assert isinstance(both, MixedStore)
    assert both.take(np.array([3, 1, 4, 0]))["frame"][:, 0, 0, 0].tolist() == [7, 1, 9, 0]
    assert both.take(np.array([2, 3]))["frame"][:, 0, 0, 0].tolist() == [9, 7]
    assert both.take(np.array([1]))["frame"][:, 0, 0, 0].tolist() == [1]


def test_recognition_is_trained_on_what_was_selected(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From made faces to a run that goes on from another; what is refused on the way."""
    write_train(synthetic="all")
    with pytest.raises(SystemExit):
        main(["train", "frame"])
    assert "data/made/made.parquet is missing: run `psface select`" in capsys.readouterr().err
    main(["synthesise", "aged"])
    main(SELECT)
    table = pd.read_parquet("data/made/made.parquet")
    assert len(table) == 2 * 14 * 4
    assert np.load("data/made/frame.npy").shape == (len(table), 1, SIDE, SIDE)
    main(["train", "frame"])
    _, first = load_run("runs/frame/train")
    assert len(pd.read_csv("runs/frame/train/history.csv")) == 1
    kept = table.assign(kept=False)
    kept.to_parquet("data/made/made.parquet")
    write_train(synthetic="selective")
    with pytest.raises(SystemExit):
        main(["train", "frame"])
    assert "no made face was kept" in capsys.readouterr().err
    kept.loc[::3, "kept"] = True
    kept.iloc[1:].to_parquet("data/made/made.parquet")  # of other faces
    with pytest.raises(UserError, match="is not what `psface select` writes"):
        read_made(Path("data/made"), ["frame"], selective=True)
    kept.to_parquet("data/made/made.parquet")
    assert len(read_made(Path("data/made"), ["frame"], selective=True).age) == -(-len(table) // 3)
    main(["train", "frame"])
    _, second = load_run("runs/frame/train")
    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("output", ["data", "data/faces", "mine"])
def test_made_faces_replace_made_faces_alone(ready: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
    """`--output data/faces` wrote its frame.npy over the packed one."""
    Path("mine").mkdir()
    Path("mine/frame.npy").touch()
    main(["synthesise", "aged"])
    before = Path("data/faces/frame.npy").read_bytes()
    with pytest.raises(SystemExit) as refused:
        main([*SELECT, "--output", output])
    assert refused.value.code == 2
    assert "choose another --output" in capsys.readouterr().err
    assert Path("data/faces/frame.npy").read_bytes() == before


def test_made_faces_of_another_run_do_not_stay(ready: Path) -> None:
    """Of an earlier run that saw normals: beside the new table they would be taken for its faces."""
    main(["synthesise", "aged"])
    main(SELECT)
    Path("data/made/normal.npy").touch()
    main(SELECT)
    assert sorted(path.name for path in Path("data/made").iterdir()) == ["frame.npy", "made.parquet"]


def test_a_run_goes_on_from_another(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At a learning rate of nearly nothing the weights stay; another network is refused."""
    write_train()
    main(["train", "frame", "--output", "runs/base/train"])
    write_train(start="base", lr=1e-12)
    main(["train", "frame"])
    (_, before), (_, after) = load_run("runs/base/train"), load_run("runs/frame/train")
    for name, x in before.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(after[name], x, atol=1e-6, rtol=1e-4)
    write_train(start="base", width=16)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["train", "frame"])
    assert "`start` is another network" in capsys.readouterr().err
