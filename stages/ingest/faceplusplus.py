"""Ages and genders of a JSON of Face++'s answers, as ECAF's data.json holds them.

The layout of that file is not documented anywhere that we could read. So an answer is looked for wherever it stands: a
map belongs to a photograph where its key, or a text in it, is the name of one, with or without folders and suffix; the
age and the gender below it, bare or as Face++ has them (``{"age": {"value": 31}, "gender": {"value": "Male"}}``), are
that photograph's.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import UserError
from pipeline.tables import read_text

Answer = tuple[str, str]  # age, gender; "" where it does not tell


def read_faces(path: Path, names: Collection[str]) -> dict[str, Answer]:
    """Age and gender, as words, by the name of a photograph without its suffix.

    Raises
    ------
    UserError
        It is not JSON.
    """
    try:
        values = json.loads(read_text(path, most=1 << 30))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"{path}: cannot be read as JSON ({reason}); fetch it again, or remove it to go on without"
        ) from error
    found: dict[str, dict[str, str]] = {}
    waiting: list[tuple[Any, str]] = [(values, "")]
    while waiting:
        value, owner = waiting.pop()
        if isinstance(value, list):
            waiting += [(part, owner) for part in value]
        if not isinstance(value, dict):
            continue
        owner = next((name for text in value.values() if (name := _named(text, names))), owner)
        for key, part in value.items():
            if key in ("age", "gender") and owner:
                found.setdefault(owner, {}).setdefault(key, _word(part))
            else:
                waiting.append((part, _named(key, names) or owner))
    return {name: (answer.get("age", ""), answer.get("gender", "")) for name, answer in found.items()}


def _named(text: object, names: Collection[str]) -> str:
    """The photograph that a text names, or ""."""
    if not isinstance(text, str):
        return ""
    file = PurePosixPath(text).name
    return next((name for name in (file, file.rpartition(".")[0]) if name and name in names), "")


def _word(value: object) -> str:
    """A bare value, or Face++'s ``{"value": ...}``, as a word."""
    if isinstance(value, dict):
        value = value.get("value", "")
    return (
        str(value).lower() if isinstance(value, str | int | float) and not isinstance(value, bool) else repr(value)[:20]
    )
