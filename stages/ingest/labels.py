"""`labels.csv` of a folder of one's own sessions: labels by subject or by session, and what is wrong with them."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.attributes import ATTRIBUTES, MISSING
from pipeline.errors import UserError, one_line
from pipeline.tables import read_text
from stages.ingest.photoface import NO_OCCLUSION, QUALITIES
from stages.ingest.readers import Note, Refusal

LABELS = "labels.csv"
LONGEST_WORD = 80  # characters of a label or of a rig's name
COLUMNS = (*ATTRIBUTES, "age", "quality", "occlusion", "rig")


@dataclass
class Labels:
    """What the table says.

    Attributes
    ----------
    rows
        Known labels by (subject, session), session "" for all of a subject's.
    strange, contradicted
        Words that are not understood; labels that another row of the same session or subject had otherwise.
    """

    rows: dict[tuple[str, str], dict[str, object]] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Read the table; without one nothing is known.

        Raises
        ------
        UserError
            It cannot be read, has no column ``subject``, a column that is not known, or one twice.
        """
        labels = cls()
        try:
            header, *rows = csv.reader(read_text(path).splitlines() or [""], skipinitialspace=True)
        except FileNotFoundError:
            return labels
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            fault = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"{path}: cannot be read as a table of labels ({fault}); save it as CSV in UTF-8"
            ) from error
        columns = [name.strip() for name in header]
        twice = [name for name in columns if columns.count(name) > 1]
        if twice:
            raise UserError(f"{path}: the column {twice[0]} comes {columns.count(twice[0])} times; keep one")
        unknown = [name for name in columns if name not in ("subject", "session", *COLUMNS)]
        if "subject" not in columns or unknown:
            fault = f"unknown column {unknown[0]}" if unknown else "no column subject"
            raise UserError(f"{path}: {fault}; expected subject, session, {', '.join(COLUMNS)}")
        for row in filter(None, rows):
            labels._add({name: cell.strip() for name, cell in zip(columns, row, strict=False)})
        return labels

    def _add(self, cells: dict[str, str]) -> None:
        key = (cells.get("subject", ""), cells.get("session", ""))
        known = self.rows.setdefault(key, {})
        for name in COLUMNS:
            word = cells.get(name, "")
            if not word:
                continue
            value = _value(name, word)
            if value is None:
                self.strange.append(f"{name} = {word!r} of {_named(key)}")
                continue
            if known.get(name, value) != value:
                self.contradicted.append(f"{name} = {word!r} of {_named(key)}")
            known[name] = value

    def of(self, subject: str, session: str) -> dict[str, object]:
        """The labels of a session; its own row goes before the subject's."""
        return {**self.rows.get((subject, ""), {}), **self.rows.get((subject, session), {})}

    def notes(self, path: Path, found: Sequence[Path | Refusal]) -> Iterator[Note]:
        """What is wrong with the table at a path, of the sessions (or subjects) in folders or refused."""
        for words, wrong in (
            ("labels are unknown words, such as", self.strange),
            ("labels contradict an earlier row (the last holds), such as", self.contradicted),
            ("rows name nobody who is there, such as", self._astray(found)),
            ("subjects have sessions of two genders, such as", self._of_two_genders(found)),
        ):
            if wrong:
                yield Note(one_line(f"{path}: {len(wrong)} {words} {wrong[0]}"))

    def _astray(self, found: Sequence[Path | Refusal]) -> list[str]:
        """Rows of a subject or a session without a folder; what lies in a folder that is shut is not known."""
        shut = {each.id for each in found if isinstance(each, Refusal)}
        there = {(each.parent.name, each.name) for each in found if isinstance(each, Path)}
        there |= {(subject, "") for subject, _ in there}
        return [_named(key) for key in self.rows if key not in there and key[0] not in shut]

    def _of_two_genders(self, found: Sequence[Path | Refusal]) -> list[str]:
        folders = [each for each in found if isinstance(each, Path)]
        told = {(each.parent.name, self.of(each.parent.name, each.name).get("gender")) for each in folders}
        counts = Counter(subject for subject, gender in told if gender is not None)
        return sorted(subject for subject, count in counts.items() if count > 1)


def _named(key: tuple[str, str]) -> str:
    return "/".join(filter(None, key)) or "a row without a subject"


def _value(name: str, word: str) -> object | None:
    """A cell as the session's field has it; None where the word is not understood."""
    if len(word) > LONGEST_WORD or not word.isprintable():
        return None
    if name in ATTRIBUTES:
        code = ATTRIBUTES[name].code(word)
        return None if code == MISSING else code
    if name == "age":
        try:
            years = float(word)
        except ValueError:
            return None
        return years if 0 <= years < math.inf else None
    if name == "quality":
        return word.lower() if word.lower() in QUALITIES else None
    if name == "occlusion":
        return "" if word.lower() in NO_OCCLUSION else word.lower()
    return word
