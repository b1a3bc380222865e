"""`psface synthesise` on a fabricated workspace: what it leaves, that it resumes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from agedfaces import make_seeing, write_params

from pipeline.ageing import load_ageing
from pipeline.cli import main
from pipeline.faces import Faces
from pipeline.params import Synthesise
from pipeline.samples import FaceStore, Samples
from stages.synthesise import build, fit
from stages.synthesise.trial import load_ager

RUN = Path("runs/aged/synthesise")
TABLES = ("weights.safetensors", "recogniser.safetensors", "history.csv", "validation.json", "contract.json")


def contents() -> dict[str, bytes]:
    return {name: (RUN / name).read_bytes() for name in TABLES}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_run_is_whole(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["synthesise", "aged"])
    assert "wrote runs/aged/synthesise (validation: cosine" in capsys.readouterr().out
    assert {path.name for path in RUN.iterdir()} == {*TABLES, "curves.png", "faces.png"}
    history = pd.read_csv(RUN / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    losses = {f"loss_{name}" for name in ("discriminator", "adversarial", "identity", "age")}
    assert losses | {"validation_identity", "validation_group"} <= set(history)
    told = json.loads((RUN / "validation.json").read_text())
    assert list(told["age_read"]) == ["0-30", "31-40", "41-50", "51+"]
    picture = cv2.imread(str(RUN / "faces.png"))
    assert picture.shape[1] == 5 * 66  # the face, and four groups


def test_the_recogniser_is_left_as_it_was(ready: Path) -> None:
    main(["synthesise", "aged"])
    assert (RUN / "recogniser.safetensors").read_bytes() == Path("runs/seeing/train/weights.safetensors").read_bytes()


def test_the_mean_follows_fast_at_first_and_then_slowly() -> None:
    """Of a generator whose weights and counters are 1, from 0: an eleventh is left after one step."""
    generator, mean = (torch.nn.BatchNorm1d(2) for _ in range(2))
    for network, value in ((generator, 1), (mean, 0)):
        network.load_state_dict({name: torch.full_like(x, value) for name, x in network.state_dict().items()})
    left = 1.0
    for step, share in ((1, 1 / 11), (2, 2 / 12), (1000, 0.95)):
        fit.follow(mean, generator, step=step, average=0.95)
        left *= share
        assert mean.running_var.tolist() == pytest.approx([1 - left] * 2)
    assert mean.num_batches_tracked == 1
    assert bool((generator.weight == 1).all())


def test_it_learns(ready: Path) -> None:
    """Every weight of the mean that is kept differs after six steps from what it was after one."""
    write_params(steps=1)
    main(["synthesise", "aged"])
    start = load_ageing(RUN).generator
    write_params(steps=6)
    main(["synthesise", "aged"])
    late = load_ageing(RUN).generator
    moved = [name for name in late if late[name].is_floating_point() and not torch.equal(late[name], start[name])]
    assert {name for name in late if name.endswith("weight")} <= set(moved)
    assert "conditional.masks" not in moved


def test_a_killed_run_ends_in_the_same_bytes(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params(steps=20)
    main(["synthesise", "aged"])
    whole = contents()
    play, played = fit.Synthesiser._play, []

    def dies(self: Any, batch: Any) -> Any:
        played.append(1)
        if len(played) == 14:
            raise KeyboardInterrupt
        return play(self, batch)

    monkeypatch.setattr(fit.Synthesiser, "_play", dies)
    with pytest.raises(SystemExit):
        main(["synthesise", "aged"])
    main(["synthesise", "aged"])
    assert 20 < len(played) < 14 + 20  # not from the start
    assert contents() == whole


def test_several_modalities_age_together(ready: Path) -> None:
    make_seeing(Path("runs/maps/train"), "normal", "depth")
    write_params(recogniser="maps")
    main(["synthesise", "aged"])
    run = load_ageing(RUN)
    faces = FaceStore(Faces(), ["normal", "depth"], np.arange(3)).all()
    made = load_ager(run, RUN)(faces, 1)
    assert set(made) == {"normal", "depth"}
    assert torch.allclose(made["normal"].norm(dim=1), torch.ones(3, 64, 64), atol=1e-4)
    assert bool((made["normal"][:, 2] > 0).all())


@pytest.mark.parametrize(
    ("attributes", "message"), [({"gender": 2}, "takes the age out of its features"), ({}, "fewer than two groups")]
)
def test_what_cannot_be_trained_is_refused(
    ready: Path, capsys: pytest.CaptureFixture[str], attributes: dict[str, int], message: str
) -> None:
    if attributes:
        make_seeing(Path("runs/seeing/train"), "frame", **attributes)
    else:
        sessions = pd.read_parquet("data/sessions.parquet")
        sessions.assign(age=22.0).to_parquet("data/sessions.parquet")
    assert message in refused(capsys, "synthesise", "aged")


@pytest.mark.parametrize("output", [".", "data", "runs/seeing/train", "runs"])
def test_a_synthesis_replaces_a_synthesis_alone(ready: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
    """`--output data` put it in the place of the whole folder."""
    assert "choose another --output" in refused(capsys, "synthesise", "aged", "--output", output)
    assert Path("data/faces/frame.npy").is_file()
    assert Path("runs/seeing/train/contract.json").is_file()


def test_unknown_runs_and_keys_are_refused(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "`synthesise.agde` is missing; did you mean `aged`?" in refused(capsys, "synthesise", "agde")
    write_params(recogniser="nobody")
    assert "runs/nobody/train/contract.json is missing" in refused(capsys, "synthesise", "aged")
    write_params(condition="oneshot")
    assert "condition" in refused(capsys, "synthesise", "aged")


class Store:
    """Gives each face the number of its sample."""

    def take(self, indices: np.ndarray, rng: object = None) -> dict[str, torch.Tensor]:
        return {"depth": torch.from_numpy(indices).float()[:, None, None, None].expand(-1, 1, 4, 4)}

    def swap(self, indices: np.ndarray) -> None:
        return None


def test_real_faces_are_of_the_group_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages 5 to 75, a group of one face alone left out; the same step draws the same."""
    monkeypatch.setattr(build, "augment", lambda faces, how, rng, **_: faces)
    age = np.array([5, 35, 36, 45, 46, 47, 75, 76, -1], dtype=np.float32)
    names = np.array([str(i) for i in range(len(age))])
    samples = Samples(names, names, np.arange(len(age)), {"age": age}, np.ones(len(age), np.float32))
    store: Any = Store()
    deck = build.Deck(Synthesise(recogniser="x", batch=64), samples, store, 4)
    assert deck.groups == [1, 2, 3]
    members = {1: [1, 2], 2: [3, 4, 5], 3: [6, 7]}
    drawn: list[int] = []
    for step in range(20):
        batch = deck.draw(step)
        real = batch.real["depth"][:, 0, 2, 2].int().tolist()
        assert all(one in members[group] for one, group in zip(real, batch.group.tolist(), strict=True))
        drawn += batch.group.tolist()
        assert torch.equal(deck.draw(step).group, batch.group)
        assert torch.equal(deck.draw(step).faces["depth"], batch.faces["depth"])
    assert np.bincount(drawn, minlength=4)[1:] == pytest.approx([1280 / 3] * 3, rel=0.15)
