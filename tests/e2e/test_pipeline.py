"""The real pipeline, through DVC, at a tiny size. The tests of this file run in order and share one clone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from pipeline.faces import MODALITIES

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
FUSIONS = {"albedo-depth", "normal-depth", "normal-albedo", "all"}
RUNS = {*MODALITIES, *FUSIONS}


def test_everything_is_there_and_nothing_else(reproduced: Clone) -> None:
    for run in RUNS:
        metrics = json.loads((reproduced.root / f"runs/{run}/evaluate/metrics.json").read_text())
        assert {"value", "low", "high"} <= set(metrics["verification"]["auc"])
        assert set(metrics) >= {"verification", "identification", "attributes", "raw_pixels", "counts"}
    page = (reproduced.root / "runs/report/index.html").read_text()
    assert all(run in page for run in RUNS)
    untracked = [x for x in reproduced.run("git", "status", "--porcelain", "-uall").splitlines() if x.startswith("??")]
    assert untracked == []


def test_a_second_repro_changes_nothing(reproduced: Clone) -> None:
    assert reproduced.repro() == set()
    assert "up to date" in reproduced.run("dvc", "status")


def test_metrics_and_plots_can_be_shown(reproduced: Clone) -> None:
    shown = reproduced.run("dvc", "metrics", "show", "--json")
    assert all(f"runs/{run}/evaluate/metrics.json" in shown for run in RUNS)
    assert "index.html" in reproduced.run("dvc", "plots", "show", "-o", ".psface/plots")


def test_a_change_of_albedo_s_training_retrains_what_it_touches(reproduced: Clone) -> None:
    values = yaml.safe_load((reproduced.root / "params.yaml").read_text())
    reproduced.set("train.albedo.seed", values["train"]["albedo"]["seed"] + 1)
    touched = {"albedo", "albedo-depth", "normal-albedo", "all"}
    expected = {"train@albedo", *(f"fuse@{run}" for run in touched & FUSIONS), *(f"evaluate@{run}" for run in touched)}
    assert reproduced.repro() == {*expected, "report"}


def test_a_change_of_balance_re_runs_from_balance_on(reproduced: Clone) -> None:
    before = (reproduced.root / "params.yaml").read_text()
    reproduced.set("balance.seed", yaml.safe_load(before)["balance"]["seed"] + 1)
    downstream = {*(f"train@{m}" for m in MODALITIES), *(f"fuse@{f}" for f in FUSIONS), "report"}
    expected = {"balance", *downstream, *(f"evaluate@{run}" for run in RUNS)}
    assert reproduced.repro("--dry", "--force-downstream") == expected
    (reproduced.root / "params.yaml").write_text(before)
