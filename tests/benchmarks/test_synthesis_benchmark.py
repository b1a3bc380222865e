"""The benchmark of face age synthesis: its seeds, its rows beside others', pairs by the years between them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import synthesis
from pipeline.params import load
from pipeline.verification import pair_scores
from stages.evaluate.splits import ByAge, of_gap


def test_nobody_judges_with_the_seed_that_made(tmp_path: Path) -> None:
    values = synthesis.params_of(8)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    read = load(tmp_path / "params.yaml")
    assert read.train is not None
    assert read.synthesise is not None
    for kind in synthesis.KINDS:
        assert (read.train[kind].seed, read.train[f"{kind}-judge"].seed) == (8, 1008)
        assert read.train[f"{kind}-picker"].seed == 1008
        assert {read.synthesise[name].seed for name in (kind, f"{kind}-onehot", f"{kind}-few")} == {8}
        assert read.synthesise[f"{kind}-few"].recogniser == f"{kind}-few"
        masks, onehot = read.synthesise[kind], read.synthesise[f"{kind}-onehot"]
        assert onehot == masks.model_copy(update={"condition": "onehot"})
        tuned = [read.train[f"{kind}-{made}"] for made in synthesis.TUNED]
        assert len({each.model_copy(update={"synthetic": "none"}).model_dump_json() for each in tuned}) == 1
        assert {each.start for each in tuned} == {f"{kind}-few"}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recipe's parameters, whose runs are nobody's."""
    shutil.copy(synthesis.RECIPE / "params.yaml", tmp_path)
    monkeypatch.setattr(synthesis, "RECIPE", tmp_path)
    return tmp_path / "params.yaml"


def test_runs_by_other_parameters_are_not_gone_on_with(recipe: Path) -> None:
    """A changed recipe went on with what an earlier one had left, and rows of both stood in one table."""
    synthesis.begin(8)
    (synthesis.place(8) / "frame" / "train").mkdir(parents=True)
    synthesis.begin(8)
    text, kept = recipe.read_text(), (synthesis.place(8) / "params.yaml").read_text()
    entries = yaml.safe_load(text)
    entries["synthesise"]["maps"]["steps"] += 1  # whose runs are not there
    entries["synthesise"]["frame-onehot"]["steps"] += 1  # with which `frame` is compared
    recipe.write_text(yaml.safe_dump(entries))
    with pytest.raises(SystemExit, match=r"synthesise\.frame-onehot has changed .* move frame away"):
        synthesis.begin(8)
    assert (synthesis.place(8) / "params.yaml").read_text() == kept
    entries["synthesise"]["frame-onehot"]["steps"] -= 1
    recipe.write_text(yaml.safe_dump(entries))
    synthesis.begin(8)
    assert (synthesis.place(8) / "params.yaml").read_text() != kept


def test_both_recipes_deal_people_alike() -> None:
    """The truths are of the test people of recipes/aifr: elsewhere some would have been trained on."""
    own, theirs = (
        yaml.safe_load((synthesis.RECIPE.parent / name / "params.yaml").read_text()) for name in ("fas", "aifr")
    )
    assert own["balance"] | {"age_span": 0} == theirs["balance"] | {"age_span": 0}


def test_every_run_is_compared_with_others() -> None:
    values = synthesis.params_of(7)
    names = [name for kind in synthesis.KINDS for part in synthesis.compared(kind) for name in part]
    assert sorted(names) == sorted({*values["train"], *values["synthesise"]} - {"defaults"})


def test_a_command_that_fails_ends_all_with_its_code(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "COMMAND", "import sys; open(f'{sys.argv[2]}.begun', 'w'); sys.exit(3)")
    with pytest.raises(SystemExit) as end:
        synthesis.main(["--seeds", "7", "8", "9", "--jobs", "1"])
    assert end.value.code == 3
    assert 1 <= len(list(recipe.parent.glob("runs/*/*/*.begun"))) < 6  # the other tasks were not begun


def test_rows_stand_beside_those_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "RECIPE", tmp_path / "fas")
    monkeypatch.setattr(synthesis, "ROOT", tmp_path)
    monkeypatch.setattr(synthesis, "RESULTS", tmp_path / "age.csv")
    rate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 8}
    found = {"age": {"error": rate, "error_at": {"8": rate}}, "counts": {"faces": 4}, "run": "frame"}
    folder = tmp_path / "fas" / "runs" / "cpu" / "7" / "frame"
    for part, values in (
        ("judge", {**found, "against": found, "difference": {"cosine": rate}}),
        ("ages", {"age": {"error": rate}, "against": {}, "difference": {}}),
        ("tuned", {"frame-all - frame-none": {"over 30": {"eer": rate}}}),
    ):
        (folder / part).mkdir(parents=True)
        (folder / part / "metrics.json").write_text(json.dumps(values))
    columns = ["run", "seed", "device", "metric", "value", "low", "high", "n"]
    others = pd.DataFrame(
        [["plain", 7, "cpu", "verification.auc", 0.9, 0.8, 1.0, 5], ["fas/x", 7, "cpu", "y", 0, 0, 0, 0]],
        columns=columns,
    )
    others.to_csv(tmp_path / "age.csv", index=False)
    synthesis.main(["--rows"])
    table = pd.read_csv(tmp_path / "age.csv")
    assert list(table) == columns
    assert (table["run"] + " " + table["metric"]).tolist() == [
        "plain verification.auc",
        "fas/frame age.error",
        "fas/frame age.error_at.8",
        "fas/frame-onehot age.error",
        "fas/frame-onehot age.error_at.8",
        "fas/frame - frame-onehot cosine",
        "fas/frame by_ages.age.error",
        "fas/frame-all - frame-none gap.over 30.eer",
    ]


def test_every_genuine_pair_has_one_gap() -> None:
    age = np.array([5.0, 5, 15, 35, 46, 76])
    rng = np.random.default_rng(3)
    pairs = pair_scores(rng.normal(size=(6, 4)), np.array(["a", "a", "a", "a", "b", "b"]))
    parts = [of_gap(pairs, inside) for inside in ByAge(age).conditions(pairs.genuine_sessions).values()]
    assert [len(part.genuine) for part in parts] == [3, 4, 0]  # 0, 10, 10; 20, 30, 30 and 30 of b
    assert all(len(part.impostor) == len(pairs.impostor) for part in parts)
