"""YAML is read as DVC reads it, and what cannot be read ends in one line, soon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.yamlfile import read_yaml


def read(tmp_path: Path, text: str | bytes) -> Any:
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_yaml(path)


def test_words_numbers_and_keys_are_yaml_1_2(tmp_path: Path) -> None:
    text = "{no: yes, on: true, 1: 1e-3, 2: 0o10, 1.5: ~, '3': '4', when: 2024-01-01, tiny: .5E+2}"
    expected = {"no": "yes", "on": True, "1": 1e-3, "2": 8, "1.5": None, "3": "4", "when": "2024-01-01", "tiny": 50.0}
    assert read(tmp_path, text) == expected


def test_anchors_aliases_and_merge_keys(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: &y {z: 2}}\nb: {<<: *a, x: 3}\nc: {<<: [*y, *a], y: *y}\nd: [*y, *y]"
    y = {"z": 2}
    expected = {"a": {"x": 1, "y": y}, "b": {"x": 3, "y": y}, "c": {"x": 1, "y": y, "z": 2}, "d": [y, y]}
    assert read(tmp_path, text) == expected


def bomb(first: str, template: str) -> str:
    """Twelve levels, each of which stands for ten of the one before."""
    return "\n".join([first, *(template.format(i + 1, ", ".join([f"*a{i}"] * 10)) for i in range(12))])


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "bomb of lists": (bomb("a0: &a0 [x]", "a{0}: &a{0} [{1}]"), "file.yaml:6: lists and maps as many"),
    "bomb of merges": (bomb("a0: &a0 {x: 1}", "a{0}: &a{0} {{<<: [{1}]}}"), "file.yaml:6: lists and maps as many"),
    "recursion": ("a: &a {b: [*a]}", "file.yaml:1: the alias `*a` stands for what it is a part of"),
    "depth": ("[" * 5000 + "]" * 5000, "file.yaml:1: lists and maps as many or as deep"),
    "depth of a block": ("\n".join("  " * i + "a:" for i in range(100)), "file.yaml:41: lists and maps"),
    "length": ("a: 1\n" * 250_000, "file.yaml has 1250000 bytes"),
    "twice": ("a: 1\nb:\n  c: 1\n  c: 2\n", 'file.yaml:4: found duplicate key "c": give each key once'),
    "twice, as text and number": ('1: 1\n"1": 2\n', "file.yaml: `1` is there twice"),
    "unfinished": ("a: [1,", "file.yaml:1 is not valid YAML"),
    "unknown alias": ("a: 1\nb: *c", "file.yaml:2 is not valid YAML: found undefined alias 'c'"),
    "two documents": ("a: 1\n---\nb: 1\n", "file.yaml:2 is not valid YAML: but found another document"),
    "a Python object": ("a: !!python/object:os.system x", "file.yaml:1 is not valid YAML"),
    "bytes": ("a: !!binary eA==", "file.yaml: `a` is of a type (`!!`)"),
    "a set": ("a: {b: [1, !!set {x}]}", "file.yaml: `a.b.1` is of a type (`!!`)"),
    "a map as a key": ("? {a: 1}\n: 2", "file.yaml:1 is not valid YAML: found unhashable key"),
    "no date": ("a: 2024-13-45", "a value cannot be read (month must be in 1..12)"),
    "no bool": ("a: !!bool x", "a value cannot be read"),
    "endless digits": ("a: " + "9" * 5000, "a value cannot be read"),
    "not UTF-8": (b"a: 1\nb: \xff\n", "file.yaml is not text in UTF-8: byte 8 is 0xff"),
    "a control character": ("a: \x00", "file.yaml is not valid YAML: unacceptable character #x0000"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_read_ends_in_one_line(tmp_path: Path, name: str) -> None:
    text, expected = FAULTS[name]
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert message.startswith(str(tmp_path))
    assert expected in message
    assert len(message) <= 600
    assert "\n" not in message


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
