"""What the results of recipes/mask count: pairs by what is worn, no twins, ratios of errors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.masks_rows import KINDS, Scored, _differences, _rates, _ratios
from benchmarks.masks_runs import MASKS, Masks
from benchmarks.masks_tables import PAGE, TABLES
from benchmarks.recognition_tables import Results, filled
from benchmarks.runs import DEVICE
from pipeline.params import Fuse, Train

SESSIONS = np.array(
    [f"{subject}/{visit}{mask}" for subject in range(12) for visit in "abc" for mask in ("", "-masked")]
)
SUBJECTS = np.repeat([f"{i}" for i in range(12)], 6)
WORN = pd.Series([0, 1] * 36, index=SESSIONS)


def run(noise: float, masked: float, seed: int = 1) -> Scored:
    """People apart from each other, with noise, and more of it under a mask."""
    rng = np.random.default_rng(seed)
    who = np.random.default_rng(0).normal(size=(12, 30)).repeat(6, axis=0)
    level = np.where(WORN.to_numpy() == 1, masked, noise)[:, None]
    return Scored(SESSIONS, SUBJECTS, who + level * rng.normal(size=who.shape), WORN)


def rows(found) -> dict[str, dict]:
    return {row["metric"]: row for row in found}


def test_pairs_are_counted_by_what_both_wear_and_never_a_visit_with_itself() -> None:
    found = rows(_rates(run(0.5, 1.5)))
    counts = {kind: (found[f"{kind}.genuine"]["value"], found[f"{kind}.impostor"]["value"]) for kind in KINDS}
    assert counts == {
        "bare-bare": (12 * 3, 66 * 9), "masked-bare": (12 * 6, 66 * 18), "masked-masked": (12 * 3, 66 * 9),
    }  # fmt: skip  # of nine masked and bare pairs of a subject three are twins
    assert found["bare-bare.verification.eer"]["value"] < found["masked-bare.verification.eer"]["value"]
    assert found["masked-bare.verification.eer"]["n"] == 72
    assert found["masked-bare.rank1"]["n"] == pytest.approx(12 * 2)  # three masked probes, drawn two times of three
    assert "masked-bare.verification.tar@far=1e-2" not in found  # 1,188 impostor pairs: fewer than 30 beyond it


def test_a_run_compared_with_itself_differs_by_nothing() -> None:
    same = rows(_differences(run(0.5, 2.5), run(0.5, 2.5)))
    assert {row["value"] for row in same.values()} == {0.0}
    ratio = rows(_ratios(run(0.5, 2.5), run(0.5, 2.5)))
    assert ratio["masked-masked.eer"]["value"] == pytest.approx(1.0)


def test_half_of_the_errors_is_a_ratio_below_one() -> None:
    found = rows(_ratios(run(0.5, 1.5), run(0.5, 3.0)))
    for kind in ("masked-bare", "masked-masked"):
        assert found[f"{kind}.eer"]["high"] < 1.0


def test_every_run_of_the_recipe_is_valid_and_fused_of_its_own_family() -> None:
    listed = MASKS.listed()
    assert len(listed["runs"]) == 17
    once = {name for name, run in listed["runs"].items() if run.get("seeds") == [7]}
    assert once == {name for name in listed["runs"] if name.endswith(("frame", "known-types"))}
    for name, made_of in listed["runs"].items():
        params = MASKS.params_of(name, made_of, 7)
        if "fuse" in made_of:
            assert made_of["fuse"] == [f"{made_of['family']}-{what}" for what in made_of["modalities"]]
            assert Fuse(**params["fuse"][f"{name}-7"]).modalities == tuple(made_of["modalities"])
            continue
        checked = Train(**params["train"][f"{name}-7"])
        assert (checked.sampler, checked.seed, list(checked.modalities)) == ("masks", 7, made_of["modalities"])
        knows = made_of["entry"] in ("mtarcface", "decomposed")
        assert dict(checked.attributes) == ({"mask": 1} if knows else {})
        assert checked.beside == (("mask",) if made_of["entry"] == "mtarcface" else ())
        assert checked.attribute_loss == ("log_cross_entropy" if made_of["entry"] == "mtarcface" else "focal")


def test_the_readme_names_runs_that_there_are() -> None:
    text = (MASKS.folder / "README.md").read_text()
    (named,) = re.findall(r"masks_runs\.py (.+) --seeds", text)
    assert set(named.split()) <= set(MASKS.listed()["runs"])
    assert f"`{MASKS.place(7, 'RUN')}`".replace(f"{DEVICE}/7", "DEVICE/SEED") in text


def test_twins_without_masks_neither_train_nor_validate_on_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    split = np.repeat(["train", "validation", "test"], 24)
    pd.DataFrame({"session": SESSIONS, "split": split, "keep": True}).to_parquet(tmp_path / "data/splits.parquet")
    pd.DataFrame({"id": SESSIONS, "mask": WORN.to_numpy()}).to_parquet(tmp_path / "data/sessions.parquet")
    here = Masks(tmp_path, tmp_path / "masks.csv", "make mask-data")
    runs = [Path("runs/cpu/7", name, "params.yaml") for name in ("arcface-bare-normal", "arcface-bare-albedo")]
    assert here.splits_of(runs[0], {}) == Path("data/splits.parquet")
    first, other = (here.splits_of(params, {"bare": True}) for params in runs)
    assert first != other  # made at once by two threads, of which one took the other's file away
    kept = pd.read_parquet(tmp_path / first)
    assert kept.loc[kept["keep"], "split"].value_counts().to_dict() == {"test": 24, "train": 12, "validation": 12}
    assert WORN.loc[kept.loc[kept["keep"], "session"]].sum() == 12  # all of test


@pytest.mark.parametrize("name", ["mtarcface-known-types", "arcface-bare-normal"])
def test_a_run_with_unseen_masks_of_its_own_is_scored_on_them(name: str, tmp_path: Path, monkeypatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(Masks, "psface", lambda _, *arguments: asked.append([str(each) for each in arguments]))
    monkeypatch.setattr(Masks, "splits_of", lambda *_: Path("data/its-own.parquet"))
    Masks(tmp_path, tmp_path / "masks.csv", "make mask-data").fit_and_score(
        name, MASKS.listed()["runs"][name], 7, Path("r")
    )
    train, scored = asked
    assert "data/its-own.parquet" in train
    assert ("data/its-own.parquet" in scored) == (name == "mtarcface-known-types")


def test_the_page_has_a_place_for_every_table() -> None:
    page = PAGE.read_text()
    table = pd.DataFrame([{"run": "mtarcface-normal", "seed": 7, "device": "cpu", "metric": "bare-bare.rank1",
                           "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}])  # fmt: skip
    made = filled(page, Results(table), TABLES)
    assert "| `normal` | `mtarcface` |  | .500 [.400, .600] |" in made
    with pytest.raises(ValueError, match="0 places for the table yale"):
        filled(page.replace("<!-- yale -->", ""), Results(table), TABLES)
