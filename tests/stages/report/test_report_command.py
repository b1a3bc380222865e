"""`psface report` on fabricated workspaces: whole ones, and ones that lack nearly everything."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import chdir
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.images import write_picture
from pipeline.maps import Maps, write_maps
from pipeline.sessions import read_sessions
from pipeline.tables import write_csv, write_json, write_parquet
from stages.evaluate.command import command as evaluate
from stages.report.command import command

VOID = {"meta", "link", "img", "br"}


class Checker(HTMLParser):
    """Counts tags that are left open, and collects what would be asked of a server."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.requests: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action") and not re.match(r"#|data:", value):
                self.requests.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def report(*arguments: str) -> tuple[str, str, dict]:
    """Page, standard output, comparison."""
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    page = Path("runs/report/index.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert (checker.open, checker.requests) == ([], [])
    assert not re.search(r"url\((?!#)|@import|https?://|fetch\(", page)
    return page, result.output, json.loads(Path("runs/report/comparison.json").read_text())


def fake_run(name: str, like: str, noise: float, validation: float | None) -> None:
    """A run of another name with embeddings of its own, beside a run that was really evaluated."""
    folder, model = Path("runs", name, "evaluate"), Path("runs", like, "evaluate")
    folder.mkdir(parents=True, exist_ok=True)
    metrics = json.loads((model / "metrics.json").read_text())
    metrics["run"] = {"name": name, "modalities": name.replace("-", "+")}
    metrics["verification"]["auc"]["value"] = 1 - noise / 10
    write_json(folder / "metrics.json", metrics)
    for table in ("roc.csv", "cmc.csv"):
        (folder / table).write_text((model / table).read_text())
    with np.load(model / "embeddings.npz") as saved:
        _, code = np.unique(saved["subject"], return_inverse=True)
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(code.max() + 1, 8))[code] + noise * rng.normal(size=(len(code), 8))
        np.savez(folder / "embeddings.npz", **{**saved, "embedding": vectors})
    if validation is not None:
        write_json(Path("runs", name, "train", "validation.json"), {"auc": validation})


@pytest.fixture(scope="module")
def built(fill_workspace, repository, tmp_path_factory) -> Path:
    """A workspace that has run through: maps, balance, losses, singles, fusions."""
    folder = tmp_path_factory.mktemp("built")
    with chdir(folder):
        fill_workspace(lost=2)
        run_through(repository)
    return folder


@pytest.fixture
def whole(built, workspace) -> Path:
    """A copy of it as the current folder."""
    shutil.copytree(built, workspace, dirs_exist_ok=True)
    return workspace


def run_through(repository: Path) -> None:
    height = np.hypot(*np.mgrid[-1:1:32j, -1:1:32j])
    normal = np.zeros((32, 32, 3), dtype=np.float32)
    normal[..., 2] = 1
    for session in read_sessions()[:8]:
        flat = height.astype(np.float32)
        write_maps(Path("data/maps", f"{session.id}.exr"), Maps(normal, flat, flat, height < 1))
        for frame in session.frames:
            Path(frame).parent.mkdir(parents=True, exist_ok=True)
            write_picture(frame, flat)
    write_csv(
        "data/rejected.csv",
        pd.DataFrame([("9/1", "ingest", "a.bmp: empty <file>")], columns=["session", "stage", "reason"]),
    )
    quality = {"session": ["1001/0", "1001/1"], "residual": [0.01, 0.02], "rejected": ["", "coplanar lights (3)"]}
    write_parquet("data/quality.parquet", pd.DataFrame(quality))
    classes = {"attribute": ["gender"], "class": ["female"], "before": [10], "after": [5.0], "before_share": [0.1]}
    write_csv("data/balance/before_after.csv", pd.DataFrame(classes).assign(after_share=0.25, validation=1, test=2))
    Path("dvc.yaml").write_text((repository / "dvc.yaml").read_text())
    Path("params.yaml").write_text(
        (repository / "params.yaml").read_text().replace("resamples: 1000", "resamples: 100")
    )
    assert CliRunner().invoke(evaluate, ["normal"], catch_exceptions=False).exit_code == 0
    fake_run("normal", "normal", 2.0, 0.8)
    fake_run("albedo", "normal", 1.5, 0.7)
    fake_run("frame", "normal", 4.0, 0.9)
    fake_run("normal-albedo", "normal", 0.5, 0.9)
    fake_run("albedo-depth", "normal", 0.4, 0.6)
    history = pd.DataFrame({"epoch": [1, 2], "loss_identity": [9.0, 3.0], "validation_auc": [0.6, 0.8]})
    write_csv("runs/normal/train/history.csv", history)


