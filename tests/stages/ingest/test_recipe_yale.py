"""The recipe of real faces: its settings are valid (that its stages are those of `psface init`, test_init.py tests)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.params import load


@pytest.fixture
def recipe(repository: Path) -> Path:
    """The folder of the recipe."""
    return repository / "recipes" / "yale"


def test_its_params_are_valid_and_train_nothing(recipe: Path) -> None:
    params = load(recipe / "params.yaml")
    assert params.ingest is not None
    assert params.balance is not None
    assert (params.ingest.source, params.ingest.root) == ("yaleb", "data/frames")
    assert (params.balance.validation, params.balance.test) == (0, 1)
    assert params.train is params.simulate is None


def test_it_is_a_dvc_workspace_of_its_own(recipe: Path) -> None:
    """Otherwise `dvc status` in the root would miss the real data."""
    assert (recipe / ".dvc" / "config").is_file()


@pytest.mark.parametrize("data", [[], ["DATA=absent"]])
def test_make_looks_for_the_data_before_it_sets_anything_up(repository: Path, workspace: Path, data: list[str]) -> None:
    shutil.copy(repository / "Makefile", workspace)
    made = subprocess.run(["make", "yale", *data], capture_output=True, text=True, check=False)
    assert made.returncode == 2
    assert made.stderr.startswith("make yale DATA=/path/to/CroppedYale: ")
    assert [path.name for path in workspace.iterdir()] == ["Makefile"]
