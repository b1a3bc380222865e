"""A clone of the repository at a tiny size, its pipeline run once for all tests of this folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.tiny import make_clone


@dataclass(frozen=True)
class Clone:
    """A workspace of its own, with the commands of this environment."""

    root: Path

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the workspace; its output, once its exit status is the expected one."""
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # networks this small wait for their threads longer than they work: a fusion took 5 s of CPU on one, 17 s on two
        quiet = {"DVC_NO_ANALYTICS": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
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


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Clone:
    """A tiny clone of the working tree, not yet run."""
    root = tmp_path_factory.mktemp("clone")
    make_clone(repository, root, epochs=1)
    made = Clone(root)
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
