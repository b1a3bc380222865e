"""The runs of the recognition benchmark: each is what experiments.yaml says of it, and params.yaml can hold it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import recognition_tables, runs
from benchmarks.recognition import ELSEWHERE as FOLDERS
from benchmarks.recognition import Recognition
from benchmarks.recognition_rows import ELSEWHERE, Scored, counted, difference_rows, run_rows
from benchmarks.runs import DEVICE, Benchmark, merged
from benchmarks.thesis import Workspace
from pipeline.params import Evaluate, load, section
from pipeline.verification import matrix_pairs, rates

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "recognition"
LISTED = yaml.safe_load((RECIPE / "experiments.yaml").read_text())["runs"]
BENCHMARK = Recognition()


@pytest.mark.parametrize("name", [name for name, run in LISTED.items() if "thesis" not in run])
def test_every_run_has_valid_parameters_that_differ_from_the_others(name: str, tmp_path: Path) -> None:
    made = BENCHMARK.params_of(name, LISTED[name], 8)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(made))
    entries = load(path).train or load(path).fuse
    assert entries is not None
    entry = entries[name]
    assert entry.seed == 8
    assert list(entry.modalities) == LISTED[name].get("fuse", LISTED[name].get("modalities"))
    others = [BENCHMARK.params_of(name, run, 8) for other, run in LISTED.items() if other != name]
    assert made not in others


def test_changes_go_into_maps_and_another_loss_replaces_one() -> None:
    base = {"lr": 1, "augment": {"mirror": 0.5, "turn": True}, "identity": {"loss": "magface", "l_a": 10}}
    changes = {"augment": {"turn": False}, "identity": {"loss": "arcface", "margin": 0.3}, "lr": 2}
    assert merged(base, changes) == {
        "lr": 2, "augment": {"mirror": 0.5, "turn": False}, "identity": {"loss": "arcface", "margin": 0.3},
    }  # fmt: skip
    assert merged({"adversaries": {"pose": 0.1}}, {"adversaries": None}) == {"adversaries": {}}
    assert merged({"attributes": {"age": 1, "pose": 2}}, {"attributes": {"age": 3, "pose": None}}) == {
        "attributes": {"age": 3}
    }
    assert base["augment"]["turn"]


def test_a_run_counts_as_done_by_its_own_parameters_alone(tmp_path: Path) -> None:
    benchmark = Recognition(tmp_path)
    folder = tmp_path / "runs" / DEVICE / "7" / "normal"
    folder.mkdir(parents=True)
    run = LISTED["normal"]
    assert not benchmark.is_done("normal", run, 7, "a: 1\n")
    (folder / "done.json").write_text(json.dumps({"params": "a: 1\n", "minutes": 2.5}))
    assert benchmark.is_done("normal", run, 7, "a: 1\n")
    assert not benchmark.is_done("normal", run, 7, "a: 2\n")


def test_runs_of_the_thesiss_recipe_are_the_processors_wherever_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/thesis.py never leaves it; on a machine with a GPU its rows would have said `cuda`."""
    monkeypatch.setattr(runs, "DEVICE", "cuda")
    benchmark = Recognition(tmp_path)
    for name, run in LISTED.items():
        device = "cpu" if "thesis" in run else "cuda"
        assert benchmark.place(7, name) == Path("runs") / device / "7" / name
    for name in ("thesis-normal", "normal"):
        evaluated(tmp_path / benchmark.place(7, name), 0.5)
        (tmp_path / benchmark.place(7, name) / "done.json").write_text(json.dumps({"params": "", "minutes": 8.0}))
    assert {(row["run"], row["device"]) for row in benchmark.rows({})} == {("thesis-normal", "cpu"), ("normal", "cuda")}


