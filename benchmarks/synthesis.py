"""Face age synthesis over several seeds: trains, judges, and writes the rows of docs/results/age.csv that are its own.

    cd recipes/fas && dvc repro faces balance crop           # once, after make aifr: its faces, and those of the truth
    python benchmarks/synthesis.py [--seeds 7 8 9] [--of maps frame] [--jobs 2]
    python benchmarks/synthesis.py --tune                    # selective fine-tuning too, of `maps` as --of says
    python benchmarks/synthesis.py --rows                    # the rows alone, of the runs that are there

Of each seed and kind of face: a recogniser and a judge (`psface train`), the generator and the one-hot baseline
(`psface synthesise`), and both before the judge (`psface judge`); and before a second one, who weighs the age more. By
recipes/fas/params.yaml with other seeds; people are seen at all their years.

Fine-tuning is tried where it could help, on people who are seen over few years, as recipes/aifr has them: a recogniser,
a generator and a network that picks, all of those faces alone; then the recogniser trained on, with the made faces that
the picker believes, with all, and with none (`psface select`, `train`; benchmarks/selective.py).

A run lies in recipes/fas/runs/DEVICE/SEED/NAME; what is there already is left alone, what was stopped goes on. What is
compared has one set of parameters: runs that were made by others are not gone on with, and have to be moved away first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.recognition_rows import COLUMNS, leaves
from benchmarks.runs import COMMAND, CORES, DEVICE, JOBS
from benchmarks.selective import compare
from pipeline.tables import write_csv, write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "fas"
PEOPLE, DATA = ROOT / "recipes" / "aifr" / "data", RECIPE / "data"
RESULTS = ROOT / "docs" / "results" / "age.csv"
SEEDS, KINDS = (7, 8, 9), ("maps", "frame")
JUDGES = 1000  # is added to a seed: nobody judges what was made before him
JUDGED = {"judge": "", "ages": "by_ages."}  # the judges, and how the metrics by each begin
AGES = 0.05  # weight of the age in the second judge: it reads ages better, and tells people apart worse
FEW = {"epochs": 40, "patience": 40}  # of people who are seen over few years: as long as recipes/aifr trains
TUNED = ("none", "all", "selective")  # made faces among the real ones
TUNING = {"epochs": 12, "patience": 12, "lr": 0.0005}


def place(seed: int) -> Path:
    """The folder of a seed's runs."""
    return RECIPE / "runs" / DEVICE / str(seed)


def params_of(seed: int) -> dict[str, Any]:
    """The recipe's parameters with other seeds."""
    values: dict[str, Any] = yaml.safe_load((RECIPE / "params.yaml").read_text(encoding="utf-8"))
    for name, entry in values["train"].items():
        entry["seed"] = seed + JUDGES * name.endswith("-judge")
    for entry in values["synthesise"].values():
        entry["seed"] = seed
    for kind in KINDS:
        seeing = {"modalities": [kind], **values["train"][kind]}
        values["train"][f"{kind}-ages"] = {**values["train"][f"{kind}-judge"], "attributes": {"age": AGES}}
        values["train"][f"{kind}-few"] = {**seeing, **FEW}
        values["train"][f"{kind}-picker"] = {**values["train"][f"{kind}-judge"], **FEW}
        values["synthesise"][f"{kind}-few"] = {**values["synthesise"][kind], "recogniser": f"{kind}-few"}
        tuned = {**seeing, **TUNING, "start": f"{kind}-few"}
        values["train"] |= {f"{kind}-{made}": {**tuned, "synthetic": made} for made in TUNED}
    return values


def begin(seed: int) -> None:
    """Write a seed's parameters, unless runs are there that others made."""
    path, wanted = place(seed) / "params.yaml", params_of(seed)
    before = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else wanted
    for names in (names for kind in KINDS for names in compared(kind)):
        there = [name for name in names if (place(seed) / name).exists()]
        changed = [f"{section}.{name}" for section in ("train", "synthesise") for name in names
                   if before[section].get(name) != wanted[section].get(name)]  # fmt: skip
        if there and changed:
            sys.exit(
                f"{place(seed)}: {changed[0]} has changed since these runs were made: move {', '.join(there)} away"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(wanted, sort_keys=False))


def compared(kind: str) -> tuple[list[str], list[str]]:
    """The runs that `work` makes and compares, and those of `tune`."""
    judged, tuned = ("-onehot", *(f"-{judge}" for judge in JUDGED)), ("-picker", *(f"-{made}" for made in TUNED))
    return [kind, *(kind + end for end in judged)], [f"{kind}-few", *(kind + end for end in tuned)]


def psface(folder: Path, done: Path, *arguments: str | Path) -> None:
    """A command in a seed's folder, unless what it writes is there; where it fails, it has said why, and all ends."""
    if (folder / done).exists():
        return
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    if failed := subprocess.run(command, cwd=folder, check=False, env={**os.environ, "PYTHONPATH": paths}).returncode:
        sys.exit(failed)


def tables(few: bool = False) -> dict[str, Path]:
    """Where the faces are; ``few``: training people over few years."""
    splits = PEOPLE / "splits.parquet" if few else DATA / "splits.parquet"
    return {"faces": DATA / "faces", "sessions": PEOPLE / "sessions.parquet", "splits": splits}


