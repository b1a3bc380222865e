"""What the results of recipes/mask count: pairs by what is worn, no twins, ratios of errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmarks.masks_rows import KINDS, Scored, _differences, _rates, _ratios
from benchmarks.masks_runs import chosen, params_of
from pipeline.params import Train

LISTED = {"families": {"one": {}, "two": None}, "sees": {"normal": ["normal"], "both": ["normal", "albedo"]}}
SESSIONS = np.array(
    [f"{subject}/{visit}{mask}" for subject in range(12) for visit in "abc" for mask in ("", "-masked")]
)
SUBJECTS = np.repeat([f"{i}" for i in range(12)], 6)
MASKS = pd.Series([0, 1] * 36, index=SESSIONS)


def run(noise: float, masked: float, seed: int = 1) -> Scored:
    """People apart from each other, with noise, and more of it under a mask."""
    rng = np.random.default_rng(seed)
    who = np.random.default_rng(0).normal(size=(12, 30)).repeat(6, axis=0)
    level = np.where(MASKS.to_numpy() == 1, masked, noise)[:, None]
    return Scored(SESSIONS, SUBJECTS, who + level * rng.normal(size=who.shape), MASKS)


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
    assert "masked-masked.verification.tar@far=1e-3" not in found or found["masked-masked.verification.tar@far=1e-3"]


def test_a_run_compared_with_itself_differs_by_nothing() -> None:
    same = rows(_differences(run(0.5, 2.5), run(0.5, 2.5)))
    assert {row["value"] for row in same.values()} == {0.0}
    ratio = rows(_ratios(run(0.5, 2.5), run(0.5, 2.5)))
    assert ratio["masked-masked.eer"]["value"] == pytest.approx(1.0)


def test_half_of_the_errors_is_a_ratio_below_one() -> None:
    found = rows(_ratios(run(0.5, 1.5), run(0.5, 3.0)))
    for kind in ("masked-bare", "masked-masked"):
        assert found[f"{kind}.eer"]["high"] < 1.0


def test_runs_are_named_by_family_and_what_they_see() -> None:
    assert chosen([], LISTED) == [("one", "normal"), ("one", "both"), ("two", "normal"), ("two", "both")]
    assert chosen(["two", "one.both"], LISTED) == [("one", "both"), ("two", "normal"), ("two", "both")]
    with pytest.raises(SystemExit, match="no run `three`: families are one, two, and they see normal, both"):
        chosen(["three"], LISTED)


def test_every_run_of_the_recipe_is_valid(repository) -> None:
    listed = yaml.safe_load((repository / "recipes/mask/experiments.yaml").read_text())
    for family, made_of in listed["families"].items():
        entry = params_of("x", made_of or {}, ["normal"], 7, listed)["train"]["x"]
        checked = Train(**entry)
        assert checked.sampler == "masks"
        assert dict(checked.attributes) == ({"mask": 1} if family in ("mtarcface", "decomposed") else {})
        assert checked.beside == (("mask",) if family == "mtarcface" else ())
        assert checked.attribute_loss == ("log_cross_entropy" if family == "mtarcface" else "focal")