def test_a_fusion_is_done_again_after_one_of_its_branches(tmp_path: Path) -> None:
    """Its own parameters are the same, and its rows stayed those of branches that were no more."""
    benchmark = Recognition(tmp_path)
    for second, name in enumerate(("normal", "depth", "normal-depth", "albedo")):
        path = tmp_path / "runs" / DEVICE / "7" / name / "done.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"params": "a: 1\n", "minutes": 2.5}))
        os.utime(path, (second, second))
    assert benchmark.is_done("normal-depth", LISTED["normal-depth"], 7, "a: 1\n")
    os.utime(tmp_path / "runs" / DEVICE / "7" / "depth" / "done.json", (9, 9))
    assert not benchmark.is_done("normal-depth", LISTED["normal-depth"], 7, "a: 1\n")
    for run in LISTED.values():
        assert set(benchmark.branches_of(run)) <= set(LISTED)
    assert len(benchmark.branches_of(LISTED["thesis-normal+albedo+depth"])) == 3
    assert benchmark.branches_of(LISTED["thesis-normal"]) == benchmark.branches_of(LISTED["early"]) == []


def test_the_minutes_of_a_run_that_was_stopped_are_not_those_of_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = Recognition(tmp_path)
    stops = [True, False]

    def psface(*_: object) -> None:
        if stops and stops.pop(0):
            raise KeyboardInterrupt

    monkeypatch.setattr(Benchmark, "psface", psface)
    with pytest.raises(KeyboardInterrupt):
        benchmark.work("normal", LISTED["normal"], 7, "a: 1\n")
    for expected in (None, 0.0):  # where it was stopped, and from the beginning
        benchmark.work("normal", LISTED["normal"], 7, "a: 1\n")
        done = json.loads((tmp_path / "runs" / DEVICE / "7" / "normal" / "done.json").read_text())
        assert done == {"params": "a: 1\n", "minutes": expected}
    evaluated(tmp_path / "runs" / DEVICE / "7" / "normal", 0.5)
    assert "training.minutes" in {row["metric"] for row in benchmark.rows({})}
    (tmp_path / "runs" / DEVICE / "7" / "normal" / "done.json").write_text(json.dumps(done | {"minutes": None}))
    assert "training.minutes" not in {row["metric"] for row in benchmark.rows({})}


def test_the_thesiss_recipe_reads_its_settings_and_writes_where_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given a key that params.yaml does not have, and wrote beside the benchmark's folders."""
    benchmark = Recognition(tmp_path)
    asked: list[str] = []
    monkeypatch.setattr(Benchmark, "call", lambda _, arguments, **__: asked.extend(map(str, arguments)))
    shutil.copy(RECIPE / "params.yaml", tmp_path)
    run = LISTED["thesis-normal"]
    text = yaml.safe_dump(benchmark.params_of("thesis-normal", run, 7))
    benchmark.work("thesis-normal", run, 7, text)
    assert benchmark.is_done("thesis-normal", run, 7, text)
    given = dict(zip(asked[2::2], asked[3::2], strict=True))
    assert asked[1] == "normal"
    assert section(Path(given["--params"]), "evaluate", Evaluate).resamples == 1000
    place = Workspace(Path(), 7, Path(given["--runs"]))
    assert place.output("normal") == benchmark.place(7, "thesis-normal") / "evaluate"


