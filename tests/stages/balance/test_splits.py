"""Splits: disjoint by subject, as large as asked for, alike, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.attributes import ATTRIBUTES
from pipeline.errors import UserError
from stages.balance.splits import roles, split_subjects


def some_table(subjects: int, seed: int, most: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(subjects):
        gender = int(rng.random() < 0.7)
        for i in range(int(rng.integers(1, most + 1))):
            codes = {name: int(rng.integers(-1, len(a.classes))) for name, a in ATTRIBUTES.items()}
            rows.append({"subject": f"{s:04d}", "session": f"{s:04d}/{i}", **codes, "gender": gender})
    return pd.DataFrame(rows)


shares_drawn = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).filter(lambda t: sum(t) > 0.05)


@given(st.integers(3, 60), shares_drawn, st.integers(0, 5))
def test_every_subject_is_in_one_split_of_the_size_asked_for(count: int, raw: tuple[float, ...], seed: int) -> None:
    raw = tuple(r if r > 0.02 else 0.0 for r in raw)
    shares = dict(zip(("train", "validation", "test"), (r / sum(raw) for r in raw), strict=True))
    table = some_table(count, seed, most=3)
    split = split_subjects(table, shares, seed=seed)
    assert set(split) == set(table["subject"])
    for name, share in shares.items():
        got = sum(s == name for s in split.values())
        least = min(2 if count >= 6 else 1, count) if share > 0 else 0
        assert got >= least
        if all(s == 0 or s * count >= 3 for s in shares.values()):
            assert abs(got - share * count) < 2
    assert split == split_subjects(table.sample(frac=1, random_state=3), shares, seed=seed)


def test_splits_are_alike() -> None:
    table = some_table(200, 4)
    shares = {"train": 0.6, "validation": 0.15, "test": 0.25}
    split = pd.Series(split_subjects(table, shares, seed=1))
    women = table.groupby("subject")["gender"].first() == 0
    for name, share in shares.items():
        assert abs((women & (split == name)).sum() - share * women.sum()) <= 1.5
    assert split_subjects(table, shares, seed=1) != split_subjects(table, shares, seed=2)


def test_a_workspace_may_be_all_test() -> None:
    table = some_table(5, 0)
    assert set(split_subjects(table, {"train": 0, "validation": 0, "test": 1}, seed=0).values()) == {"test"}


def test_too_few_subjects_are_a_mistake() -> None:
    with pytest.raises(UserError, match="2 subjects"):
        split_subjects(some_table(2, 0), {"train": 0.5, "validation": 0.2, "test": 0.3}, seed=0)


def test_one_gallery_session_a_subject() -> None:
    table = some_table(30, 2)
    role = pd.Series(roles(table, seed=3))
    assert ((role == "gallery").groupby(table["subject"]).sum() == 1).all()
    assert set(role) == {"gallery", "probe"}
    assert list(role) != roles(table, seed=4)
