"""A fabricated workspace as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fabricated import fill_workspace, make_run

from pipeline.contract import Contract


@pytest.fixture(name="make_run")
def _make_run() -> Callable[..., Contract]:
    """`make_run(folder, run, modality, **changes of its contract)`."""
    return make_run


@pytest.fixture(scope="session", name="fill_workspace")
def _fill_workspace() -> Callable[..., None]:
    """`fill_workspace(...)` in the current folder, for fixtures that live longer than a test."""
    return fill_workspace


@pytest.fixture
def fabricate(workspace: Path) -> Callable[..., Path]:
    """`fabricate(...)` fills an empty workspace, which is the current folder."""

    def make(**choices: object) -> Path:
        fill_workspace(**choices)
        return workspace

    return make
