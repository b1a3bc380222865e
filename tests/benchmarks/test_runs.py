"""A benchmark's runs: in turn or several at once, each after what it is made of."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.runs import Benchmark, Job

RUNS: dict[str, dict[str, Any]] = {
    "both": {"fuse": ["one", "other"]},  # before its branches: it has to wait for them
    "one": {"modalities": ["normal"]},
    "other": {"modalities": ["albedo"]},
    "few": {"modalities": ["normal"], "balance": {"method": "none"}},
    "many": {"modalities": ["normal"], "balance": {"method": "weights"}},
}


@dataclass(frozen=True)
class Recorded(Benchmark):
    """Trains nothing: a run ends once another runs beside it, or after a moment."""

    events: list[tuple[str, str, int]] = field(default_factory=list)
    beside: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))

    def work(self, name: str, run: Mapping[str, Any], seed: int, text: str) -> None:
        self.events.append(("begins", name, seed))
        if text == "fails":
            raise SystemExit(3)
        try:
            self.beside.wait(timeout=0.3)
        except threading.BrokenBarrierError:
            self.beside.reset()
        self.events.append(("ends", name, seed))


def recorded(folder: Path) -> Recorded:
    return Recorded(folder, folder / "results.csv", "make it")


def jobs(*seeds: int) -> list[Job]:
    return [Job(name, run, seed, "") for seed in seeds for name, run in RUNS.items()]


def together(events: list[tuple[str, str, int]]) -> set[frozenset[tuple[str, int]]]:
    """Which runs were under way at the same time, pair by pair."""
    found, running = set(), set[tuple[str, int]]()
    for what, name, seed in events:
        if what == "ends":
            running.remove((name, seed))
            continue
        found |= {frozenset({(name, seed), other}) for other in running}
        running.add((name, seed))
    return found


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_every_run_is_made_once_and_after_its_branches(tmp_path: Path, at_once: int) -> None:
    bench = recorded(tmp_path)
    bench.make(jobs(7, 8), at_once)
    began = [event[1:] for event in bench.events if event[0] == "begins"]
    assert sorted(began) == sorted((name, seed) for seed in (7, 8) for name in RUNS)
    for seed in (7, 8):
        for branch in ("one", "other"):
            assert bench.events.index(("ends", branch, seed)) < bench.events.index(("begins", "both", seed))


def test_several_run_at_once_but_not_what_psface_does_once_at_a_time(tmp_path: Path) -> None:
    bench = recorded(tmp_path)
    bench.make(jobs(7, 8), 4)
    pairs = together(bench.events)
    assert pairs
    for pair in pairs:
        names = [name for name, _ in pair]
        assert len(set(names)) == 2  # `psface train NAME`
        assert set(names) != {"few", "many"}  # `psface balance`


def test_a_run_that_fails_ends_all_but_what_was_begun(tmp_path: Path) -> None:
    bench = recorded(tmp_path)
    failing = [Job("one", RUNS["one"], 7, ""), Job("other", RUNS["other"], 7, "fails"), Job("few", RUNS["few"], 7, "")]
    with pytest.raises(SystemExit, match="3"):
        bench.make(failing, 2)
    assert ("ends", "one", 7) in bench.events
    assert not any(name == "few" for _, name, _ in bench.events)


def test_a_run_has_taken_as_long_as_its_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own balancing was counted too."""
    clock, seconds = [0.0], {"balance": 60, "train": 120, "evaluate": 600}

    def psface(self: Benchmark, *arguments: str | Path) -> None:
        clock[0] += seconds[str(arguments[0])]

    monkeypatch.setattr("benchmarks.runs.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Benchmark, "psface", psface)
    assert (
        Benchmark(tmp_path, tmp_path / "results.csv", "make it").fit_and_score("few", RUNS["few"], 7, Path("few")) == 2
    )
    assert clock[0] == sum(seconds.values())
