"""A benchmark of trained runs: what its scripts share.

A benchmark is a workspace with faces in `data/` and an `experiments.yaml` that lists `runs`, each by what differs from
a base, `seeds` (a run may name fewer), and in `compare` the paired differences that are asked for. Each run is the real
commands (`psface balance`, `train`, `fuse`, `evaluate`) on a params.yaml of its own, kept beside its results in
runs/DEVICE/SEED/RUN, for a processor and a GPU round differently, and what is compared in pairs is of one. A run whose
results are there and whose parameters are the same is left alone, unless a run that it fuses has been trained since;
one that was stopped goes on. Runs share nothing but the faces (and a fusion its branches), so that several are made at
once (``--jobs``). At the end the benchmark's table is written anew from all results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.recognition_rows import COLUMNS, difference_rows, run_rows
from pipeline.tables import write_atomic, write_csv

ROOT = Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # that networks are trained on here
JOBS = 1 if DEVICE == "cuda" else min(4, CORES)  # small networks: one on each core beats one on all
COMMAND = "from pipeline.cli import main; main()"  # where psface is not installed, its code still runs


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A section with changes: a map changes the keys it names, unless it names another loss; null empties a map, or
    takes a key out of one."""
    out = dict(base)
    for key, value in changes.items():
        before = out.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        other = both and "loss" in value and value["loss"] != before["loss"]
        if both and not other:
            value = {inner: new for inner, new in {**before, **value}.items() if new is not None}
        out[key] = {} if value is None else value
    return out


class Job(NamedTuple):
    """A run by its name, what experiments.yaml says of it, its seed, and the text of its params.yaml."""

    name: str
    run: Mapping[str, Any]
    seed: int
    text: str


