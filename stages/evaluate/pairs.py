"""Lists of pairs to verify, in the shapes that protocols are published in.

    LFW          `subject session session` or `subject session subject session`; before it,
                 a line of two numbers: folds, and genuine pairs in each
    MFR2         the same without a first line, with a label behind each (1 genuine, 0 impostor) or none
    photographs  `image image 1` or `image image 0`
    CALFW        two lines a pair, `image 3` each: the fold of a genuine pair, 0 for an impostor one

LFW's list has in each fold its genuine pairs, then as many impostor ones, and no subject in two folds. The others may
hold as many of either as they like; pairs without a fold are dealt to ten (or as many as there are pairs of either
kind) in their order, genuine and impostor ones apart, and nothing is said of subjects in two folds, for such
protocols do not keep them apart.

A session is named as its folder is, or by its number: of photographs ``subject_0001`` that in their names, else that
among the subject's sessions in order, from 1. A photograph is named as its session, with or without suffix.
Fields are separated by tabs, or by spaces.

References: G. B. Huang et al., "Labeled Faces in the Wild", UMass Amherst TR 07-49, 2007 (View 2). T. Zheng et al.,
"Cross-Age LFW", 2017, arXiv:1708.08197.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import UserError
from pipeline.tables import read_text

FOLDS = 10
NUMBER = 9  # digits at most: a number that is longer means nothing here
Fields = list[str]


@dataclass(frozen=True)
class Pairs:
    """P pairs: rows (2, P) of the sessions, whether they are genuine (P,), and the fold of each (P,)."""

    rows: np.ndarray
    same: np.ndarray
    fold: np.ndarray


class Pair(NamedTuple):
    """A pair as a list has it: its line, the rows of its sessions, whether it is called genuine, its fold from 0."""

    line: int
    first: int
    second: int
    genuine: bool | None = None
    fold: int = -1


class Sessions:
    """Where the sessions (N,) ``subject/session`` are that a list names, by whichever name."""

    def __init__(self, path: Path, sessions: np.ndarray) -> None:
        self.path = path
        self.subject = [str(session).split("/")[0] for session in sessions]
        self.by_subject: dict[str, dict[str, int]] = {}
        self.by_photograph: dict[str, list[int]] = {}
        for row in np.argsort(sessions):
            subject, session = str(sessions[row]).split("/")
            self.by_subject.setdefault(subject, {})[session] = int(row)
            self.by_photograph.setdefault(session, []).append(int(row))

    def fault(self, line: int, what: str) -> UserError:
        """What is wrong with a line."""
        return UserError(f"{self.path}, line {line}: {what}")

    def of(self, line: int, subject: str, session: str) -> int:
        """The row of a session of a subject, by its name or its number."""
        own = self.by_subject.get(subject, {})
        if session in own:
            return own[session]
        numbered = _numbered(subject, own) if _is_number(session) else {}
        if numbered and int(session) in numbered:
            return numbered[int(session)]
        raise self.fault(line, f"no session {session} of subject {subject} is among those evaluated")

    def of_photograph(self, line: int, image: str) -> int:
        """The row of the session that is named as a photograph."""
        found = self.by_photograph.get(image) or self.by_photograph.get(image.rpartition(".")[0], [])
        if len(found) == 1:
            return found[0]
        fault = "no session is" if not found else f"{len(found)} subjects have a session"
        raise self.fault(line, f"{fault} named {image} among those evaluated")


def read_pairs(path: Path, sessions: np.ndarray) -> Pairs:
    """Read a file of pairs of sessions (N,) ``subject/session``.

    Raises
    ------
    UserError
        It is of none of the shapes above, names a session that is not here, one twice in a pair, calls a pair of two
        subjects genuine, or has a subject in two folds where it keeps them apart.
    """
    lines, known = _lines(path), Sessions(path, sessions)
    fields = lines[0] if lines else []
    if len(fields) in (4, 5) or (len(fields) == 3 and fields[0] in known.by_subject):
        return _dealt(path, _checked(_of_subjects(lines, known), known))
    if len(fields) == 3:
        return _dealt(path, _checked(_of_photographs(lines, known), known))
    if len(fields) == 2 and not fields[0].isdecimal():
        return _dealt(path, _checked(_two_lines(lines, known), known))
    return _lfws(path, lines, known)


def _lines(path: Path) -> list[Fields]:
    """The fields of each line that has any."""
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8, as a list of pairs is") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); give a list of pairs") from error
    return [line.split("\t") if "\t" in line else line.split() for line in text.splitlines() if line.strip()]


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= NUMBER


def _numbered(subject: str, own: dict[str, int]) -> dict[int, int]:
    """A subject's sessions by number: that in their names where all are called `subject_0001`, as photographs are whose
    lists have numbers (one that is not evaluated must not shift the others); else their place in order, from 1."""
    named = [re.fullmatch(f"{re.escape(subject)}_([0-9]{{1,{NUMBER}}})", name) for name in own]
    numbers = [int(match[1]) for match in named if match]
    return dict(zip(numbers if len(numbers) == len(own) else range(1, len(own) + 1), own.values(), strict=True))


def _lfws(path: Path, lines: list[Fields], known: Sessions) -> Pairs:
    """A list whose first line tells its folds."""
    if not lines or len(lines[0]) != 2 or not all(map(_is_number, lines[0])):
        raise UserError(
            f"{path}: its first line is to hold two numbers, of folds and of genuine pairs in each, or a pair, with "
            "tabs or spaces between its fields"
        )
    folds, each = (int(text) for text in lines[0])
    if folds < 2 or each < 1 or len(lines) != 1 + 2 * folds * each:
        raise UserError(f"{path}: {len(lines) - 1} pairs, not {folds} folds of {each} genuine and {each} impostor ones")
    read = []
    for line, fields in enumerate(lines[1:], start=2):
        if len(fields) not in (3, 4):
            raise known.fault(line, f"{len(fields)} fields; a pair has 3, or 4 where it is of two subjects")
        read.append(_of_subject(line, fields, known, fold=(line - 2) // (2 * each)))
    pairs = _together(_checked(iter(read), known), [pair.fold for pair in read])
    uneven = np.flatnonzero(np.bincount(pairs.fold, pairs.same) != each)
    if len(uneven):
        raise UserError(f"{path}: fold {uneven[0] + 1} does not have {each} genuine pairs and as many impostor ones")
    _check_disjoint(path, pairs, known)
    return pairs


def _of_subjects(lines: list[Fields], known: Sessions) -> Iterator[Pair]:
    for line, fields in enumerate(lines, start=1):
        told = fields[-1] if len(fields) == 5 or (len(fields) == 4 and fields[2] not in known.by_subject) else None
        pair = fields if told is None else fields[:-1]
        if len(pair) not in (3, 4) or told not in (None, "0", "1"):
            raise known.fault(line, "expected `subject session session` or `subject session subject session`, and a "
                                    "label of 1 or 0 or none")  # fmt: skip
        yield _of_subject(line, pair, known, genuine=None if told is None else told == "1")


def _of_subject(line: int, fields: Fields, known: Sessions, genuine: bool | None = None, fold: int = -1) -> Pair:
    """A pair of a line of three fields or four."""
    other = fields[0] if len(fields) == 3 else fields[2]
    return Pair(line, known.of(line, *fields[:2]), known.of(line, other, fields[-1]), genuine, fold)


def _of_photographs(lines: list[Fields], known: Sessions) -> Iterator[Pair]:
    for line, fields in enumerate(lines, start=1):
        if len(fields) != 3 or fields[2] not in ("0", "1"):
            raise known.fault(line, "expected `image image 1` or `image image 0`")
        first, second = (known.of_photograph(line, image) for image in fields[:2])
        yield Pair(line, first, second, fields[2] == "1")


def _two_lines(lines: list[Fields], known: Sessions) -> Iterator[Pair]:
    if len(lines) % 2:
        raise UserError(f"{known.path}: {len(lines)} lines; of two lines a pair there must be an even number")
    for line, (first, second) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        number = 2 * line + 1
        if not len(first) == len(second) == 2 or first[1] != second[1] or not _is_number(first[1]):
            raise known.fault(number, "expected `image fold` twice, with one fold")
        one, other = (known.of_photograph(number, fields[0]) for fields in (first, second))
        yield Pair(number, one, other, int(first[1]) > 0, int(first[1]) - 1)


def _checked(pairs: Iterator[Pair], known: Sessions) -> list[Pair]:
    """The pairs, each of which is called genuine or not as its subjects are one or two."""
    found = []
    for pair in pairs:
        if pair.first == pair.second:
            raise known.fault(pair.line, "a session beside itself is no pair")
        genuine = known.subject[pair.first] == known.subject[pair.second]
        if pair.genuine is not None and pair.genuine != genuine:
            who = " and ".join(dict.fromkeys(known.subject[row] for row in (pair.first, pair.second)))
            raise known.fault(pair.line, f"its label is {pair.genuine:d}, and its names say otherwise ({who})")
        found.append(pair._replace(genuine=genuine))
    return found


def _dealt(path: Path, pairs: list[Pair]) -> Pairs:
    """Pairs in the folds that they have; those that have none are dealt to as many, in their order."""
    same = np.array([bool(pair.genuine) for pair in pairs])
    fewest = min(same.sum(), (~same).sum())
    if fewest < 2:
        raise UserError(f"{path}: {same.sum()} genuine and {(~same).sum()} impostor pairs; it takes two of each")
    names, told = np.unique([pair.fold for pair in pairs if pair.genuine], return_inverse=True)
    folds = len(names) if len(names) > 1 else min(FOLDS, fewest)
    fold = np.zeros(len(pairs), int)
    for kind in (same, ~same):
        fold[kind] = np.arange(kind.sum()) * folds // kind.sum()
    if len(names) > 1:
        fold[same] = told
    return _together(pairs, fold)


def _together(pairs: list[Pair], fold: np.ndarray | list[int]) -> Pairs:
    rows = np.array([(pair.first, pair.second) for pair in pairs]).T
    return Pairs(rows, np.array([bool(pair.genuine) for pair in pairs]), np.asarray(fold))


def _check_disjoint(path: Path, pairs: Pairs, known: Sessions) -> None:
    seen: dict[str, int] = {}
    for fold, row in zip(np.tile(pairs.fold, 2), pairs.rows.ravel(), strict=True):
        subject = known.subject[row]
        if seen.setdefault(subject, int(fold)) != fold:
            raise UserError(
                f"{path}: subject {subject} is in folds {seen[subject] + 1} and {fold + 1}; folds share no subject"
            )
