"""The band of difficulty is guarded: raw pixels of the true maps on unseen subjects."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from pipeline.params import Simulate, section


@pytest.mark.slow
def test_raw_pixels_reach_little(repository: Path) -> None:
    """50 subjects that no run trains on, the repository's own parameters; two to three minutes."""
    spec = importlib.util.spec_from_file_location("difficulty", repository / "benchmarks" / "difficulty.py")
    assert spec is not None
    assert spec.loader is not None
    difficulty = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(difficulty)
    params = section(repository / "params.yaml", "simulate", Simulate)
    table = difficulty.measure(params, range(1000, 1050), 6, jobs=1)
    for kind in ("normal", "albedo", "depth", "frame"):
        assert 0.04 < table[kind]["same_rig"] < 0.16, (kind, table[kind])
        assert table[kind]["across_rigs"] < table[kind]["same_rig"], (kind, table[kind])
        assert table[kind]["auc"] < 0.72, (kind, table[kind])