def test_splits_of_a_runs_own_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an earlier data set lay there, and a run was trained on them."""
    benchmark = Recognition(tmp_path)
    asked: list[tuple[str | Path, ...]] = []
    monkeypatch.setattr(Benchmark, "psface", lambda _, *arguments: asked.append(arguments))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "splits-no-balance.parquet").touch()
    params = benchmark.place(7, "no-balance") / "params.yaml"
    assert benchmark.splits_of(params, LISTED["no-balance"]) == Path("data/splits-no-balance.parquet")
    assert [arguments[0] for arguments in asked] == ["balance"]
    assert benchmark.splits_of(Path("params.yaml"), LISTED["normal"]) == Path("data/splits.parquet")
    assert len(asked) == 1


def evaluated(folder: Path, spread: float) -> Path:
    """A run with its `evaluate` folder: 40 people, two sessions at each of two rigs."""
    rng = np.random.default_rng(3)
    subject = np.repeat(np.arange(40), 4).astype(str)
    session = np.array([f"{name}/{i}" for i, name in enumerate(subject)])
    embedding = np.repeat(rng.normal(size=(40, 8)), 4, axis=0) + spread * rng.normal(size=(160, 8))
    folder = folder / "evaluate"
    folder.mkdir(parents=True)
    metrics = {"verification": {"auc": {"value": 0.9, "low": 0.8, "high": 0.95}}, "counts": {"genuine": 240}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    order = rng.permutation(160)  # runs need not have their sessions in one order
    rig = np.tile(["diagonal", "diagonal", "upright", "upright"], 40)
    np.savez(
        folder / "embeddings.npz",
        session=session[order], subject=subject[order], rig=rig[order], embedding=embedding[order],
    )  # fmt: skip
    return folder.parent


def test_rows_have_the_rates_of_metrics_and_of_the_first_rig_with_their_counts(tmp_path: Path) -> None:
    rows = {row["metric"]: row for row in run_rows(evaluated(tmp_path, 0.8))}
    assert rows["verification.auc"] == {
        "metric": "verification.auc", "value": 0.9, "low": 0.8, "high": 0.95, "n": 240,
    }  # fmt: skip
    run = Scored(tmp_path / "evaluate")
    first = run.rig == "diagonal"
    alone = matrix_pairs(run.similarity[np.ix_(first, first)], run.subject[first])
    assert rows["first_rig.verification.auc"]["value"] == pytest.approx(rates(alone)["auc"][0], abs=1e-12)
    assert rows["first_rig.verification.auc"]["n"] == 40
    assert rows["first_rig.identification.rank1"]["n"] == 40  # of a subject's two sessions one is in the gallery
    assert rows["first_rig.identification.rank1"]["low"] < rows["first_rig.identification.rank1"]["value"]


def test_differences_are_paired_and_of_each_part(tmp_path: Path) -> None:
    better, worse = evaluated(tmp_path / "better", 0.5), evaluated(tmp_path / "worse", 1.2)
    same = {row["metric"]: row for row in difference_rows(better, better)}
    gaps = {row["metric"]: row for row in difference_rows(better, worse)}
    assert all(row["low"] == row["value"] == row["high"] == 0 for row in same.values())
    assert all(gaps[f"{part}verification.auc"]["low"] > 0 for part in ("", "same_rig.", "across_rigs."))
    assert [gaps[f"{part}verification.auc"]["n"] for part in ("", "same_rig.", "across_rigs.")] == [240, 80, 160]
    assert gaps["identification.rank1"]["value"] == pytest.approx(
        Scored(better / "evaluate").ranks("").cmc()[0] - Scored(worse / "evaluate").ranks("").cmc()[0]
    )


def test_what_a_run_has_of_its_own_and_on_real_faces_gets_rows_too(tmp_path: Path) -> None:
    run, other = evaluated(tmp_path / "run", 0.5), evaluated(tmp_path / "other", 1.2)
    (run / "evaluate" / "own.csv").write_text("metric,value,n\nthesis.epochs,12,119\n")
    for each in (run, other):
        for place in ELSEWHERE:
            shutil.copytree(each / "evaluate", each / place)
    rows = {row["metric"]: row for row in run_rows(run)}
    assert (rows["thesis.epochs"]["value"], rows["thesis.epochs"]["n"]) == (12, 119)
    assert rows["yale.verification.auc"]["value"] == 0.9
    gaps = {row["metric"]: row for row in difference_rows(run, other)}
    for metric in ("verification.auc", "identification.rank1"):
        for place in ELSEWHERE:
            assert gaps[f"{place}.{metric}"] == gaps[metric] | {"metric": f"{place}.{metric}"}


def test_every_comparison_is_of_runs_that_are_listed() -> None:
    listed = yaml.safe_load((RECIPE / "experiments.yaml").read_text())
    compared = listed["compare"]
    assert set(FOLDERS) == set(ELSEWHERE)
    for place, folder in FOLDERS.items():
        assert set(listed[place]) <= set(LISTED)
        assert (folder / "params.yaml").exists()
    assert {*compared, *(other for others in compared.values() for other in others)} <= set(LISTED)


@pytest.mark.parametrize(
    ("name", "counts", "n"),
    [
        ("attributes.gender.f1", {"female": {"sessions": 4}, "male": {"sessions": 5}, "missing": {"sessions": 1}}, 9),
        ("quality.norm.fnmr@discard=0.2", {"genuine": 7}, 7),
        ("invariance.probe.gender.mlp", {"tried_on": 11, "genuine": 7}, 11),
        ("identification.open_set.fnir@fpir=1e-1", {"searches": {"mated": 6}}, 6),
        ("differentials.age.old.fmr", {"genuine": 7, "impostor": 70}, 70),
        ("invariance.split.pose.gap.rank1", {"genuine": 7}, None),
        ("invariance.split.pose.gap.rank1", {"genuine": 7, "probes": 4.5}, 4.5),
        ("invariance.split.pose.gap.tmr", {"genuine": 7, "probes": 4.5}, 7),
        ("identification.overall.rank5", {"genuine": 7, "probes": 4.5}, 4.5),
    ],
)
def test_a_rate_is_counted_over_what_it_is_a_share_of(name: str, counts: dict, n: float | None) -> None:
    assert counted(name, counts) == n


def test_the_page_has_a_place_for_each_table_and_cells_are_means_over_trainings() -> None:
    rows = [
        {
            "run": "normal",
            "seed": seed,
            "device": device,
            "metric": "verification.auc",
            "value": 0.95 + seed / 100,
            "low": 0.9,
            "high": 1.0,
        }
        for seed, device in ((1, "cpu"), (2, "cpu"), (2, "cuda"))
    ] + [
        {"run": "relu - normal", "seed": seed, "device": "cpu", "metric": "verification.auc", "value": -0.02,
         "low": -0.03, "high": high}
        for seed, high in ((1, -0.01), (2, 0.01))
    ] + [
        {"run": "normal", "seed": 2, "device": device, "metric": "training.minutes", "value": value}
        for device, value in (("cpu", 6.0), ("cuda", 3.0))
    ]  # fmt: skip
    found = recognition_tables.Results(pd.DataFrame(rows))
    assert found.cell("normal", "verification.auc") == ".967 [.900, 1.000]"
    assert found.cell("relu - normal", "verification.auc", signed=True) == "-.020 [-.030, +.000]"
    assert found.done("normal") == "3"
    assert found.value("normal", "training.minutes") == 6
    assert found.told_apart("relu - normal", "verification.auc") == "1 of 2"
    assert found.cell("relu", "verification.auc") == ""
    page = (RECIPE.parent.parent / "docs" / "recognition.md").read_text()
    made = recognition_tables.filled(page, found)
    assert "| `normal` | .967 [.900, 1.000] |" in made
    assert "| `resnet18` | not run yet |" in made
    assert recognition_tables.filled(made, found) == made


def test_what_is_left_of_a_distance_is_told_training_by_training() -> None:
    """Means of other trainings hid that one of them was above the half."""
    rows = [
        {"run": run, "seed": seed, "device": "cpu", "metric": metric, "value": value, "low": 0, "high": 1}
        for run, metric, values in (
            ("plain", "probe", (0.9, 0.7)),
            ("normal", "probe", (0.6, 0.65, 0.99)),
            ("normal", "chance", (0.5, 0.5, 0.5)),
        )
        for seed, value in enumerate(values)
    ]
    found = recognition_tables.Results(pd.DataFrame(rows))
    assert found.shares("normal", "plain", "probe", "chance") == "0.50 (0.25 to 0.75 of 2)"
    assert found.shares("normal", "no-erasure", "probe", "chance") == ""


def test_tables_name_runs_that_are_listed() -> None:
    t = recognition_tables
    assert {*t.SINGLE, *t.FUSED, *t.CANDIDATES, *t.ABLATIONS, *t.THESIS, *t.THESIS.values(), *t.REAL} == set(LISTED)
