"""A training that was killed goes on with the bytes of an undisturbed one; one of other code does not."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import work
from pipeline.cli import main
from pipeline.contract import load_run
from pipeline.work import source
from stages.train import fit
from tests.stages.train.small import ATTRIBUTES, RUN, VARIED, give_ages, prepare


class Killed(BaseException):
    """What a kill would be, without taking the tests along."""


def test_a_killed_run_goes_on(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after every second state it saves, inside epochs and between them: the same bytes, no step twice."""
    prepare(epochs=3, patience=2, dropout=0.4)
    step, save, steps, saves = fit.Trainer._step, fit.Trainer._save, [], []
    monkeypatch.setattr(fit.Trainer, "_step", lambda self, *a: steps.append(self.epoch) or step(self, *a))
    main(["train", "normal"])
    whole, undisturbed = {p.name: p.read_bytes() for p in RUN.iterdir()}, list(steps)
    shutil.rmtree(RUN)

    def die(self: fit.Trainer) -> None:
        save(self)
        saves.append(self.begun.batches)
        if len(saves) % 2 == 0:
            raise Killed

    monkeypatch.setattr(fit.Trainer, "_save", die)
    monkeypatch.setattr(fit.Checkpoint, "due", lambda self: True)
    steps.clear()
    while not RUN.exists():
        with contextlib.suppress(Killed):
            main(["train", "normal"])
    assert {0, 1, 2} <= set(saves[1::2])  # it was killed between epochs and inside them
    assert steps == undisturbed
    assert {p.name: p.read_bytes() for p in RUN.iterdir()} == whole


def test_a_step_that_was_not_saved_is_done_again(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(dropout=0.4)
    step = fit.Trainer._step
    main(["train", "normal"])
    whole = {p.name: p.read_bytes() for p in RUN.iterdir()}
    left = iter([True] * 4 + [False])

    def die(self: fit.Trainer, *arguments: Any) -> Any:
        losses = step(self, *arguments)
        if not next(left):
            raise Killed
        return losses

    with monkeypatch.context() as patched:
        patched.setattr(fit.Trainer, "_step", die)
        with pytest.raises(Killed):
            main(["train", "normal"])
    main(["train", "normal"])
    assert {p.name: p.read_bytes() for p in RUN.iterdir()} == whole


@pytest.mark.parametrize("kind", VARIED)
def test_every_variant_goes_on_where_it_was_killed(kind: str, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an epoch, to the same bytes; pins the thesis's thirteenth defect, a state that was not whole."""
    give_ages()
    prepare(**VARIED[kind])
    main(["train", "normal"])
    whole = {p.name: p.read_bytes() for p in RUN.iterdir()}
    shutil.rmtree(RUN)
    step, left = fit.Trainer._step, iter([True] * 3 + [False] + [True] * 100)

    def die(self: fit.Trainer, *arguments: Any) -> Any:
        if not next(left):
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(fit.Trainer, "_step", die)
    monkeypatch.setattr(fit.Checkpoint, "due", lambda self: True)
    with pytest.raises(Killed):
        main(["train", "normal"])
    main(["train", "normal"])
    assert {p.name: p.read_bytes() for p in RUN.iterdir()} == whole
    history = pd.read_csv(RUN / "history.csv")
    assert ("weight_identity" in history) == (VARIED[kind].get("task_weights") == "uncertainty")
    assert set(load_run(RUN)[0].attributes) == set(VARIED[kind].get("attributes", ATTRIBUTES))


def test_a_run_of_other_code_does_not_go_on(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a checkpoint was gone on with after an edit of the network, or could not be loaded any more."""

    def begun() -> set[str]:
        return {p.name for p in Path(".psface/train/normal").iterdir() if p.is_dir()}

    def die(self: fit.Trainer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.Trainer, "_save", die)
    for edited in (False, True):
        if edited:
            first = begun()
            monkeypatch.setattr(work, "source", lambda *names: [*source(*names), Path("params.yaml")])
        with pytest.raises(SystemExit):
            main(["train", "normal"])
    assert begun().isdisjoint(first)
