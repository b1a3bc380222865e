"""`kill -9` of the real pipeline: a few kills, and `benchmarks/kills.py` as a whole; all of it with `-m slow`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.kills import Kill, Pipeline

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def pipeline(reproduced: Clone) -> Pipeline:
    """The tiny clone, whose artifacts are the reference."""
    made = Pipeline(reproduced.root)
    made.lock = made.read_lock()
    return made


@pytest.mark.parametrize(
    "kill", [Kill("reconstruct", 3.0, "dvc"), Kill("reconstruct", 3.0, "stage"), Kill("train@albedo", 5.0, "group")],
    ids=lambda kill: kill.way,
)  # fmt: skip
def test_a_killed_stage_ends_in_the_same_artifacts(pipeline: Pipeline, kill: Kill) -> None:
    outcome = pipeline.trial(kill)
    assert outcome.fault == ""
    assert outcome.note.startswith(kill.way)
    if kill.way == "dvc":
        assert "beside it: done" in outcome.note or "said so" in outcome.note


@pytest.mark.timeout(7200)
def test_fifty_kills_at_random_moments(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/kills.py", "--kills", "50"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 of 50 kills ended in the artifacts of the undisturbed pipeline" in done.stdout
