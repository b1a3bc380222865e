"""How the data stages scale: wall time, memory and bytes with one process, with two, and over a Dask cluster of two.

    python benchmarks/scale.py [--sessions 500] [--params params.yaml] [--rounds 1] [--no-dask]

Each stage runs as its command, in workspaces of its own in a temporary folder, one way after the other; with several
rounds the fastest of each counts. Memory is the resident memory of all processes of the run together: its peak in each
quarter of the run's time, so that growth shows. Figures mean something on a quiet machine with two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

STAGES = {"simulate": ("simulated",), "reconstruct": ("maps", "quality.parquet"), "crop": ("faces",)}
VISITS = 5  # a subject
EVERYTHING = {"quality": ["ok", "blur", "dark"], "poses": [1, 2, 3, 4, 5], "occluded": True}
STEP = 0.2  # seconds between looks at the memory


@dataclass(frozen=True)
class Run:
    """Wall seconds of a run, and its peak memory in MiB in each quarter of them."""

    seconds: float
    quarters: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dask", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    ways = {"1 process": "1", "2 processes": "2"} | ({"Dask, 2 workers": "dask"} if options.dask else {})
    with tempfile.TemporaryDirectory() as folder:
        for way in ways:
            _workspace(Path(folder, way), options.params, options.sessions)
        print(f"{options.sessions} sessions, {os.cpu_count()} cores\n")
        print("| stage | way | seconds | times as fast | MiB in each quarter of the time | bytes as with 1 process |")
        print("|---|---|---|---|---|---|")
        for stage, outs in STAGES.items():
            best: dict[str, Run] = {}
            for _ in range(options.rounds):
                for way, jobs in ways.items():
                    with _cluster() if jobs == "dask" else contextlib.nullcontext(jobs) as given:
                        run = watch(Path(folder, way), stage, given)
                    best[way] = min(best.get(way, run), run, key=lambda r: r.seconds)
            expected = digest(Path(folder, "1 process", "data"), outs)
            for way, run in best.items():
                same = "yes" if digest(Path(folder, way, "data"), outs) == expected else "NO"
                ratio, memory = best["1 process"].seconds / run.seconds, " / ".join(map(str, run.quarters))
                print(f"| {stage} | {way} | {run.seconds:.1f} | {ratio:.2f} | {memory} | {same} |", flush=True)
            for way in ways:
                if stage == "simulate":
                    watch(Path(folder, way), "ingest", "1")


@contextlib.contextmanager
def _cluster() -> Iterator[str]:
    """A fresh cluster of two worker processes; its start is not part of a run's time."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=60) as cluster:
        yield cluster.scheduler_address


def _workspace(folder: Path, params: Path, sessions: int) -> None:
    """A workspace whose stages take as many sessions as are wanted, none filtered."""
    values = yaml.safe_load(params.read_text(encoding="utf-8"))
    values["simulate"] |= {"subjects": -(-sessions // VISITS), "sessions": min(VISITS, sessions)}
    values["ingest"] |= {"source": "photoface", "root": "data/simulated", **EVERYTHING}
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def watch(workspace: Path, stage: str, jobs: str) -> Run:
    """Run a stage to its end, looking at the memory of this process's offspring as it goes."""
    command = [Path(sys.executable).with_name("psface"), stage, "--jobs", jobs]
    looks: list[tuple[float, int]] = []
    log = workspace / "log"
    start = time.monotonic()
    with log.open("w") as output, subprocess.Popen(command, cwd=workspace, stdout=output, stderr=output) as process:
        while process.poll() is None:
            looks.append((time.monotonic() - start, resident()))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STEP)
        seconds = time.monotonic() - start
    if process.returncode:
        raise SystemExit(f"psface {stage} --jobs {jobs} ended with {process.returncode}: {log.read_text()[-1000:]}")
    quarter = seconds / 4
    peaks = [max((m for t, m in looks if i * quarter <= t < (i + 1) * quarter), default=0) for i in range(4)]
    return Run(seconds, [peak >> 20 for peak in peaks])


def resident() -> int:
    """Bytes of memory that all descendants of this process hold."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def digest(folder: Path, outs: tuple[str, ...]) -> str:
    """One hash of all files of a stage's outs, with their names."""
    files = sorted(file for out in outs for file in [folder / out, *(folder / out).rglob("*")] if file.is_file())
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.relative_to(folder).as_posix().encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


if __name__ == "__main__":
    main()
