"""The runs of docs/age.md: what experiments.yaml says of each, differences by gap, and the tables that they fill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks import age_tables
from benchmarks.age import Age, gap_rows
from benchmarks.recognition_rows import COLUMNS, Scored
from benchmarks.recognition_tables import Results, filled
from pipeline.params import load
from pipeline.verification import threshold_at

BENCHMARK = Age()
LISTED = BENCHMARK.listed()
RUNS = LISTED["runs"]


@pytest.mark.parametrize("name", RUNS)
def test_every_run_is_an_entry_of_the_recipe_with_valid_parameters_of_its_own(name: str, tmp_path: Path) -> None:
    made = BENCHMARK.params_of(name, RUNS[name], 8)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(made))
    entries = load(tmp_path / "params.yaml").train
    assert entries is not None
    entry = entries[name]
    assert entry.seed == 8
    assert list(entry.modalities or ()) == RUNS[name]["modalities"]
    assert made not in [BENCHMARK.params_of(name, run, 8) for other, run in RUNS.items() if other != name]


def test_both_networks_have_one_budget_and_the_recipe_trains_what_is_measured() -> None:
    entries = yaml.safe_load((BENCHMARK.folder / "params.yaml").read_text())["train"]
    apart = {key for key in entries["decomposed"] if entries["decomposed"][key] != entries["plain"].get(key)}
    assert apart <= {"attention", "attributes", "adversaries", "erase", "cross_age"}
    for name in ("plain", "decomposed"):
        assert BENCHMARK.params_of(name, RUNS[name], 7)["train"][name] == entries[name]


def test_what_is_compared_and_shown_is_listed() -> None:
    compared = LISTED["compare"]
    shown = {age_tables.named(m, entry) for m in age_tables.MODALITIES for entry in ("plain", "decomposed")}
    assert {*compared, *(other for others in compared.values() for other in others)} <= set(RUNS)
    spans = {f"{prefix}{entry}" for prefix in age_tables.SPANS.values() for entry in ("plain", "decomposed")}
    assert shown | spans | set(age_tables.PARTS) == set(RUNS)


def evaluated(folder: Path, drift: float) -> Path:
    """40 people at six ages each, whose embeddings move with the age."""
    rng = np.random.default_rng(3)
    subject = np.repeat(np.arange(40), 6).astype(str)
    session = np.array([f"{name}/{i}" for i, name in enumerate(subject)])
    years = rng.uniform(5, 75, size=240)
    moves = rng.normal(size=(40, 8)).repeat(6, axis=0) * (years[:, None] - 40) / 35
    embedding = np.repeat(rng.normal(size=(40, 8)), 6, axis=0) + 0.3 * rng.normal(size=(240, 8)) + drift * moves
    folder.mkdir(parents=True)
    order = rng.permutation(240)
    rows = {"session": session, "subject": subject, "rig": np.full(240, "r"), "embedding": embedding, "age": years}
    np.savez(folder / "embeddings.npz", **{name: values[order] for name, values in rows.items()})
    return folder


def test_differences_by_gap_are_paired_and_errors_are_less_where_the_tar_is_more(tmp_path: Path) -> None:
    better, worse = (Scored(evaluated(tmp_path / str(drift), drift)) for drift in (0.2, 1.0))
    assert all(row["low"] == row["value"] == row["high"] == 0 for row in gap_rows(better, better))
    rows = {row["metric"]: row for row in gap_rows(better, worse)}
    far = rows["invariance.split.age.over_30.fnmr@fmr=1e-2"]
    assert far["low"] < far["value"] < far["high"] < -0.1
    assert rows["invariance.split.age.over_30.auc"]["low"] > 0
    missed = [missed_over_30(run) for run in (better, worse)]
    assert far["n"] == missed[0][1] == missed[1][1]
    assert far["value"] == pytest.approx(missed[0][0] - missed[1][0])  # each run has its pairs in an order of its own


def missed_over_30(run: Scored) -> tuple[float, int]:
    """FNMR at an FMR of 1e-2 of the pairs of more than 30 years, and how many these are."""
    pairs, years = run.pairs(""), run.years
    assert years is not None
    over = np.abs(np.subtract(*years[pairs.genuine_sessions])) > 30
    return float(np.mean(pairs.genuine[over] <= threshold_at(pairs, 0.01))), int(over.sum())


def test_rows_of_synthesis_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both benchmarks write one table; an empty run of this one took the other's rows with it."""
    results = tmp_path / "age.csv"
    theirs = dict.fromkeys(COLUMNS, 1) | {"run": "fas/frame", "metric": "kept"}
    ours = dict.fromkeys(COLUMNS, 1) | {"run": "plain", "metric": "verification.auc"}
    pd.DataFrame([theirs, ours | {"value": 0}], columns=COLUMNS).to_csv(results, index=False)
    monkeypatch.setattr("benchmarks.age.ROOT", tmp_path)
    monkeypatch.setattr(Age, "rows", lambda *_: [ours])
    Age(results=results).write_table()
    assert pd.read_csv(results)[["run", "value"]].to_numpy().tolist() == [["plain", 1], ["fas/frame", 1]]


