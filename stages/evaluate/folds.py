"""Pairs in folds, as in LFW: the threshold is found on all folds but one, and tried on that one.

A file of pairs has LFW's shape: a first line with the number of folds and of genuine pairs in each, then for each fold
its genuine pairs, ``subject session session``, and as many impostor pairs, ``subject session subject session``. A list
without that first line, as MFR2's of masked and bare photographs, may hold as many of either as it likes, each with a
label behind it (1 genuine, 0 impostor) or none; its pairs are dealt to ten folds in turn, which then share subjects. A
session is named as its folder is, or by its number among the subject's sessions in order, from 1. Fields are separated
by tabs, or by spaces. Without a file, pairs are drawn: the subjects are dealt to ten folds, each fold's genuine pairs
are its subjects', and as many impostor pairs are drawn among them, so that no subject is in two folds.

Two more shapes, of protocols for faces of different ages, name sessions by their photographs, with or without suffix:
``image image 1`` or ``.. 0`` a line (genuine or not); and CALFW's, two lines a pair, ``image 3`` with the fold of a
genuine pair and 0 for an impostor one. Pairs that have no fold are dealt to ten in their order, genuine and impostor
ones apart; nothing is said of subjects in two folds, for such protocols do not keep them apart.

References: G. B. Huang et al., "Labeled Faces in the Wild", UMass Amherst TR 07-49, 2007 (View 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.tables import read_text

FOLDS = 10
MOST_PAIRS = 300  # genuine pairs of a drawn fold
FEWEST = 20  # subjects to draw folds from
Named = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Pairs:
    """P pairs: rows (2, P) of the sessions, whether they are genuine (P,), and the fold of each (P,)."""

    rows: np.ndarray
    same: np.ndarray
    fold: np.ndarray


def read_pairs(path: Path, sessions: np.ndarray) -> Pairs:
    """Read a file of pairs of sessions (N,) ``subject/session``.

    Raises
    ------
    UserError
        It is of none of the shapes above, names a session that is not here, one twice in a pair, or a subject in two
        folds.
    """
    lines = _lines(path)
    names = _named(sessions)
    fields = lines[0] if lines else []
    if len(fields) in (4, 5) or (len(fields) == 3 and fields[0] in names):
        return _plain_list(path, lines, names)
    if len(fields) == 3 or (len(fields) == 2 and not fields[0].isdecimal()):
        return _read_images(path, lines, sessions)
    try:
        folds, each = (int(text) for text in lines[0])
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path}: its first line is to hold two numbers, of folds and of genuine pairs in each"
        ) from error
    if folds < 2 or each < 1 or len(lines) != 1 + 2 * folds * each:
        raise UserError(f"{path}: {len(lines) - 1} pairs, not {folds} folds of {each} genuine and {each} impostor ones")
    rows, same = [], []
    for number, fields in enumerate(lines[1:], start=2):
        if len(fields) not in (3, 4):
            raise UserError(
                f"{path}, line {number}: {len(fields)} fields; a pair has 3, or 4 where it is of two subjects"
            )
        rows.append(_pair(path, number, names, fields))
        same.append(len(fields) == 3 or fields[0] == fields[2])
    fold = np.arange(len(rows)) // (2 * each)
    uneven = np.flatnonzero(np.bincount(fold, same) != each)
    if len(uneven):
        raise UserError(f"{path}: fold {uneven[0] + 1} does not have {each} genuine pairs and as many impostor ones")
    pairs = Pairs(np.array(rows).T, np.array(same), fold)
    _check_disjoint(path, pairs, sessions)
    return pairs


def _lines(path: Path) -> list[list[str]]:
    """The fields of each line that has any."""
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8, as a list of pairs is") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); give a list of pairs") from error
    return [line.split("\t") if "\t" in line else line.split() for line in text.splitlines() if line.strip()]


def _read_images(path: Path, lines: list[list[str]], sessions: np.ndarray) -> Pairs:
    """Pairs of photographs: one a line with 1 or 0, or CALFW's two lines."""
    twin = len(lines[0]) == 2
    if twin and len(lines) % 2:
        raise UserError(f"{path}: {len(lines)} lines; of two lines a pair there must be an even number")
    known: dict[str, list[int]] = {}
    for row, session in enumerate(sessions):
        known.setdefault(str(session).split("/")[1], []).append(row)
    rows, marks = [], []
    for number in range(0, len(lines), 2 if twin else 1):
        fields = [*lines[number], *lines[number + 1]] if twin else lines[number]
        if len(fields) != (4 if twin else 3) or not fields[-1].isdecimal() or (twin and fields[1] != fields[3]):
            shape = "`image fold` twice, with one fold" if twin else "`image image 1` or `image image 0`"
            raise UserError(f"{path}, line {number + 1}: expected {shape}")
        rows.append([_row_of(path, number + 1, known, name) for name in (fields[0], fields[2 if twin else 1])])
        marks.append(int(fields[-1]))
    mark, same = np.array(marks), np.array(marks) > 0
    fold = np.zeros(len(rows), int)
    for kind in (same, ~same):
        fold[kind] = np.arange(kind.sum()) * FOLDS // max(kind.sum(), 1)
    if twin and len(np.unique(mark[same])) > 1:
        fold[same] = mark[same] - 1
    if not same.any() or same.all() or len(np.unique(fold)) < 2:
        raise UserError(f"{path}: {same.sum()} genuine and {(~same).sum()} impostor pairs; folds need both of them")
    return Pairs(np.array(rows).T, same, fold)