def test_the_whole_page(whole):
    page, _, _ = report()
    for words in (
        "normal-albedo",
        "train × 5",
        "empty &lt;file&gt;",
        "coplanar lights",
        "no face found",
        "1 of 2 sessions",
    ):
        assert words in page
    assert (
        page.count("data:image/jpeg;base64,") == 2 * 7 + 1
    )  # two subjects have maps: four frames, three maps; a still
    assert page.count("data:image/png;base64,") == 2 * 2  # normals and albedo, to be relit
    assert page.count('<svg class="chart"') == 4
    assert page.count('class="raw"') == 5
    assert 'data-run="albedo-depth"' in page


def test_what_is_compared_is_chosen_on_validation(whole):
    _, output, comparison = report()
    chosen = comparison["chosen"]
    assert (chosen["fusion"], chosen["best_single"]) == ("normal-albedo", "normal")  # not albedo-depth, best on test
    assert chosen["best_single_on_test"] == "albedo"
    found = comparison["differences"]
    assert set(found) == {"best_single", "best_single_on_test", "frame"}
    assert found["frame"]["auc"]["value"] > found["best_single"]["auc"]["value"] > 0
    assert found["frame"]["auc"]["low"] > 0
    assert found["frame"]["verdict"] == "above"
    assert found["frame"]["auc"]["above"] == 1
    assert found["frame"]["subjects"] == 24
    for each in found.values():
        assert f"{each['first']} - {each['second']}" in output
    assert "AUC +0." in output


def test_a_photograph_under_another_name_is_no_single_modality(whole):
    """A run of `frame` that was not called so stood as the best modality, and hid what maps are worth."""
    fake_run("portrait", "normal", 0.5, 0.99)
    path = Path("runs/portrait/evaluate/metrics.json")
    metrics = json.loads(path.read_text())
    metrics["run"]["modalities"] = "frame"
    write_json(path, metrics)
    chosen = report()[2]["chosen"]
    assert (chosen["best_single"], chosen["best_single_on_test"]) == ("normal", "albedo")


def test_a_fusion_that_loses_is_said_to_lose(whole):
    fake_run("normal-albedo", "normal", 6.0, 0.99)
    _, output, comparison = report()
    assert comparison["differences"]["best_single"]["verdict"] == "below"
    assert ": below" in output


def test_sessions_that_one_run_lacks_are_left_out_of_its_comparison(whole):
    path = Path("runs/normal/evaluate/embeddings.npz")
    with np.load(path) as saved:
        kept = {name: values[8:] for name, values in saved.items()}
    np.savez(path, **kept)
    _, _, comparison = report()
    assert comparison["differences"]["best_single"]["sessions"] == 86
    assert comparison["differences"]["frame"]["sessions"] == 94


def test_a_rate_that_one_comparison_lacks_leaves_its_cell_empty(whole):
    """Regression: the cell was left out, and the verdict stood in the column of the TAR."""
    path = Path("runs/normal/evaluate/embeddings.npz")
    with np.load(path) as saved:
        kept = {name: values[40:] for name, values in saved.items()}
    np.savez(path, **kept)
    page, _, comparison = report()
    assert "tar@far=1e-2" not in comparison["differences"]["best_single"]
    assert "tar@far=1e-2" in comparison["differences"]["frame"]
    table = page[page.index(">difference</button>") : page.index('id="runs"')]
    assert [row.count("<td") for row in table.split("<tr>")[1:]] == [6, 6, 6]


