"""A clone of the repository at a tiny size, its pipeline run once for all tests of this folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY: dict[str, Any] = {
    "simulate": {"subjects": 14, "sessions": 4, "size": 128},
    "crop": {"size": 64},
    "balance": {"validation": 0.25, "test": 0.3},
    "train": {"epochs": 1},
    "fuse": {"epochs": 1},
    "evaluate": {"resamples": 100},
    "report": {"resamples": 100},
}


@dataclass(frozen=True)
class Clone:
    """A workspace of its own, with the commands of this environment."""

    root: Path

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the workspace; its output, once its exit status is the expected one."""
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        quiet = {"DVC_NO_ANALYTICS": "1", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, "PATH": paths, **quiet},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}"
        return done.stdout

    def repro(self, *options: str) -> set[str]:
        """Run `dvc repro`; the stages that really ran."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", *options)))

    def set(self, key: str, value: Any) -> None:
        """Change one value of params.yaml."""
        values = yaml.safe_load((self.root / "params.yaml").read_text())
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            place = place[parent]
        place[last] = value
        (self.root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def _tiny(values: dict[str, Any]) -> dict[str, Any]:
    for name, changes in TINY.items():
        sections = values[name].values() if name in ("train", "fuse") else [values[name]]
        for section in sections:
            section.update(changes)
    return values


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Clone:
    """A tiny clone of the working tree, not yet run."""
    root = tmp_path_factory.mktemp("clone")
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=repository, text=True
    )
    for name in listed.splitlines():
        if (repository / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, root / name)
    values = yaml.safe_load((root / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump(_tiny(values), sort_keys=False))
    made = Clone(root)
    made.run("git", "init", "-q")
    made.run("git", "config", "user.email", "test@example.org")
    made.run("git", "config", "user.name", "test")
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "a clone")
    return made


@pytest.fixture(scope="session")
def reproduced(clone: Clone) -> Clone:
    """The tiny clone after `dvc repro`."""
    clone.run("dvc", "repro")
    return clone
