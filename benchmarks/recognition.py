"""The recognition benchmark: trains and scores every run of recipes/recognition/experiments.yaml, one by one.

    make benchmark-data                                    # once
    python benchmarks/recognition.py [RUN ...] [--seeds 7] # all runs, seed by seed; or some
    python benchmarks/recognition.py --list

How a run is made, left alone or taken up again: benchmarks/runs.py. docs/results/recognition.csv is written anew after
each (recognition_rows.py), with the paired differences of the runs that experiments.yaml compares. Those that
experiments.yaml names under `fresh` and `yale` are also scored on people simulated after all had been chosen, and after
`make yale` on the real faces (`fresh.` and `yale.` before their metrics).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.runs import ROOT, Benchmark
from pipeline.tables import write_atomic

ELSEWHERE = {"yale": ROOT / "recipes" / "yale", "fresh": ROOT / "recipes" / "recognition-fresh"}
MINUTES = 8.0  # of training, that the thesis's recipe has


@dataclass(frozen=True)
class Recognition(Benchmark):
    """The runs of recipes/recognition: those of the thesis's recipe, and scores on other faces, are its own."""

    folder: Path = ROOT / "recipes" / "recognition"
    results: Path = ROOT / "docs" / "results" / "recognition.csv"
    made_by: str = "make benchmark-data"

    def place(self, seed: int, name: str) -> Path:
        """As the others', but that the thesis's recipe is trained on the processor wherever it is."""
        return Path("runs") / "cpu" / str(seed) / name if name.startswith("thesis-") else super().place(seed, name)

    def params_of(self, name: str, run: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """params.yaml of a run; the thesis's has a section of its own."""
        if "thesis" not in run:
            return super().params_of(name, run, seed)
        plain = super().params_of(name, {"modalities": [], "balance": run.get("balance", {})}, seed)
        thesis = {"name": run["thesis"], "minutes": MINUTES, "seed": seed}
        return {key: plain[key] for key in ("balance", "evaluate")} | {"thesis": thesis}

    def fit_and_score(self, name: str, run: Mapping[str, Any], seed: int, folder: Path) -> float:
        """Train or fuse a run, and score it; how many minutes the training took."""
        for place in ELSEWHERE:
            shutil.rmtree(self.folder / folder / place, ignore_errors=True)
        if "thesis" not in run:
            return super().fit_and_score(name, run, seed, folder)
        params, settings = (self.folder / folder / f"{each}.yaml" for each in ("params", "settings"))
        known = yaml.safe_load(params.read_text())
        del known["thesis"]  # which no command of psface knows
        write_atomic(settings, lambda path: path.write_text(yaml.safe_dump(known, sort_keys=False)))
        thesis = [ROOT / "benchmarks" / "thesis.py", run["thesis"], "--seed", str(seed), "--minutes", str(MINUTES)]
        self.call([*thesis, "--params", settings, "--runs", folder.parent])
        return MINUTES

    def branches_of(self, run: Mapping[str, Any]) -> list[str]:
        """The runs that a run is made of."""
        joined = run.get("thesis", "").split("+")
        return super().branches_of(run) + ([f"thesis-{each}" for each in joined] if len(joined) > 1 else [])

    def score_more(self, name: str, seed: int) -> None:
        """Score a run on the other faces that it is listed for, where they are there and its scores are not."""
        for place in ELSEWHERE:
            if name in self.listed()[place]:
                self._score_on(place, name, seed)

    def _score_on(self, place: str, name: str, seed: int) -> None:
        folder, data = self.place(seed, name), ELSEWHERE[place] / "data"
        if (self.folder / folder / place / "embeddings.npz").exists() or not (data / "splits.parquet").exists():
            return
        print(f"=== {name}, seed {seed}: {place}", flush=True)
        tables = {"faces": data / "faces"} | {key: data / f"{key}.parquet" for key in ("sessions", "splits", "quality")}
        self.evaluate(name, folder, place, tables)


if __name__ == "__main__":
    Recognition().main(__doc__)
