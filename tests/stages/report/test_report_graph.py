"""The stage graph and the charts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from stages.ingest.init_files import Choices, render
from stages.report.charts import HEIGHT, WIDTH, Line, line_chart
from stages.report.graph import Stage, draw_graph, edges, read_stages

ITEMS = {"train": 5, "fuse": 4, "evaluate": 9}


def stage(name: str, deps: list[str], outs: list[str]) -> Stage:
    return Stage(name, 1, tuple(outs), tuple(deps))


def test_edges_follow_paths_and_leave_out_what_is_implied():
    stages = [
        stage("ingest", ["data/raw"], ["data/sessions.parquet"]),
        stage("crop", ["data/sessions.parquet"], ["data/faces"]),
        stage("train", ["data/faces/index.parquet", "data/sessions.parquet"], ["runs/*/train"]),
        stage("fuse", ["runs/*/train"], ["runs/*/train"]),
        stage("evaluate", ["runs/*/train", "data/faces"], ["runs/*/evaluate/roc.csv"]),
        stage("report", ["runs/normal/evaluate/roc.csv"], ["runs/report"]),
    ]
    assert edges(stages) == [
        ("ingest", "crop"),
        ("crop", "train"),
        ("train", "fuse"),
        ("fuse", "evaluate"),
        ("evaluate", "report"),
    ]


def test_two_ways_that_meet_are_both_drawn():
    stages = [stage("a", [], ["a"]), stage("b", ["a"], ["b"]), stage("c", ["a"], ["c"]), stage("d", ["b", "c"], [])]
    assert edges(stages) == [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    assert ElementTree.fromstring(draw_graph(stages)).tag == "svg"


def test_the_repository_s_own_pipeline(repository: Path):
    stages = read_stages(repository / "dvc.yaml")
    items = {s.name: s.items for s in stages}
    assert items["simulate"] == 1
    assert items["train"] == 5
    assert items["fuse"] >= 4
    drawing = draw_graph(stages)
    ElementTree.fromstring(drawing)
    assert f"train × {items['train']}" in drawing


@pytest.mark.parametrize("trained", ["", "../../it's here/runs"])
def test_the_pipeline_of_a_workspace(tmp_path: Path, trained: str):
    """Regression: `psface code`, on whose file every stage depends as on parameters, stood apart from all others."""
    chosen = Choices(name="ws", source="folder", sessions=16, subjects=8, flashes="4", attributes=(), trained=trained)
    for name, text in render(chosen).items():
        (tmp_path / name).write_text(text)
    stages = read_stages(tmp_path / "dvc.yaml")
    middle = [] if trained else ["train", "fuse"]
    way = ["code", "ingest", "reconstruct", "crop", "balance", *middle, "evaluate", "report"]
    assert edges(stages) == list(pairwise(way))
    assert {s.name: s.items for s in stages} == {name: ITEMS.get(name, 1) for name in way}


def test_a_name_cannot_break_the_drawing():
    drawing = draw_graph([stage("a<b>&", [], ['x"y'])])
    assert "a&lt;b&gt;&amp;" in drawing
    ElementTree.fromstring(drawing)


@pytest.mark.parametrize("log_x", [False, True])
def test_lines_stay_inside_the_chart(log_x: bool):
    rng = np.random.default_rng(0)
    lines = [
        Line("one", [0, 1e-4, 0.1, 1], [0, 0.2, 0.4, 1], 0),
        Line("two", rng.random(9), rng.random(9), 1, thin=True),
    ]
    drawing = ElementTree.fromstring(line_chart(lines, x="x", y="y", log_x=log_x))
    found = drawing.findall("polyline")
    assert [each.get("data-run") for each in found] == ["one", "two"]
    assert found[1].get("class") == "line c1 thin"
    for each in found:
        points = np.array([point.split(",") for point in each.get("points", "").split()], dtype=float)
        assert len(points) == (3 if log_x and each is found[0] else len(points))
        assert points.min() >= 0
        assert (points <= [WIDTH, HEIGHT]).all()


def test_missing_values_and_constant_lines_are_drawn_all_the_same():
    ElementTree.fromstring(line_chart([Line("flat", [1, 2, 3], [0.5, np.nan, 0.5], 0)], x="x", y="y"))
    ElementTree.fromstring(line_chart([], x="x", y="y"))
