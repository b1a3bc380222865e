"""Labels of MFR2, photographs of people with and without masks: a text of lines ``person, number, mask``.

The mask is ``no-mask`` or the name of what is worn (``surgical-white``, ``cloth``, ..), and the photograph is
``person/person_NNNN.png``. The layout is that of the published archive as its users' code reads it.

Source: A. Anwar, A. Raychowdhury, "Masked face recognition for secure authentication", 2020. arXiv:2008.11104
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import UserError
from pipeline.tables import read_text
from stages.ingest.readers import Note, Refusal

TEXT = "mfr2_labels.txt"
BARE = {"no-mask", "nomask", "unmasked", "none", "no"}
NUMBERED = re.compile(r"(?P<person>.+)_(?P<number>\d+)")

Masks = dict[tuple[str, int], int]


def read_masks(path: Path) -> tuple[Masks, list[Refusal | Note]]:
    """Whether a mask is worn (1, or 0) by person and number, and what is to be told of the text.

    Raises
    ------
    UserError
        It cannot be read.
    """
    try:
        lines = read_text(path, most=1 << 30).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); put MFR2's lines `person, number, mask` there") from error
    found: Masks = {}
    told: list[Refusal | Note] = []
    twice = set()
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        words = [word.strip() for word in line.split(",")]
        if len(words) != 3 or not all(words) or not re.fullmatch("[0-9]{1,9}", words[1]):
            told.append(Refusal(f"{path.name} line {line_number}", "expected `person, number, mask`"))
            continue
        key = words[0], int(words[1])
        code = 0 if re.sub("[ _]", "-", words[2].lower()) in BARE else 1
        if found.setdefault(key, code) != code:
            twice.add(key)
    if twice:
        first = " ".join(map(str, min(twice)))
        told.append(Note(f"{path}: {len(twice)} photographs are masked and bare at once, such as {first}: not known"))
    return {key: code for key, code in found.items() if key not in twice}, told
