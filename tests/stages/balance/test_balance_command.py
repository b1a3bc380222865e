"""`psface balance` as its user meets it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.sessions import Session, read_sessions, write_sessions

PARAMS = "balance: {{seed: 7, validation: {validation}, test: {test}, method: {method}, minimum_share: 0.3}}\n"


def make(subjects: int = 24, labelled: bool = True, faces: float = 1.0) -> None:
    """A workspace after crop: sessions with drawn labels, of which a share has a face."""
    rng = np.random.default_rng(5)
    sessions = []
    for s in range(subjects):
        gender = int(rng.random() < 0.8)
        for i in range(5):
            labels = {"gender": gender, "spectacles": int(rng.integers(2)), "facial_hair": int(rng.integers(5)),
                      "expression": int(rng.integers(4)), "pose": int(rng.integers(3))} if labelled else {}  # fmt: skip
            sessions.append(
                Session(f"{s:02d}/{i}", f"{s:02d}", str(i), "rig", ("a", "b", "c"), np.eye(3), np.ones(3), **labels)
            )
    write_sessions("data/sessions.parquet", sessions)
    rows = np.where(rng.random(len(sessions)) < faces, np.arange(len(sessions)), -1)
    Path("data/faces").mkdir()
    pd.DataFrame({"session": [s.id for s in sessions], "row": rows}).to_parquet("data/faces/index.parquet")


def run(validation: float = 0.2, test: float = 0.3, method: str = "milp") -> pd.DataFrame:
    Path("params.yaml").write_text(PARAMS.format(validation=validation, test=test, method=method))
    main(["balance"])
    return pd.read_parquet("data/splits.parquet")


def test_splits_tables_and_figure(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(faces=0.9)
    splits = run()
    index = pd.read_parquet("data/faces/index.parquet")
    assert list(splits.columns) == ["session", "subject", "split", "keep", "weight", "role"]
    assert set(splits["session"]) == set(index.loc[index["row"] >= 0, "session"])
    assert (splits.groupby("subject")["split"].nunique() == 1).all()
    train = splits["split"] == "train"
    assert splits.loc[~train, "keep"].all()
    assert set(splits.loc[train, "role"]) == {""}
    assert set(splits.loc[~train, "role"]) == {"gallery", "probe"}
    assert (splits.loc[train & splits["keep"], "subject"].value_counts() >= 2).all()
    assert (splits["weight"] == splits["keep"]).all()
    classes = pd.read_csv("data/balance/before_after.csv").set_index(["attribute", "class"])
    assert classes.loc["gender", "after"].sum() == (train & splits["keep"]).sum()
    for name in ("gender", "spectacles", "facial_hair", "expression"):
        assert classes.loc[name, "after_share"].min() >= 0.3 - 1e-9
    costs = pd.read_csv("data/balance/cost.csv")
    assert list(costs["minimum_share"]) == [0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5]
    assert costs["sessions"].is_monotonic_decreasing
    assert costs.loc[4, "sessions"] == (train & splits["keep"]).sum()
    assert Path("data/balance/before_after.png").read_bytes()[:4] == b"\x89PNG"
    out = capsys.readouterr().out
    assert "minimum_share" in out
    assert "training sessions kept by milp" in out


def test_the_same_params_give_the_same_bytes(workspace: Path) -> None:
    make()
    files = (
        "data/splits.parquet",
        "data/balance/before_after.csv",
        "data/balance/before_after.png",
        "data/balance/cost.csv",
    )
    run()
    first = [Path(f).read_bytes() for f in files]
    run()
    assert first == [Path(f).read_bytes() for f in files]


def test_weights_keep_all_and_none_leaves_all(workspace: Path) -> None:
    make()
    weighted = run(method="weights")
    assert weighted["keep"].all()
    assert weighted.loc[weighted["split"] == "train", "weight"].std() > 0
    plain = run(method="none")
    assert plain["keep"].all()
    assert (plain["weight"] == 1).all()


def test_a_workspace_without_training_or_labels(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(labelled=False)
    splits = run(validation=0, test=1)
    assert set(splits["split"]) == {"test"}
    assert (splits["role"] == "gallery").sum() == splits["subject"].nunique() == 24
    assert pd.read_csv("data/balance/cost.csv").empty
    assert "24 test" in capsys.readouterr().out


def test_no_face_at_all_is_said_in_one_line(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(faces=0)
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 2
    assert "no session of data/sessions.parquet has a face" in capsys.readouterr().err


def test_unseen_masks_are_for_test_alone(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make()
    designs = ("", "surgical/plain", "cloth/dots", "cloth/plain", "gas/plain")
    worn = {s.id: designs[i % 5] for i, s in enumerate(read_sessions())}
    unknown = {s.id for s in read_sessions()[::10]}  # bare by name, and masked by their label: of no known design
    masked = {name: int(design != "" or name in unknown) for name, design in worn.items()}
    write_sessions(
        "data/sessions.parquet",
        [replace(s, mask=masked[s.id], mask_design=worn[s.id]) for s in read_sessions()],
    )
    text = PARAMS.format(validation=0.2, test=0.3, method="none")
    Path("params.yaml").write_text(text.replace("}", ", unseen_masks: [gas, cloth/dots]}"))
    main(["balance"])
    splits = pd.read_parquet("data/splits.parquet")
    assert not unknown & set(splits["session"])
    by_split = {name: {worn[s] for s in rows["session"]} for name, rows in splits.groupby("split")}
    assert by_split["test"] == {"", "cloth/dots", "gas/plain"}
    assert by_split["train"] == by_split["validation"] == {"", "surgical/plain", "cloth/plain"}
    test = splits[splits["split"] == "test"]
    assert (test[test["role"] == "gallery"].groupby("subject").size() == 1).all()
    assert set(test.loc[test["role"] == "gallery", "subject"]) == set(test["subject"])
    assert "mask" in set(pd.read_csv("data/balance/before_after.csv")["attribute"])
    Path("params.yaml").write_text(text.replace("}", ", unseen_masks: [n95]}"))
    with pytest.raises(SystemExit) as ended:
        main(["balance"])
    assert ended.value.code == 2
    assert "no test session wears one of balance.unseen_masks (n95)" in capsys.readouterr().err


def test_of_a_training_subject_the_sessions_of_a_span_of_years_are_taken(workspace: Path) -> None:
    make()
    ages = {s.id: -1 if s.session == "4" else 10 + 12 * int(s.session) for s in read_sessions()}  # 10, 22, 34, 46; none
    write_sessions("data/sessions.parquet", [replace(s, age=ages[s.id]) for s in read_sessions()])
    text = PARAMS.format(validation=0.2, test=0.3, method="none")
    Path("params.yaml").write_text(text.replace("}", ", age_span: 24}"))
    main(["balance"])
    splits = pd.read_parquet("data/splits.parquet")
    seen = {subject: {ages[s] for s in rows["session"]} for subject, rows in splits.groupby("subject")}
    train = set(splits.loc[splits["split"] == "train", "subject"])
    assert {frozenset(seen[s]) for s in train} == {frozenset({-1, 10, 22, 34}), frozenset({-1, 46, 22, 34})}
    assert all(len(seen[s]) == 5 for s in seen if s not in train)
    assert splits["keep"].all()
    Path("params.yaml").write_text(text.replace("}", ", age_span: 36}"))  # as long as they were seen
    main(["balance"])
    assert len(pd.read_parquet("data/splits.parquet")) == len(ages)


def test_nothing_is_said_of_masks_where_no_label_is(workspace: Path) -> None:
    make()
    run()
    assert "mask" not in set(pd.read_csv("data/balance/before_after.csv")["attribute"])