def _row_of(path: Path, number: int, known: dict[str, list[int]], image: str) -> int:
    found = known.get(image) or known.get(image.rpartition(".")[0], [])
    if len(found) == 1:
        return found[0]
    fault = "no session is" if not found else f"{len(found)} subjects have a session"
    raise UserError(f"{path}, line {number}: {fault} named {image} among those evaluated")


def _named(sessions: np.ndarray) -> Named:
    """Rows of sessions (N,) ``subject/session`` by both names, a subject's in order."""
    names: Named = {}
    for row in np.argsort(sessions):
        subject, session = str(sessions[row]).split("/")
        names.setdefault(subject, {})[session] = int(row)
    return names


def _plain_list(path: Path, lines: list[list[str]], names: Named) -> Pairs:
    """Pairs of a list without folds, dealt to ten of them in turn, genuine and impostor ones apart."""
    rows, same = [], []
    for number, fields in enumerate(lines, start=1):
        told = fields[-1] if len(fields) == 5 or (len(fields) == 4 and fields[2] not in names) else None
        pair = fields if told is None else fields[:-1]
        if len(pair) not in (3, 4) or told not in (None, "0", "1"):
            raise UserError(f"{path}, line {number}: expected `subject session session` or `subject session subject "
                            "session`, and a label of 1 or 0 or none")  # fmt: skip
        rows.append(_pair(path, number, names, pair))
        same.append(len(pair) == 3 or pair[0] == pair[2])
        if told is not None and (told == "1") != same[-1]:
            raise UserError(f"{path}, line {number}: its label is {told}, and its names say otherwise")
    genuine = np.array(same)
    fewest = min(genuine.sum(), (~genuine).sum())
    if fewest < 2:
        raise UserError(f"{path}: {genuine.sum()} genuine and {(~genuine).sum()} impostor pairs; it takes two of each")
    fold = np.zeros(len(rows), int)
    for kind in (genuine, ~genuine):
        fold[kind] = np.arange(kind.sum()) % min(FOLDS, fewest)
    return Pairs(np.array(rows).T, genuine, fold)


def _pair(path: Path, number: int, names: Named, fields: list[str]) -> list[int]:
    """Rows of the two sessions of a line."""
    first, second = fields[:2], [fields[0], fields[2]] if len(fields) == 3 else fields[2:]
    rows = [_row(path, number, names, *each) for each in (first, second)]
    if rows[0] == rows[1]:
        raise UserError(f"{path}, line {number}: a session beside itself is no pair")
    return rows


