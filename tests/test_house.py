"""Who may import whom: pipeline/ nothing but itself, models/ nothing of ours, a stage never another stage. And what all
tests find alike, whichever ran before them in their process.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info

from pipeline.cli import STAGES

OURS = ("pipeline", "stages", "models", "tests", "benchmarks")


def imported(file: Path) -> Iterator[str]:
    """Modules of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OURS)


def strangers(repository: Path, folder: str, own: tuple[str, ...]) -> list[str]:
    """Imports of a folder's files that are none of its own."""
    files = sorted((repository / folder).rglob("*.py"))
    assert files
    return [
        f"{file.relative_to(repository)}: {name}"
        for file in files
        for name in imported(file)
        if not f"{name}.".startswith(tuple(f"{place}." for place in own))
    ]


def test_what_is_shared_and_the_networks_know_no_stage(repository: Path) -> None:
    assert strangers(repository, "pipeline", ("pipeline",)) == []
    assert strangers(repository, "models", ("models",)) == []


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_stage_knows_no_other(repository: Path, stage: str) -> None:
    """`psface calibrate` imported the readers of ingest."""
    assert strangers(repository, f"stages/{stage}", ("pipeline", "models", f"stages.{stage}")) == []


def test_every_stage_is_looked_at(repository: Path) -> None:
    assert {path.parent.name for path in (repository / "stages").glob("*/__init__.py")} == set(STAGES)


@pytest.mark.parametrize("after", ["other draws", "these draws"])
def test_a_test_s_draws_and_threads_are_its_own(after: str) -> None:
    assert torch.equal(torch.rand(5), torch.rand(5, generator=torch.Generator().manual_seed(7)))
    assert {torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info())} == {1}
