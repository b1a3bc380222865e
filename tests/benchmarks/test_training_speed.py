"""The comparison of speed: both sides do real steps, at as many parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import training_speed
from benchmarks.thesis_recipe.training import Fit
from pipeline.fitting import native_bf16


def test_both_sides_learn_and_have_as_many_parameters(tmp_path: Path) -> None:
    samples, store = training_speed.pack(tmp_path, 32)
    fit, run = training_speed.thesis_steps(samples, store, 0)
    assert isinstance(fit, Fit)
    before = fit.network.stem[0].weight.detach().clone()
    run(1)
    assert not torch.equal(before, fit.network.stem[0].weight)
    wanted = training_speed.parameters(fit.network, fit.loss)
    width = training_speed.width_for(wanted, 32, 128, samples)
    trainer, run = training_speed.our_steps(samples, store, training_speed.settings(width, 128, "32"), tmp_path)
    count = training_speed.parameters(trainer.network, trainer.objective)
    assert width == 64
    assert abs(count / wanted - 1) <= 0.05
    before = trainer.network.backbone.stem[0].weight.detach().clone()
    run(1)
    assert not torch.equal(before, trainer.network.backbone.stem[0].weight)


def test_a_width_that_nothing_fits_is_refused(tmp_path: Path) -> None:
    samples, _ = training_speed.pack(tmp_path, 8)
    with pytest.raises(SystemExit, match="within 5 %"):
        training_speed.width_for(1000, 8, 128, samples)


def test_the_table_names_ways_and_marks(capsys: pytest.CaptureFixture[str]) -> None:
    training_speed.main(["--sizes", "32", "--steps", "1", "--rounds", "1", "--threads", str(torch.get_num_threads())])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| thesis | 28,541,009 | 1.000") for line in lines)
    assert any(line.startswith("| ours, float32 |") and line.endswith("| 1.25 |") for line in lines)
    assert any(line.startswith("| ours, bf16 |") for line in lines) == native_bf16()


def test_embedding_is_timed_with_and_without_the_mirror_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # of the other tests
    found = training_speed.time_embedding(8, 2, size=32)
    assert set(found) == {"one view", "with the mirror image"}
    assert all(ms > 0 for ms in found.values())
