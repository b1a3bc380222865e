"""The recipe of real faces: its settings are valid, what it depends on exists, its stages follow the root's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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


def test_its_stages_follow_the_root_and_depend_on_what_exists(recipe: Path, repository: Path) -> None:
    stages = yaml.safe_load((recipe / "dvc.yaml").read_text())["stages"]
    root = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    assert list(stages) == [name for name in root if name not in ("simulate", "train", "fuse")]
    assert stages["evaluate"]["matrix"] == root["evaluate"]["matrix"]
    for name, stage in stages.items():
        code = {dep.removeprefix("../../") for dep in stage["deps"] if dep.startswith("../../") and "${" not in dep}
        assert all((repository / dep).exists() for dep in code)
        ours = {dep for dep in root[name]["deps"] if dep.startswith(("stages/", "pipeline/", "models"))}
        assert code == ours, f"{name}: the recipe's code is not the root's"


def test_it_is_a_dvc_workspace_of_its_own(recipe: Path) -> None:
    """Otherwise `dvc status` in the root would miss the real data."""
    assert (recipe / ".dvc" / "config").is_file()
