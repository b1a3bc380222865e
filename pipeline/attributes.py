"""The attributes of a session, in Photoface's vocabulary and in a binary one; and whether a mask is worn.

A label is an integer code into `Attribute.classes`; -1 means that it is missing, and no loss or metric counts it. The
age is another kind of label: a number of years, in either vocabulary, of which networks tell the whole ones to 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MISSING = -1
AGE = "age"
YEARS = tuple(str(year) for year in range(101))


@dataclass(frozen=True)
class Attribute:
    """One attribute: its classes in code order, and the binary class (0 or 1) of each code.

    Of an ``optional`` one nothing is said where no session of a data set has a label.
    """

    name: str
    classes: tuple[str, ...]
    binary: tuple[int, ...]
    binary_classes: tuple[str, str]
    optional: bool = False

    def code(self, text: str) -> int:
        """The code of a label as Photoface writes it; -1 for an unknown one."""
        wanted = text.strip().lower()
        return next((i for i, name in enumerate(self.classes) if name.lower() == wanted), MISSING)

    def knows(self, codes: np.ndarray) -> bool:
        """Whether all codes of an array are those of a class, or -1."""
        codes = np.asarray(codes)
        return bool(((codes >= MISSING) & (codes < len(self.classes))).all())

    def to_binary(self, codes: np.ndarray) -> np.ndarray:
        """Binary classes of an array of codes; -1 stays -1."""
        table = np.array([*self.binary, MISSING])
        return table[np.asarray(codes, dtype=int)]


ATTRIBUTES: dict[str, Attribute] = {
    a.name: a
    for a in (
        Attribute("gender", ("female", "male"), (0, 1), ("female", "male")),
        Attribute("spectacles", ("no", "yes"), (0, 1), ("no", "yes")),
        Attribute("facial_hair", ("none", "stubble", "moustache", "beard", "both"), (0, 1, 1, 1, 1), ("none", "some")),
        Attribute("pose", ("1", "2", "3", "4", "5"), (0, 0, 1, 1, 1), ("frontal", "turned")),
        Attribute(
            "expression", ("blankstare", "positive", "negative", "emoOther"), (0, 1, 1, 1), ("blankstare", "other")
        ),
        Attribute("mask", ("no", "yes"), (0, 1), ("no", "yes"), optional=True),
    )
}


def told(codes: Mapping[str, np.ndarray]) -> list[str]:
    """The attributes that are to be spoken of, given the codes (N,) of each: not an optional one without a label."""
    return [name for name, a in ATTRIBUTES.items() if not a.optional or (np.asarray(codes[name]) != MISSING).any()]


def classes(name: str, vocabulary: str) -> tuple[str, ...]:
    """Class names of an attribute in a vocabulary, ``"binary"`` or ``"photoface"``; years for `age`."""
    if name == AGE:
        return YEARS
    attribute = ATTRIBUTES[name]
    return attribute.binary_classes if vocabulary == "binary" else attribute.classes


def labels(name: str, codes: np.ndarray, vocabulary: str) -> np.ndarray:
    """Codes (N,) as stored in the session table, expressed in a vocabulary; -1 stays -1. Ages as float32."""
    if name == AGE:
        years = np.asarray(codes, dtype=np.float32)
        return np.where(years >= 0, years, np.float32(MISSING))
    codes = np.asarray(codes, dtype=int)
    return ATTRIBUTES[name].to_binary(codes) if vocabulary == "binary" else codes