def _row(path: Path, number: int, names: Named, subject: str, session: str) -> int:
    own = names.get(subject, {})
    if session in own:
        return own[session]
    if session.isdecimal() and 1 <= int(session) <= len(own):
        return list(own.values())[int(session) - 1]
    raise UserError(f"{path}, line {number}: no session {session} of subject {subject} is among those evaluated")


def _check_disjoint(path: Path, pairs: Pairs, sessions: np.ndarray) -> None:
    seen: dict[str, int] = {}
    for fold, row in zip(np.tile(pairs.fold, 2), pairs.rows.ravel(), strict=True):
        subject = str(sessions[row]).split("/")[0]
        if seen.setdefault(subject, int(fold)) != fold:
            raise UserError(
                f"{path}: subject {subject} is in folds {seen[subject] + 1} and {fold + 1}; folds share no subject"
            )


def draw_pairs(subjects: np.ndarray, rng: np.random.Generator) -> Pairs | str:
    """Pairs in ten folds of subjects apart, or why there are none."""
    names, codes = np.unique(subjects, return_inverse=True)
    if len(names) < FEWEST:
        return f"{len(names)} subjects; ten folds need at least {FEWEST}"
    fold_of = rng.permutation(len(names)) % FOLDS
    rows, same, folds = [], [], []
    for fold in range(FOLDS):
        members = np.flatnonzero(fold_of[codes] == fold)
        pair = members[np.stack(np.triu_indices(len(members), k=1))]
        genuine = codes[pair[0]] == codes[pair[1]]
        count = min(MOST_PAIRS, genuine.sum(), (~genuine).sum())
        if not count:
            return "a fold has no genuine or no impostor pair"
        for kind in (genuine, ~genuine):
            rows.append(pair[:, rng.choice(np.flatnonzero(kind), count, replace=False)])
            same.append(np.full(count, kind is genuine))
            folds.append(np.full(count, fold))
    return Pairs(np.concatenate(rows, axis=1), np.concatenate(same), np.concatenate(folds))


def fold_accuracy(similarity: np.ndarray, pairs: Pairs) -> dict[str, Any]:
    """Mean accuracy over the folds, its standard error, and 1.96 of them to either side as `low` and `high`.

    Pairs whose similarity is NaN are left out.
    """
    score = similarity[pairs.rows[0], pairs.rows[1]]
    known = ~np.isnan(score)
    score, pairs = score[known], Pairs(pairs.rows[:, known], pairs.same[known], pairs.fold[known])
    names = np.unique(pairs.fold)
    found = []
    for fold in names:
        out = pairs.fold == fold
        found.append(((score[out] > _best_threshold(score[~out], pairs.same[~out])) == pairs.same[out]).mean())
    mean, error = float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found)))
    spread = {"low": max(0.0, mean - 1.96 * error), "high": min(1.0, mean + 1.96 * error), "standard_error": error}
    counts = {"folds": len(names), "genuine": int(pairs.same.sum()), "impostor": int((~pairs.same).sum())}
    return {"accuracy": {"value": mean, **spread}, "counts": counts}


def _best_threshold(score: np.ndarray, same: np.ndarray) -> float:
    """The threshold of the highest accuracy, midway between two scores; the lowest of several."""
    order = np.argsort(score, kind="stable")
    ranked, genuine = score[order], same[order]
    right = np.concatenate([[genuine.sum()], genuine.sum() + np.cumsum(1 - 2 * genuine.astype(int))])  # k refused
    apart = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])  # no threshold parts a tie
    best = int(np.argmax(np.where(apart, right, -1)))
    edges = np.concatenate([[ranked[0] - 1], ranked, [ranked[-1] + 1]])
    return float((edges[best] + edges[best + 1]) / 2)
