"""Shared fixtures: a deterministic hypothesis profile, the real data where it is, one thread."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from hypothesis import settings
from threadpoolctl import threadpool_limits

REPOSITORY = Path(__file__).resolve().parent.parent

settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=40, database=None)
settings.load_profile("deterministic")


@pytest.hookimpl(tryfirst=True)  # before fixtures that live longer than a test
def pytest_runtest_setup() -> None:
    """No test's draws depend on the tests that ran before it, in this process or in another."""
    torch.manual_seed(7)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks and matrices as small as these wait for their threads longer than they work, the more so where two
    processes test; what a test starts is left alone.
    """
    for pool in ("cv2", "scipy.linalg", "sklearn"):  # what a test loads later brings as many threads as there are cores
        importlib.import_module(pool)
    torch.set_num_threads(1)
    threadpool_limits(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real data for tests (PSFACE_DATA, or ../shared/data); tests that need it skip where it is absent."""
    root = Path(os.environ.get("PSFACE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"the real data is not at {root}; set PSFACE_DATA")
    return root


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(7)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace as the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