@dataclass(frozen=True)
class Benchmark:
    """The runs of a workspace.

    Attributes
    ----------
    folder
        The workspace.
    results
        The table of all rates.
    made_by
        The command that makes the faces.
    """

    folder: Path
    results: Path
    made_by: str

    def place(self, seed: int, name: str) -> Path:
        """The folder of a run, in the workspace."""
        return Path("runs") / DEVICE / str(seed) / name

    def listed(self) -> dict[str, Any]:
        """What experiments.yaml says."""
        found: dict[str, Any] = yaml.safe_load((self.folder / "experiments.yaml").read_text())
        return found

    def params_of(self, name: str, run: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """params.yaml of a run: the benchmark's own sections, and one entry of `train:` or `fuse:`.

        The entry is that of the root's params.yaml, or the one of the benchmark's that ``entry`` names, with the keys
        of ``set``.
        """
        root, own = (yaml.safe_load((place / "params.yaml").read_text()) for place in (ROOT, self.folder))
        out = {key: own[key] for key in ("balance", "evaluate")}
        out["balance"] = merged(out["balance"], run.get("balance", {}))
        changes = {**run.get("set", {}), "seed": seed}
        if "fuse" in run:
            base, sees, section = root["fuse"]["all"], run["fuse"], "fuse"
        else:
            base = own["train"][run["entry"]] if "entry" in run else root["train"]["defaults"]
            sees, section = run["modalities"], "train"
        return out | {section: {name: merged(base, {**changes, "modalities": sees})}}

    def psface(self, *arguments: str | Path) -> None:
        """A command in the workspace."""
        code = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self.call(["-c", COMMAND, *arguments], env=os.environ | code)

    def call(self, arguments: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Python in the workspace; where it fails, its own words on standard error have said why, and all ends."""
        command = [sys.executable, *map(str, arguments)]
        if failed := subprocess.run(command, cwd=self.folder, env=env, check=False).returncode:
            sys.exit(failed)

    def splits_of(self, params: Path, run: Mapping[str, Any]) -> Path:
        """The benchmark's splits, or those that a run's own balancing gives of the same subjects."""
        if "balance" not in run:
            return Path("data/splits.parquet")
        name = params.parent.name
        splits = Path("data") / f"splits-{name}.parquet"  # made anew, since its sessions or parameters may have changed
        self.psface("balance", "--params", params, "--out", splits, "--summary", Path("data") / f"balance-{name}")
        return splits

    def work(self, name: str, run: Mapping[str, Any], seed: int, text: str) -> None:
        """Train or fuse a run, and score it."""
        folder = self.place(seed, name)
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        goes_on = self._was_begun(folder, text)
        write_atomic(self.folder / folder / "params.yaml", lambda path: path.write_text(text))
        minutes = self.fit_and_score(name, run, seed, folder)
        done = {"params": text, "minutes": None if goes_on else round(minutes, 2)}
        write_atomic(self.folder / folder / "done.json", lambda path: path.write_text(json.dumps(done)))

    def fit_and_score(self, name: str, run: Mapping[str, Any], seed: int, folder: Path) -> float:
        """Train or fuse a run, and score it; how many minutes the training took."""
        params = folder / "params.yaml"
        splits, start = self.splits_of(params, run), time.monotonic()
        fitting = ["fuse", name, "--runs", folder.parent] if "fuse" in run else ["train", name]
        self.psface(*fitting, "--params", params, "--splits", splits, "--output", folder / "train")
        minutes = (time.monotonic() - start) / 60
        self.evaluate(name, folder, "evaluate", {"splits": splits})
        return minutes

    def _was_begun(self, folder: Path, text: str) -> bool:
        """Whether a run of the same parameters was stopped before its end: what it took until then is not known."""
        params = self.folder / folder / "params.yaml"
        return params.exists() and params.read_text() == text and not (self.folder / folder / "done.json").exists()

    def evaluate(self, name: str, folder: Path, output: str, tables: Mapping[str, Path]) -> None:
        """Score a run on the benchmark's faces, or on others'."""
        options = [part for key, path in tables.items() for part in (f"--{key}", path)]
        weights, params = folder / "train", folder / "params.yaml"
        self.psface("evaluate", name, "--weights", weights, "--params", params, "--output", folder / output, *options)

    def is_done(self, name: str, run: Mapping[str, Any], seed: int, text: str) -> bool:
        """Whether a run's results are there, by the same parameters and of the same branches."""
        path = self.folder / self.place(seed, name) / "done.json"
        if not path.exists() or json.loads(path.read_text())["params"] != text:
            return False
        branches = [path.parent.parent / branch / "done.json" for branch in self.branches_of(run)]
        return not any(each.exists() and each.stat().st_mtime_ns > path.stat().st_mtime_ns for each in branches)

    def branches_of(self, run: Mapping[str, Any]) -> list[str]:
        """The runs that a run is made of."""
        return list(run.get("fuse", ()))

    def score_more(self, name: str, seed: int) -> None:
        """Score a run that is done on what else there is."""

    def run_rows(self, run: Path) -> Iterator[dict[str, Any]]:
        """The rates of a run's folder."""
        yield from run_rows(run)

    def difference_rows(self, first: Path, second: Path) -> Iterator[dict[str, Any]]:
        """Paired differences of two runs' folders, first minus second."""
        yield from difference_rows(first, second)

    def compared_rows(self, first: Path, second: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """All that compares two runs' folders, each row with the sign that stands between their names."""
        yield from (("-", row) for row in self.difference_rows(first, second))

    def rows(self, compared: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """A row a rate of every run that is done, and of the differences of those that are compared."""
        found = []
        for path in sorted(self.folder.glob("runs/*/*/*/done.json")):
            folder = path.parent
            device, seed, name = folder.parts[-3:]
            whose = {"seed": int(seed), "device": device}
            minutes = json.loads(path.read_text())["minutes"]
            taken = [] if minutes is None else [{"metric": "training.minutes", "value": minutes}]
            found += [{"run": name, **whose, **row} for row in (*self.run_rows(folder), *taken)]
            for other in compared.get(name, ()):
                if (folder.parent / other / "done.json").exists():
                    gaps = self.compared_rows(folder, folder.parent / other)
                    found += [{"run": f"{name} {sign} {other}", **whose, **row} for sign, row in gaps]
        return found

    def write_table(self) -> None:
        """The table of all rates of the runs that are done."""
        write_csv(self.results, pd.DataFrame(self.rows(self.listed()["compare"]), columns=COLUMNS))
        print(f"wrote {self.results.relative_to(ROOT)}", flush=True)

    def main(self, description: str | None) -> None:
        """The script's command line."""
        options = self._options(description)
        jobs = [] if options.table else list(self._asked_for(options.runs, options.seeds))
        if options.list:
            for job in jobs:
                print(f"{job.seed}  {job.name:20s} {'done' if self.is_done(*job) else 'to do'}")
            return
        if options.jobs > 1:  # psface asks for no more threads than these
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CORES // options.jobs)))
        self.make(jobs, options.jobs)
        self.write_table()

    def _asked_for(self, runs: Sequence[str], seeds: Sequence[int] | None) -> Iterator[Job]:
        """The runs that are to be there, seed by seed."""
        listed = self.listed()
        for seed in seeds or listed["seeds"]:
            for name, run in listed["runs"].items():
                if (not runs or name in runs) and (seeds or seed in run.get("seeds", listed["seeds"])):
                    yield Job(name, run, seed, yaml.safe_dump(self.params_of(name, run, seed), sort_keys=False))

    def make(self, jobs: Sequence[Job], at_once: int) -> None:
        """Make what is not done, so many at once.

        A fusion waits for its branches, and what psface does once at a time in a workspace is not begun twice. Where
        one fails, those that were begun come to their end.
        """
        waiting, running = list(jobs), dict[Future[None], Job]()
        with ThreadPoolExecutor(at_once) as pool:
            while waiting or running:
                for job in list(waiting):
                    if len(running) < at_once and self._may_begin(job, waiting, running.values()):
                        waiting.remove(job)
                        running[pool.submit(self._make, job)] = job
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[ended]
                    ended.result()  # raises what the run raised

    def _may_begin(self, job: Job, waiting: Iterable[Job], running: Collection[Job]) -> bool:
        branches = {(branch, job.seed) for branch in self.branches_of(job.run)}
        if branches & {(other.name, other.seed) for other in (*waiting, *running)}:
            return False
        alone = "balance" in job.run and any("balance" in other.run for other in running)
        return not alone and all(other.name != job.name for other in running)

    def _make(self, job: Job) -> None:
        """Train and score a run where that is not done."""
        if not self.is_done(*job):
            print(f"=== {job.name}, seed {job.seed}", flush=True)
            self.work(*job)
        self.score_more(job.name, job.seed)

    def _options(self, description: str | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("runs", nargs="*", metavar="RUN", help="of experiments.yaml  [default: all]")
        parser.add_argument("--seeds", type=int, nargs="*", help="[default: those of experiments.yaml]")
        parser.add_argument("--jobs", type=int, default=JOBS, metavar="N",
                            help="runs at once, each on its share of the cores  [default: %(default)s]")  # fmt: skip
        parser.add_argument("--list", action="store_true", help="say which runs are done and which are to do")
        parser.add_argument("--table", action="store_true", help="train nothing: write the table of what is done")
        options = parser.parse_args()
        unknown = sorted(set(options.runs) - set(self.listed()["runs"]))
        if unknown:
            parser.error(f"no run `{unknown[0]}` in experiments.yaml; there are {', '.join(self.listed()['runs'])}")
        if options.jobs < 1:
            parser.error(f"--jobs {options.jobs}: give 1 or more")
        if not (self.folder / "data" / "splits.parquet").exists():
            parser.error(f"{self.folder.relative_to(ROOT)}/data is missing: {self.made_by}")
        return options
