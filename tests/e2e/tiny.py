"""The whole pipeline at a size that takes minutes: a copy of the working tree with small parameters."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

SIZES: dict[str, dict[str, Any]] = {
    "simulate": {"subjects": 14, "sessions": 4, "size": 128},
    "crop": {"size": 64},
    "balance": {"validation": 0.25, "test": 0.3},
    "evaluate": {"resamples": 100},
    "report": {"resamples": 100},
}
TRAINING: dict[str, Any] = {"width": 8, "dimension": 128}  # of each network; at 32 and 512 most of the time goes here


def make_clone(repository: Path, root: Path, *, epochs: int) -> None:
    """Copy what git tracks, or would, of a repository's working tree to ``root``, and make its parameters small."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(command, cwd=repository, text=True).splitlines():
        if (repository / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, root / name)
    values = yaml.safe_load((root / "params.yaml").read_text())
    for name, changes in SIZES.items():
        values[name].update(changes)
    for section in (*values["train"].values(), *values["fuse"].values()):
        section["epochs"] = epochs
    for section in values["train"].values():
        section.update(TRAINING)
    for section in values["fuse"].values():
        section["views"] = 2
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