def test_a_gated_fusion_shows_whom_it_trusts(whole):
    """Means and counts by hand; the face with the highest weight of a modality stands first."""
    page, _, _ = report()
    assert 'id="trust"' not in page
    path = Path("runs/normal-albedo/evaluate/embeddings.npz")
    with np.load(path) as saved:
        content = dict(saved)
    count = len(content["session"])
    gate = np.tile([0.25, 0.75], (count, 1)).astype(np.float32)
    gate[5] = 0.875, 0.125
    np.savez(path, **content, gate=gate)
    page, _, _ = report()
    trust = page[page.index('id="trust"') : page.index('id="samples"')]
    shown = [re.findall(r'<td data-value="([^"]*)"', row) for row in trust.split("<tr>")]
    mean = (0.25 * (count - 1) + 0.875) / count
    assert ["normal-albedo: normal", f"{mean:.3f}", "0.250", "0.250", "0.250", "0.250", "0.875", "1"] in shown
    assert [row[0] for row in shown if row[-1:] == [str(count - 1)]] == ["normal-albedo: albedo"]
    faces = [row for row in shown if len(row) == 4]
    assert faces[0] == [content["session"][5], "normal", "0.875", "0.125"]
    assert [row[1] for row in faces] == ["normal"] * 5 + ["albedo"] * 5
    np.savez(path, **content, gate=gate[:, :1])
    with pytest.raises(SystemExit) as end:
        main(["report"])
    assert end.value.code == 2


def test_the_same_runs_give_the_same_page(whole):
    assert report() == report()


def test_a_workspace_with_next_to_nothing(fabricate):
    """One run from elsewhere, no labels, one rig, no maps, no rejects, no fusion, no dvc.yaml."""
    fabricate(labelled=False, rigs=("",))
    Path("runs/normal/train").rename("elsewhere")
    arguments = ["normal", "--weights", "elsewhere"]
    assert CliRunner().invoke(evaluate, arguments, catch_exceptions=False).exit_code == 0
    page, output, comparison = report()
    assert comparison == {"absent": "no fusion with a validation.json has been evaluated here"}
    assert "no comparison" in output
    assert "no session has the label" in page
    assert "across rigs" not in page


def section(page: str, name: str) -> str:
    """From a heading to the next."""
    return page[page.index(f'<h2 id="{name}"') :].removeprefix("<h2").split("<h2")[0]


def test_what_has_no_labels_has_no_rows(whole):
    """Regression: a data set without labels had a table of zeros, and columns of dashes."""
    path = Path("data/balance/before_after.csv")
    table = pd.read_csv(path)
    absent = [
        {**dict.fromkeys(table.columns, 0), "attribute": name, "class": label, "before_share": None}
        for name, label in (("facial_hair", "none"), ("facial_hair", "some"))
    ]
    write_csv(path, pd.concat([table, pd.DataFrame(absent)]))
    for run in Path("runs").glob("*/evaluate/metrics.json"):
        metrics = json.loads(run.read_text())
        metrics["attributes"]["pose"] = {"absent": "no session has the label"}
        write_json(run, metrics)
    page, _, _ = report()
    assert "<td>gender</td>" in section(page, "balance")
    assert "<td>facial hair</td>" not in section(page, "balance")
    assert "Without a row, since no session has the label: facial hair." in section(page, "balance")
    assert ">gender: AUROC<" in section(page, "attributes")
    assert ">pose: AUROC<" not in section(page, "attributes")
    assert "pose: not scored, no session has the label." in section(page, "attributes")
    write_csv(path, pd.DataFrame(absent))
    said = section(report()[0], "balance")
    assert "No session has a label of any attribute: there was nothing to balance." in said
    assert "<table" not in said


