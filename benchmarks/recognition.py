"""The recognition benchmark: trains and scores every run of recipes/recognition/experiments.yaml, one by one.

    make benchmark-data                                    # once
    python benchmarks/recognition.py [RUN ...] [--seeds 7] # all runs, seed by seed; or some
    python benchmarks/recognition.py --list

Each run is the real commands (`psface balance`, `train`, `fuse`, `evaluate`) on a params.yaml of its own, kept beside
its results in recipes/recognition/runs/SEED/RUN. A run whose results are there and whose parameters are the same is
left alone, unless a run that it fuses has been trained since; one that was stopped goes on. After each,
docs/results/recognition.csv is written anew from all results (recognition_rows.py), with the paired differences of the
runs that experiments.yaml compares. After `make yale` some are also scored on the real faces (`yale.` before their
metrics).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.recognition_rows import COLUMNS, difference_rows, run_rows
from pipeline.tables import write_atomic, write_csv

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "recognition"
REAL = ROOT / "recipes" / "yale"
RESULTS = ROOT / "docs" / "results" / "recognition.csv"

MINUTES = 8.0  # of training, that the thesis's recipe has


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A section with changes: a map changes the keys it names, unless it names another loss; null empties a map."""
    out = dict(base)
    for key, value in changes.items():
        before = out.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        other = both and "loss" in value and value["loss"] != before["loss"]
        out[key] = {**before, **value} if both and not other else {} if value is None else value
    return out


def params_of(name: str, run: Mapping[str, Any], seed: int, root: Mapping[str, Any], own: Mapping[str, Any]) -> dict:
    """params.yaml of a run: the benchmark's own sections, and one entry of `train:` or `fuse:`, or the thesis's."""
    out = {key: own[key] for key in ("balance", "evaluate")}
    out["balance"] = merged(out["balance"], run.get("balance", {}))
    changes = {**run.get("set", {}), "seed": seed}
    if "thesis" in run:
        return out | {"thesis": {"name": run["thesis"], "minutes": MINUTES, "seed": seed}}
    if "fuse" in run:
        base = root["fuse"]["all"]
        out["fuse"] = {name: merged(base, {**changes, "modalities": run["fuse"]})}
    else:
        base = root["train"]["defaults"]
        out["train"] = {name: merged(base, {**changes, "modalities": run["modalities"]})}
    return out


def psface(*arguments: str | Path) -> None:
    """A command in the recipe's folder; its own words on standard error say what went wrong."""
    subprocess.run([Path(sys.executable).with_name("psface"), *map(str, arguments)], cwd=RECIPE, check=True)


def splits_of(params: Path, run: Mapping[str, Any]) -> Path:
    """The benchmark's splits, or those that a run's own balancing gives of the same subjects."""
    if "balance" not in run:
        return Path("data/splits.parquet")
    name = "-".join(str(value) for value in run["balance"].values())
    splits = Path("data") / f"splits-{name}.parquet"  # made anew, since its sessions or parameters may have changed
    psface("balance", "--params", params, "--out", splits, "--summary", Path("data") / f"balance-{name}")
    return splits


def work(name: str, run: Mapping[str, Any], seed: int, text: str) -> None:
    """Train or fuse a run, and score it."""
    folder = Path("runs") / str(seed) / name
    params = folder / "params.yaml"
    (RECIPE / folder).mkdir(parents=True, exist_ok=True)
    goes_on = was_begun(folder, text)
    shutil.rmtree(RECIPE / folder / "yale", ignore_errors=True)
    write_atomic(RECIPE / params, lambda path: path.write_text(text))
    start = time.monotonic()
    if "thesis" in run:
        thesis = [sys.executable, ROOT / "benchmarks" / "thesis.py", run["thesis"], "--seed", str(seed)]
        subprocess.run([*thesis, "--minutes", str(MINUTES), "--params", params], cwd=RECIPE, check=True)
        taken = MINUTES
    else:
        splits = splits_of(params, run)
        fitting = ["fuse", name, "--runs", folder.parent] if "fuse" in run else ["train", name]
        psface(*fitting, "--params", params, "--splits", splits, "--output", folder / "train")
        taken = (time.monotonic() - start) / 60
        evaluate(name, folder, "evaluate", {"splits": splits})
    done = {"params": text, "minutes": None if goes_on else round(taken, 2)}
    write_atomic(RECIPE / folder / "done.json", lambda path: path.write_text(json.dumps(done)))


