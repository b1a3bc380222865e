"""The real pipeline, through DVC, at a tiny size, then experiments and remotes, each of which re-runs the report alone.

The tests run in order and share one clone, whose run takes minutes: in a file of their own, another process would make
another (`make test`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from pipeline.faces import MODALITIES
from pipeline.params import load
from tests.e2e.conftest import Clone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


@pytest.fixture(scope="module")
def baseline(reproduced: Clone) -> Clone:
    """The clone with its pipeline up to date and committed."""
    reproduced.run("dvc", "repro")
    reproduced.run("git", "add", "-A")
    reproduced.run("git", "commit", "--allow-empty", "-qm", "a baseline")
    return reproduced


@pytest.fixture
def committed(baseline: Clone) -> Iterator[Clone]:
    """The baseline, and left like that."""
    yield baseline
    baseline.run("git", "checkout", "-q", ".")
    baseline.run("dvc", "checkout", "-q")


def shown(clone: Clone) -> list[dict[str, object]]:
    """The experiments on the last commit, by the section `report` of their parameters."""
    rows = json.loads(clone.run("dvc", "exp", "show", "--json"))
    experiments = rows[1]["experiments"] or []
    revisions = [one for experiment in experiments for one in experiment["revs"]]
    return [revision["data"]["params"]["params.yaml"]["data"]["report"] for revision in revisions]


def ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


def test_experiments_in_place_in_a_folder_of_their_own_and_queued(committed: Clone) -> None:
    before = load(committed.root / "params.yaml")
    assert ran(committed.run("dvc", "exp", "run", "-S", "report.resamples=101")) == {"report"}
    written = load(committed.root / "params.yaml")
    assert written.report is not None
    assert written.report.resamples == 101
    assert written.model_copy(update={"report": before.report}) == before
    assert ran(committed.run("dvc", "exp", "run", "--temp", "-S", "report.resamples=102")) == {"report"}
    committed.run("dvc", "exp", "run", "--queue", "-S", "report.resamples=103")
    committed.run("dvc", "exp", "run", "--run-all", "--jobs", "1")
    assert "Failed" not in committed.run("dvc", "queue", "status")
    assert {experiment["resamples"] for experiment in shown(committed)} == {101, 102, 103}


def test_a_nested_value_of_one_modality_touches_its_stage_alone(committed: Clone) -> None:
    apply_overrides(str(committed.root / "params.yaml"), ["train.albedo.augment.mirror=0"])
    changed = json.loads(committed.run("dvc", "status", "--json"))
    by_params = {stage for stage, reasons in changed.items() if "params.yaml" in json.dumps(reasons)}
    assert by_params == {"train@albedo"}


def test_a_fresh_clone_pulls_what_was_pushed_and_runs_nothing(committed: Clone, tmp_path: Path) -> None:
    committed.run("dvc", "remote", "add", "-f", "-d", "store", str(tmp_path / "store"))
    committed.run("dvc", "push", "-q")
    committed.run("git", "commit", "-qam", "a remote")
    fresh = Clone(tmp_path / "fresh")
    committed.run("git", "clone", "-q", ".", str(fresh.root))
    fresh.run("dvc", "pull", "-q")
    assert fresh.repro() == set()
    assert "up to date" in fresh.run("dvc", "status")
    assert json.loads(fresh.run("dvc", "metrics", "diff", "--json", "HEAD")) == {}
    here, there = (json.loads(one.run("dvc", "metrics", "show", "--json")) for one in (committed, fresh))
    assert here == there
    for path in ["data/faces/index.parquet", "runs/all/train/weights.safetensors", "runs/report/index.html"]:
        assert (fresh.root / path).read_bytes() == (committed.root / path).read_bytes()
