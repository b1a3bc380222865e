"""Photoface's labels, their codes, and the binary classes that they fall into."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.attributes import ATTRIBUTES, MISSING, classes, labels

BINARY = {
    "gender": {"female": "female", "male": "male"},
    "spectacles": {"no": "no", "yes": "yes"},
    "facial_hair": {"none": "none", "stubble": "some", "moustache": "some", "beard": "some", "both": "some"},
    "pose": {"1": "frontal", "2": "frontal", "3": "turned", "4": "turned", "5": "turned"},
    "expression": {"blankstare": "blankstare", "positive": "other", "negative": "other", "emoOther": "other"},
    "mask": {"no": "no", "yes": "yes"},
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_class_has_its_binary_one(name: str) -> None:
    """The thesis's seventeenth defect: its README took a profile (pose 5) for turned, its labels knew pose 3 alone."""
    attribute, expected = ATTRIBUTES[name], BINARY[name]
    assert attribute.classes == classes(name, "photoface") == tuple(expected)
    codes = np.array([attribute.code(text) for text in expected])
    assert codes.tolist() == list(range(len(expected)))
    assert [classes(name, "binary")[code] for code in labels(name, codes, "binary")] == list(expected.values())
    assert labels(name, codes, "photoface").tolist() == codes.tolist()


@pytest.mark.parametrize("vocabulary", ["binary", "photoface"])
def test_what_is_missing_stays_missing(vocabulary: str) -> None:
    for name, attribute in ATTRIBUTES.items():
        assert attribute.code("no such label") == MISSING
        assert labels(name, np.array([MISSING, 0]), vocabulary).tolist() == [MISSING, 0]
