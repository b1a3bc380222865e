"""Subjects dealt into train, validation and test: disjoint, stratified, the same for the same seed.

Subjects are sorted by what they mostly are (gender, whether they came more than once, spectacles, facial hair,
expression) and dealt in that order, each to the split that lags furthest behind its share. Any run of like subjects is
so shared out to within one subject a split (systematic sampling: W. G. Cochran, Sampling Techniques, chapter 8).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.attributes import AGE, ATTRIBUTES, MISSING
from pipeline.errors import UserError

SPLITS = ("train", "test", "validation")  # who takes a subject when two lag equally
STRATA = ("gender", "several", "spectacles", "facial_hair", "expression")
ENOUGH = 6  # subjects, from which on every split gets two: one subject alone has no impostor


def split_subjects(table: pd.DataFrame, shares: Mapping[str, float], *, seed: int) -> dict[str, str]:
    """The split of every subject.

    Parameters
    ----------
    table : DataFrame
        A row a session: ``subject`` and the codes of the attributes.
    shares : mapping
        Share of the subjects by split, of ``train``, ``validation`` and ``test``; they add up to 1. A split whose share
        is 0 gets none; any other gets at least one subject, and two where there are `ENOUGH`.
    seed : int
        Decides among like subjects.

    Raises
    ------
    UserError
        There are fewer subjects than splits.
    """
    wanted = [name for name in SPLITS if shares[name] > 0]
    order = stratified_order(table, seed=seed)
    if len(order) < len(wanted):
        raise UserError(
            f"{len(order)} subjects with a face are too few for {', '.join(wanted)}; add subjects or set a share to 0"
        )
    counts = dict.fromkeys(wanted, 0)
    split = {}
    for dealt, subject in enumerate(order, start=1):
        lag = {name: round(shares[name] * dealt - counts[name], 9) for name in wanted}
        split[subject] = max(wanted, key=lag.__getitem__)
        counts[split[subject]] += 1
    least = 2 if len(order) >= ENOUGH else 1
    for name in wanted:
        while counts[name] < least:
            largest = max(wanted, key=counts.__getitem__)
            moved = next(s for s in reversed(order) if split[s] == largest)
            split[moved] = name
            counts[largest], counts[name] = counts[largest] - 1, counts[name] + 1
    return split


def stratified_order(table: pd.DataFrame, *, seed: int) -> list[str]:
    """Subjects, like beside like; among like ones by a hash of the seed and their name."""
    keys = []
    for subject, rows in table.groupby("subject"):
        mostly = {name: _majority(a.to_binary(rows[name].to_numpy())) for name, a in ATTRIBUTES.items()}
        mostly["several"] = int(len(rows) > 1)
        keys.append((*(mostly[name] for name in STRATA), draw(seed, str(subject)), str(subject)))
    return [str(key[-1]) for key in sorted(keys)]


def roles(table: pd.DataFrame, *, seed: int) -> list[str]:
    """``gallery`` for one session a subject, ``probe`` for the others: the one of the lowest hash is the gallery's."""
    ids: Sequence[str] = table["session"].tolist()
    chosen = {min(group, key=lambda s: draw(seed, s)) for group in table.groupby("subject")["session"].agg(list)}
    return ["gallery" if session in chosen else "probe" for session in ids]


def within_span(table: pd.DataFrame, years: float, *, seed: int) -> pd.DataFrame:
    """The sessions of a table with splits, of each training subject those of a span of years alone.

    Real people are mostly photographed over few years, and whoever trains on them never sees one person young and old.
    The span begins with one of the subject's sessions, drawn among those from which on it ends no later than the
    sessions do; of who was never that old it is the whole. Sessions without an age stay.

    Parameters
    ----------
    table : DataFrame
        A row a session: ``session``, ``subject``, ``split``, and ``age`` in years, -1 where missing.
    """
    kept = np.ones(len(table), dtype=bool)
    ages = table[AGE].to_numpy(float)
    aged = table[(table["split"] == "train") & (ages != MISSING)]
    for subject, rows in aged.groupby("subject"):
        own = rows[AGE].sort_values().to_numpy(float)
        starts = own[own + years <= own[-1]]
        if len(starts):
            start = starts[draw(seed, str(subject)) % len(starts)]
            kept[rows.index] = (rows[AGE] >= start) & (rows[AGE] <= start + years)
    return table[kept].reset_index(drop=True)


def draw(seed: int, name: str) -> int:
    """A number drawn for a name: it depends on nothing else, so that a new subject changes no other's luck."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def _majority(codes: np.ndarray) -> int:
    known = codes[codes >= 0]
    return -1 if not len(known) else int(known.mean() >= 0.5)