def was_begun(folder: Path, text: str) -> bool:
    """Whether a run of the same parameters was stopped before its end: what it took until then is not known."""
    params = RECIPE / folder / "params.yaml"
    return params.exists() and params.read_text() == text and not (RECIPE / folder / "done.json").exists()


def evaluate(name: str, folder: Path, output: str, tables: Mapping[str, Path]) -> None:
    """Score a run on the benchmark's faces, or on others'."""
    options = [part for key, path in tables.items() for part in (f"--{key}", path)]
    weights, params = folder / "train", folder / "params.yaml"
    psface("evaluate", name, "--weights", weights, "--params", params, "--output", folder / output, *options)


def score_yale(name: str, seed: int) -> None:
    """Score a run on the real faces."""
    data = REAL / "data"
    tables = {"faces": data / "faces"} | {key: data / f"{key}.parquet" for key in ("sessions", "splits", "quality")}
    evaluate(name, Path("runs") / str(seed) / name, "yale", tables)


def is_done(name: str, run: Mapping[str, Any], seed: int, text: str) -> bool:
    """Whether a run's results are there, by the same parameters and of the same branches."""
    runs = RECIPE / "runs" / str(seed)
    path = runs / name / "done.json"
    if not path.exists() or json.loads(path.read_text())["params"] != text:
        return False
    branches = [runs / branch / "done.json" for branch in branches_of(run)]
    return not any(each.exists() and each.stat().st_mtime_ns > path.stat().st_mtime_ns for each in branches)


def branches_of(run: Mapping[str, Any]) -> list[str]:
    """The runs that a run is made of."""
    joined = run.get("thesis", "").split("+")
    return list(run.get("fuse", ())) + ([f"thesis-{modality}" for modality in joined] if len(joined) > 1 else [])


def lacks_yale(name: str, seed: int) -> bool:
    """Whether a run is to be scored on the real faces: they are there, its scores are not."""
    scored = RECIPE / "runs" / str(seed) / name / "yale" / "embeddings.npz"
    return (REAL / "data" / "splits.parquet").exists() and not scored.exists()


def rows(compared: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """A row a rate of every run that is done, and of the differences of those that are compared."""
    found = []
    for path in sorted(RECIPE.glob("runs/*/*/done.json")):
        folder, name, seed = path.parent, path.parent.name, int(path.parts[-3])
        minutes = json.loads(path.read_text())["minutes"]
        taken = [] if minutes is None else [{"metric": "training.minutes", "value": minutes}]
        found += [{"run": name, "seed": seed, **row} for row in (*run_rows(folder), *taken)]
        for other in compared.get(name, ()):
            if (folder.parent / other / "done.json").exists():
                gaps = difference_rows(folder, folder.parent / other)
                found += [{"run": f"{name} - {other}", "seed": seed, **row} for row in gaps]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="of experiments.yaml  [default: all]")
    parser.add_argument("--seeds", type=int, nargs="*", help="[default: those of experiments.yaml]")
    parser.add_argument("--list", action="store_true", help="say which runs are done and which are to do")
    options = parser.parse_args()
    listed = yaml.safe_load((RECIPE / "experiments.yaml").read_text())
    unknown = sorted(set(options.runs) - set(listed["runs"]))
    if unknown:
        parser.error(f"no run `{unknown[0]}` in experiments.yaml; there are {', '.join(listed['runs'])}")
    if not (RECIPE / "data" / "splits.parquet").exists():
        parser.error("recipes/recognition/data is missing: make benchmark-data")
    root, own = (yaml.safe_load((folder / "params.yaml").read_text()) for folder in (ROOT, RECIPE))
    for seed in options.seeds or listed["seeds"]:
        for name, run in listed["runs"].items():
            if options.runs and name not in options.runs:
                continue
            text = yaml.safe_dump(params_of(name, run, seed, root, own), sort_keys=False)
            done = is_done(name, run, seed, text)
            if options.list:
                print(f"{seed}  {name:20s} {'done' if done else 'to do'}")
                continue
            if not done:
                print(f"=== {name}, seed {seed}", flush=True)
                work(name, run, seed, text)
            real = name in listed["yale"] and lacks_yale(name, seed)
            if real:
                print(f"=== {name}, seed {seed}: the real faces", flush=True)
                score_yale(name, seed)
            if real or not done:
                write_csv(RESULTS, pd.DataFrame(rows(listed["compare"]), columns=COLUMNS))
    if not options.list:
        print(f"wrote {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