def test_the_page_has_a_place_for_each_table() -> None:
    found = Results(probed({("plain", 7): 1 / 7 + 0.4, ("decomposed", 7): 1 / 7 + 0.1}))
    page = filled((age_tables.DOCS / "age.md").read_text(), found, age_tables.TABLES)
    assert "| linear | .543 [.543, .543] | .243 [.243, .243] | 0.25 |" in page
    assert filled(page, found, age_tables.TABLES) == page


def probed(read: dict[tuple[str, int], float]) -> pd.DataFrame:
    """Rows of all probes that read so much of the age of runs, by name and seed, and of chance."""
    rows = [
        {"run": run, "seed": seed, "device": "cpu", "metric": f"invariance.probe.age.{name}"}
        | dict.fromkeys(("value", "low", "high"), value if name != "chance" else 1 / 7)
        for (run, seed), value in read.items()
        for name in (*age_tables.PROBES, "chance")
    ]
    return pd.DataFrame(rows)


def test_what_a_probe_reads_is_held_to_the_plain_network_of_the_same_seed() -> None:
    """A part that was left out in one training alone stood beside the mean of three of `plain`; and a training in which
    more than half was left did not show."""
    read = {
        ("plain", 7): 0.2,
        ("plain", 8): 0.4,
        ("decomposed", 7): 0.05,
        ("decomposed", 8): 0.3,
        ("published", 7): 0.1,
    }
    found = Results(probed({run: 1 / 7 + above for run, above in read.items()}))
    assert age_tables.share(found, "decomposed", "mlp") == "0.50 (0.25 to 0.75 of 2)"
    assert age_tables.share(found, "published", "mlp") == "0.50"
    assert not age_tables.share(found, "no-erasure", "mlp")


def test_tables_of_synthesis_have_units_differences_and_what_the_truth_reaches() -> None:
    made = {"distance.normal.made": (5.125, 5.0, 5.25), "distance.normal.made - face": (-0.875, -1.0, -0.75)}
    kept = {"identity.far=1e-2.kept": (0.975, 0.95, 1.0), "identity.far=1e-2.kept_by_truth": (0.9, 0.875, 0.925)}
    values = {"fas/maps": made | kept,
              "fas/maps-onehot": {"distance.normal.made": (5.5, 5.25, 5.75)},
              "fas/maps - maps-onehot": {"distance.normal": (-0.375, -0.5, -0.25)},
              "fas/maps-all - maps-none": {"gap.over_30.tar@far=1e-2": (0.0625, -0.125, 0.25)}}  # fmt: skip
    rows = [
        {"run": run, "seed": 7, "device": "cpu", "metric": metric, "value": value, "low": low, "high": high}
        for run, metrics in values.items()
        for metric, (value, low, high) in metrics.items()
    ]
    found = Results(pd.DataFrame(rows))
    table = age_tables.synthesis(found).splitlines()
    assert table[2].startswith("| `maps` | identity kept at FAR 1e-2 | .975 [.950, 1.000] |")
    assert table[2].endswith("| .900 [.875, .925] |")
    assert (
        "degrees | 5.12 [5.00, 5.25] | 5.50 [5.25, 5.75] | -.38 [-.50, -.25] | 1 of 1 | -.88 [-1.00, -.75] |"
        in table[3]
    )
    assert "| +.062 [-.125, +.250] |" in age_tables.selective(found)
