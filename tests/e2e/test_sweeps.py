"""Experiments and remotes, in the clone that the other tests of this folder have run; each re-runs the report alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dvc.utils.hydra import apply_overrides

from pipeline.params import load
from tests.e2e.conftest import Clone

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def committed(reproduced: Clone) -> Iterator[Clone]:
    """The clone with its pipeline up to date and committed, and left like that."""
    reproduced.run("dvc", "repro")
    reproduced.run("git", "add", "-A")
    reproduced.run("git", "commit", "--allow-empty", "-qm", "a baseline")
    yield reproduced
    reproduced.run("git", "checkout", "-q", ".")
    reproduced.run("dvc", "checkout", "-q")


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
