"""The runs of the recognition benchmark: each is what experiments.yaml says of it, and params.yaml can hold it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import recognition
from pipeline.params import load

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "recognition"
LISTED = yaml.safe_load((RECIPE / "experiments.yaml").read_text())["runs"]
ROOT, OWN = (yaml.safe_load((folder / "params.yaml").read_text()) for folder in (RECIPE.parent.parent, RECIPE))


@pytest.mark.parametrize("name", LISTED)
def test_every_run_has_valid_parameters_that_differ_from_the_others(name: str, tmp_path: Path) -> None:
    made = recognition.params_of(name, LISTED[name], 8, ROOT, OWN)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(made))
    entry = (load(path).train or load(path).fuse)[name]  # type: ignore[index]
    assert entry.seed == 8
    assert list(entry.modalities) == LISTED[name].get("fuse", LISTED[name].get("modalities"))
    others = [{**recognition.params_of(name, run, 8, ROOT, OWN)} for other, run in LISTED.items() if other != name]
    assert made not in others


def test_changes_go_into_maps_and_another_loss_replaces_one() -> None:
    base = {"lr": 1, "augment": {"mirror": 0.5, "turn": True}, "identity": {"loss": "magface", "l_a": 10}}
    changes = {"augment": {"turn": False}, "identity": {"loss": "arcface", "margin": 0.3}, "lr": 2}
    assert recognition.merged(base, changes) == {
        "lr": 2, "augment": {"mirror": 0.5, "turn": False}, "identity": {"loss": "arcface", "margin": 0.3},
    }  # fmt: skip
    assert recognition.merged({"adversaries": {"pose": 0.1}}, {"adversaries": None}) == {"adversaries": {}}
    assert base["augment"]["turn"]


def test_a_run_counts_as_done_by_its_own_parameters_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "RECIPE", tmp_path)
    folder = tmp_path / "runs" / "7" / "normal"
    (folder / "evaluate").mkdir(parents=True)
    assert not recognition.is_done("normal", 7, "a: 1\n")
    (folder / "done.json").write_text(json.dumps({"params": "a: 1\n", "minutes": 2.5}))
    (folder / "evaluate" / "metrics.json").write_text(
        json.dumps({"run": {"name": "normal"}, "verification": {"auc": {"value": 0.9, "low": 0.8, "high": 0.95}}})
    )
    assert recognition.is_done("normal", 7, "a: 1\n")
    assert not recognition.is_done("normal", 7, "a: 2\n")
    rows = {row["metric"]: row for row in recognition.rows()}
    assert rows["verification.auc"] == {
        "run": "normal", "seed": 7, "metric": "verification.auc", "value": 0.9, "low": 0.8, "high": 0.95, "n": None,
    }  # fmt: skip
    assert rows["training.minutes"]["value"] == 2.5