def options_of(of: dict[str, Path]) -> list[str | Path]:
    """Tables as a command's options."""
    return [part for name, path in of.items() for part in (f"--{name}", path)]


def train(folder: Path, name: str, data: list[str | Path], *options: str | Path) -> None:
    out = Path(name) / "train"
    psface(folder, out / "validation.json", "train", name, *data, *options, "--output", out)


def synthesise(folder: Path, name: str, recogniser: str, data: list[str | Path]) -> None:
    out, seeing = Path(name) / "synthesise", Path(recogniser) / "train"
    psface(folder, out / "validation.json", "synthesise", name, *data, "--recogniser", seeing, "--output", out)


def work(seed: int, kind: str) -> None:
    """Train and judge one seed's runs of one kind of face."""
    folder, data = place(seed), options_of(tables())
    for name in (kind, *(f"{kind}-{judge}" for judge in JUDGED)):
        train(folder, name, data)
    for name in (kind, f"{kind}-onehot"):
        synthesise(folder, name, kind, data)
    runs = ["--run", Path(kind) / "synthesise", "--against", Path(f"{kind}-onehot") / "synthesise"]
    truths = ["--truths", DATA / "truths.parquet", "--truths-faces", DATA / "truths-faces"]
    for judge in JUDGED:
        out, by = Path(kind) / judge, ["--judge", Path(f"{kind}-{judge}") / "train"]
        psface(folder, out / "metrics.json", "judge", kind, *by, *runs, *data, *truths, "--output", out)


def tune(seed: int, kind: str) -> None:
    """Train a seed's recogniser of people over few years on, with made faces and without, and compare."""
    folder, data = place(seed), options_of(tables(few=True))
    start, picker = f"{kind}-few", f"{kind}-picker"
    for name in (start, picker):
        train(folder, name, data)
    synthesise(folder, start, start, data)
    made = Path(start) / "made"
    judge = ["--judge", Path(picker) / "train", "--run", Path(start) / "synthesise"]
    psface(folder, made / "made.parquet", "select", start, *judge, *data, "--output", made)
    for name in (f"{kind}-{each}" for each in TUNED):
        train(folder, name, data, "--start", Path(start) / "train", "--made", made)
    runs = {name: folder / name / "train" for name in (start, *(f"{kind}-{each}" for each in TUNED))}
    against = [(f"{kind}-selective", f"{kind}-none"), (f"{kind}-selective", f"{kind}-all"),
               (f"{kind}-all", f"{kind}-none")]  # fmt: skip
    write_json(folder / start / "tuned" / "metrics.json", compare(runs, against, tables(few=True)))


def rows() -> Iterator[dict[str, Any]]:
    """A row a rate of every judged run, of its baseline, and of their difference."""
    judged = {judge: RECIPE.glob(f"runs/*/*/*/{judge}/metrics.json") for judge in JUDGED}
    for judge, path in ((judge, path) for judge, paths in judged.items() for path in sorted(paths)):
        device, seed, name = path.parts[-5:-2]
        found = json.loads(path.read_text(encoding="utf-8"))
        parts = {f"fas/{name}": found, f"fas/{name}-onehot": found.pop("against"),
                 f"fas/{name} - {name}-onehot": found.pop("difference")}  # fmt: skip
        for run, values in parts.items():
            whose = {"run": run, "seed": int(seed), "device": device}
            told = ({**row, "metric": JUDGED[judge] + row["metric"]} for row in leaves(values, "", {}))
            yield from ({**whose, **row} for row in told)
    for path in sorted(RECIPE.glob("runs/*/*/*/tuned/metrics.json")):
        device, seed = path.parts[-5:-3]
        for run, values in json.loads(path.read_text(encoding="utf-8")).items():
            whose = {"run": f"fas/{run}", "seed": int(seed), "device": device}
            yield from ({**whose, **row, "metric": f"gap.{row['metric']}"} for row in leaves(values, "", {}))


def write_rows(own: list[dict[str, Any]]) -> None:
    """Put the rows into docs/results/age.csv, in place of the earlier ones of these runs; others' stay."""
    table = pd.DataFrame(own, columns=COLUMNS)
    if RESULTS.exists():
        before = pd.read_csv(RESULTS)
        table = pd.concat([before[~before["run"].str.startswith("fas/")], table], ignore_index=True)
    write_csv(RESULTS, table)
    print(f"wrote {RESULTS.relative_to(ROOT)} ({len(own)} rows)", flush=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--of", nargs="*", default=KINDS, choices=KINDS, help="kinds of faces")
    parser.add_argument("--tune", action="store_true", help="selective fine-tuning too")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help="how many seeds and kinds at a time")
    parser.add_argument("--rows", action="store_true", help="write the rows alone")
    options = parser.parse_args(arguments)
    if not options.rows:
        for seed in options.seeds:
            begin(seed)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CORES // options.jobs)))
        parts = [work, tune] if options.tune else [work]
        make([(part, seed, kind) for part in parts for seed in options.seeds for kind in options.of], options.jobs)
    write_rows(list(rows()))


def make(tasks: Sequence[tuple[Callable[[int, str], None], int, str]], at_once: int) -> None:
    """Do what is asked of seeds and kinds; where one fails, those that were begun come to their end."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for begun in [pool.submit(part, seed, kind) for part, seed, kind in tasks]:
                begun.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


if __name__ == "__main__":
    main(sys.argv[1:])
