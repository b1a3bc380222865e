"""Age-invariant recognition: trains and scores the runs of recipes/aifr/experiments.yaml (docs/age.md).

    make aifr                                       # once: the faces, and the recipe's own two runs
    python benchmarks/age.py [RUN ...] [--seeds 7]  # all runs, seed by seed; or some
    python benchmarks/age.py --list
    python benchmarks/age.py --table                # docs/results/age.csv from what is done

How a run is made, left alone or taken up again: benchmarks/runs.py. Differences of two runs are also told by the years
between two sessions. Only `psface train` and `evaluate` are run: faces that were made elsewhere will do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.recognition_rows import COLUMNS, FARS, Scored
from benchmarks.runs import ROOT, Benchmark
from pipeline.tables import write_csv
from pipeline.verification import PairScores, difference
from stages.evaluate.splits import ByAge, of_gap


@dataclass(frozen=True)
class Age(Benchmark):
    """The runs of recipes/aifr: their differences by gap are its own."""

    folder: Path = ROOT / "recipes" / "aifr"
    results: Path = ROOT / "docs" / "results" / "age.csv"
    made_by: str = "make aifr"

    def write_table(self) -> None:
        """The rows of these runs; those of face age synthesis (benchmarks/synthesis.py) stay as they are."""
        table = pd.DataFrame(self.rows(self.listed()["compare"]), columns=COLUMNS)
        if self.results.exists():
            before = pd.read_csv(self.results)
            table = pd.concat([table, before[before["run"].str.startswith("fas/")]], ignore_index=True)
        write_csv(self.results, table)
        print(f"wrote {self.results.relative_to(ROOT)}", flush=True)

    def difference_rows(self, first: Path, second: Path) -> Iterator[dict[str, Any]]:
        """Paired differences of two runs' folders, first minus second: of all pairs and of those of each gap."""
        yield from super().difference_rows(first, second)
        yield from gap_rows(Scored(first / "evaluate"), Scored(second / "evaluate"))


def gap_rows(one: Scored, other: Scored) -> Iterator[dict[str, Any]]:
    """Paired differences of AUC, EER and FNMRs of the genuine pairs of each gap, beside all impostor pairs."""
    ours, theirs = _by_gap(one), _by_gap(other)
    for name, pairs in ours.items():
        for rate, gap in difference(pairs, theirs[name], one.draws, FARS).items():
            value, low, high = (gap[key] for key in ("value", "low", "high"))
            if rate.startswith("tar@"):  # an error is 1 less the rate
                assert value is not None
                value, low, high = -value, None if high is None else -high, None if low is None else -low
                rate = rate.replace("tar@far", "fnmr@fmr")
            metric = f"invariance.split.age.{name}.{rate}"
            yield {"metric": metric, "value": value, "low": low, "high": high, "n": float(len(pairs.genuine))}


def _by_gap(run: Scored) -> dict[str, PairScores]:
    """The genuine pairs of each gap beside all impostor pairs; a run has its pairs in the order of its own scores."""
    assert run.years is not None, "a run on sessions whose subjects come at one age each"
    pairs = run.pairs("")
    return {name: of_gap(pairs, mask) for name, mask in ByAge(run.years).conditions(pairs.genuine_sessions).items()}


if __name__ == "__main__":
    Age().main(__doc__)
