"""`dvc exp run -S` rewrites params.yaml by `apply_overrides`: what it writes is read, and changes what it names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml

from pipeline import params
from pipeline.yamlfile import read_yaml

ENTRIES = [f"train.{name}" for name in ("albedo", "normal", "depth", "frame", "frames")]
ENTRIES += [f"fuse.{name}" for name in ("albedo-depth", "normal-depth", "normal-albedo", "all")]


@pytest.fixture
def path(tmp_path: Path, repository: Path) -> Path:
    return shutil.copy(repository / "params.yaml", tmp_path / "params.yaml")


def leaves(values: Any, at: str = "") -> dict[str, Any]:
    """Every plain value by its dotted key; a list is one."""
    if not isinstance(values, dict):
        return {at: values}
    return {key: leaf for name, part in values.items() for key, leaf in leaves(part, f"{at}.{name}".strip(".")).items()}


def test_a_rewritten_file_means_what_it_meant(path: Path) -> None:
    before = params.load(path)
    apply_overrides(str(path), ["report.examples=7"])
    assert "{no: 2311, yes: 848}" in path.read_text()  # quotes lost: booleans to YAML 1.1, words to 1.2
    after = params.load(path)
    assert after.report is not None
    assert after.report.examples == 7
    assert after.model_copy(update={"report": before.report}) == before


@pytest.mark.parametrize("entry", ENTRIES)
def test_any_key_of_an_entry_is_changed_there_alone(path: Path, entry: str) -> None:
    before = leaves(read_yaml(path))
    chosen = {key: value for key, value in before.items() if key.startswith(f"{entry}.")}
    assert {f"{entry}.identity.scale", f"{entry}.augment.mirror", f"{entry}.seed"} <= set(chosen)
    numbers = {key: value + 1 for key, value in chosen.items() if isinstance(value, int | float)}
    others = {
        key: [2, 1, 1, 1] if isinstance(value, list) else "other" for key, value in chosen.items() if key not in numbers
    }
    changes = numbers | others
    apply_overrides(str(path), [f"{key}={value}" for key, value in changes.items()])
    assert leaves(read_yaml(path)) == before | changes


def test_one_nested_value_alone(path: Path) -> None:
    before = leaves(read_yaml(path))
    apply_overrides(str(path), ["train.albedo.augment.mirror=0"])
    assert leaves(read_yaml(path)) == before | {"train.albedo.augment.mirror": 0}
    params.load(path)


def test_values_are_those_that_dvc_sees(repository: Path) -> None:
    for path in [repository / "params.yaml", *repository.glob("recipes/*/params.yaml")]:
        assert read_yaml(path) == load_yaml(str(path))