def test_training_in_another_workspace(whole):
    Path("../elsewhere").mkdir()
    for run in ("normal", "normal-albedo"):
        Path("runs", run, "train").rename(Path("../elsewhere") / run)
    _, _, comparison = report()
    assert comparison["chosen"]["fusion"] == "albedo-depth"
    for run in ("normal", "normal-albedo"):
        (Path("../trained") / run).mkdir(parents=True)
        (Path("../elsewhere") / run).rename(Path("../trained") / run / "train")
    _, _, comparison = report("--trained", "../trained")
    assert comparison["chosen"]["validation_auc"] == {"normal": 0.8, "normal-albedo": 0.9}


def test_mistakes_are_one_line(fabricate, capsys):
    fabricate()
    for prepare, words in (
        (lambda: None, "no run has been evaluated"),
        (lambda: write_json("runs/normal/evaluate/metrics.json", {}), "runs/normal/evaluate/metrics.json is not whole"),
        (lambda: Path("runs/normal/evaluate/metrics.json").write_text("{"), "is not JSON"),
        (
            lambda: Path("runs/normal/evaluate/metrics.json").rename("runs/normal/evaluate/roc.csv"),
            "runs/normal/evaluate has no metrics.json: run `psface evaluate normal` again",
        ),
    ):
        prepare()
        with pytest.raises(SystemExit) as done:
            main(["report"])
        assert done.value.code in (1, 2)
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


def test_the_samples_are_as_unlike_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: drawn at random they all had one rig and no spectacles, and showed little of a data set."""
    from pipeline.sessions import Session
    from stages.report import samples

    lights = np.eye(3)
    common = [Session(f"{i}/a", str(i), "a", "one", ("f",), lights, np.ones(3), spectacles=0) for i in range(40)]
    rare = Session("90/a", "90", "a", "two", ("f",), lights, np.ones(3), spectacles=1)
    for session in (*common, rare):
        path = tmp_path / f"{session.id}.exr"
        path.parent.mkdir()
        path.touch()
    monkeypatch.setattr(samples, "_sample", lambda session, folder: session.id)
    assert "90/a" in samples.draw_samples([*common, rare], tmp_path, examples=2, seed=7)


def test_what_lies_behind_the_rates_is_shown_closed(whole):
    """Further rates, invariance, quality, differentials and faces; a run of an older version has none of them."""
    for folder in Path("runs").glob("*/evaluate"):
        picture = Path("runs/normal/evaluate/retrieval.png").read_bytes()
        (folder / "retrieval.png").write_bytes(picture)
    path = Path("runs/normal/evaluate/metrics.json")
    metrics = json.loads(path.read_text())
    metrics["quality"]["start"] = {"value": 0.25, "low": 0.125, "high": None}  # of more than any rate, as ratios are
    write_json(path, metrics)
    for path in Path("runs").glob("*/evaluate/metrics.json"):
        metrics = json.loads(path.read_text())
        splits = metrics["invariance"]["split"]
        splits["age"] = {"over_30": next(group for group in next(iter(splits.values())).values() if "counts" in group)}
        write_json(path, metrics)
    page, *_ = report()
    assert "age: over 30" in page
    assert "0.250<small>0.125 – ∞</small>" in page
    for name in ("more", "invariance", "quality", "retrieval"):
        part = page[page.index(f'<h2 id="{name}">') :]
        assert "<details><summary>" in part[: part.index("<h2", 5)]
    assert 'src="data:image/jpeg;base64,' in page[page.index('<h2 id="retrieval">') :]
    for path in Path("runs").glob("*/evaluate/metrics.json"):
        metrics = json.loads(path.read_text())
        for key in ("macro", "invariance", "quality", "differentials"):
            del metrics[key]
        write_json(path, metrics)
        (path.parent / "retrieval.png").unlink()
    page, *_ = report()
    assert '<h2 id="quality">' not in page
    assert '<h2 id="retrieval">' not in page
