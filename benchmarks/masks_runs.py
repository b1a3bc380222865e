"""Trains and scores the runs of recipes/mask/experiments.yaml: networks that know of masks, and their twins.

    make mask-data                                                       # once
    python benchmarks/masks_runs.py [FAMILY[.WHAT] ...] [--seeds 7]      # all, seed by seed; or some: mtarcface.normal
    python benchmarks/masks_runs.py --list
    python benchmarks/masks_runs.py --rows                               # docs/results/masks.csv from what is done

Each run is the real commands (`psface train`, `fuse`, `evaluate`) on a params.yaml of its own, kept beside its results
in recipes/mask/runs/SEED/FAMILY/WHAT. A run whose results are there by the same parameters is left alone; one that was
stopped goes on. Runs share nothing but the faces, so that several processes may each make some; only a fusion waits for
its branches to be there. After `make mask-yale` each is also scored on painted real faces. At the end, or by --rows,
the results of all runs are written (masks_rows.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.runs import merged
from pipeline.tables import write_atomic, write_csv, write_parquet

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "mask"
REAL = ROOT / "recipes" / "mask-yale"
RESULTS = ROOT / "docs" / "results" / "masks.csv"
TABLE, PAINTED = "sessions.parquet", "masked/sessions.parquet"  # in the data of either
COMMAND = "from pipeline.cli import main; main()"  # where psface is not installed, its code still runs


def psface(*arguments: str | Path) -> None:
    """A command in the recipe's folder; its own words on standard error say what went wrong."""
    code = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", COMMAND, *map(str, arguments)], cwd=RECIPE, env=os.environ | code, check=True)


def params_of(name: str, family: Mapping[str, Any], sees: Sequence[str], seed: int, listed: Mapping[str, Any]) -> dict:
    """params.yaml of a run: one entry of `train:` or `fuse:`, and how it is scored."""
    root, own = (yaml.safe_load((folder / "params.yaml").read_text()) for folder in (ROOT, RECIPE))
    if len(sees) > 1:
        entry = merged(root["fuse"]["all"], {"seed": seed, "modalities": list(sees)})
        return {"evaluate": own["evaluate"], "fuse": {name: entry}}
    entry = merged(merged(root["train"]["defaults"], listed["base"]), family.get("set", {}))
    return {"evaluate": own["evaluate"], "train": {name: entry | {"seed": seed, "modalities": list(sees)}}}


def splits_of(family: Mapping[str, Any]) -> Path:
    """The recipe's splits; or the same with nobody masked in training and validation."""
    if not family.get("bare"):
        return Path("data/splits.parquet")
    path = RECIPE / "data" / "splits-bare.parquet"
    table = pd.read_parquet(RECIPE / "data" / "splits.parquet")
    worn = pd.read_parquet(RECIPE / "data" / "sessions.parquet").set_index("id")["mask"].loc[table["session"]] == 1
    table["keep"] &= ~(worn.to_numpy() & (table["split"] != "test").to_numpy())
    write_parquet(path, table)
    return path.relative_to(RECIPE)


def work(folder: Path, name: str, family: Mapping[str, Any], sees: Sequence[str], text: str) -> None:
    """Train or fuse a run, and score it."""
    params = folder / "params.yaml"
    (RECIPE / folder).mkdir(parents=True, exist_ok=True)
    goes_on = (RECIPE / params).exists() and (RECIPE / params).read_text() == text
    write_atomic(RECIPE / params, lambda path: path.write_text(text))
    start, splits = time.monotonic(), splits_of(family)
    fitting = ["fuse", name, "--runs", folder.parent] if len(sees) > 1 else ["train", name]
    psface(*fitting, "--params", params, "--splits", splits, "--output", folder / "train")
    minutes = (time.monotonic() - start) / 60
    evaluate(folder, name, "evaluate", Path("data"), TABLE)
    done = {"params": text, "minutes": None if goes_on else round(minutes, 2)}
    write_atomic(RECIPE / folder / "done.json", lambda path: path.write_text(json.dumps(done)))


def evaluate(folder: Path, name: str, output: str, data: Path, table: str) -> None:
    """Score a run on the faces of a workspace, whose sessions stand in a table of its data."""
    tables = {"sessions": table, "splits": "splits.parquet", "quality": "quality.parquet"}
    options = [part for key, file in tables.items() for part in (f"--{key}", data / file)]
    psface("evaluate", name, "--weights", folder / "train", "--params", folder / "params.yaml", "--output",
           folder / output, "--faces", data / "faces", *options)  # fmt: skip


def is_done(folder: Path, text: str) -> bool:
    """Whether a run's results are there, by the same parameters."""
    path = RECIPE / folder / "done.json"
    return path.exists() and json.loads(path.read_text())["params"] == text


def chosen(wanted: Sequence[str], listed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(family, what) of names such as ``mtarcface`` or ``mtarcface.normal``; of all, where none is named."""
    every = [(family, what) for family in listed["families"] for what in listed["sees"]]
    unknown = sorted(set(wanted) - {name for family, what in every for name in (family, f"{family}.{what}")})
    if unknown:
        families, sees = ", ".join(listed["families"]), ", ".join(listed["sees"])
        raise SystemExit(f"no run `{unknown[0]}`: families are {families}, and they see {sees}")
    return [(family, what) for family, what in every if not wanted or {family, f"{family}.{what}"} & set(wanted)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="FAMILY[.WHAT]", help="of experiments.yaml  [default: all]")
    parser.add_argument("--seeds", type=int, nargs="*", help="[default: those of experiments.yaml]")
    parser.add_argument("--list", action="store_true", help="say which runs are done and which are to do")
    parser.add_argument("--rows", action="store_true", help="train nothing: write the results of what is done")
    parser.add_argument("--no-rows", action="store_true", help="leave the results to another process")
    options = parser.parse_args()
    listed = yaml.safe_load((RECIPE / "experiments.yaml").read_text())
    if not (RECIPE / "data" / "splits.parquet").exists():
        parser.error("recipes/mask/data is missing: make mask-data")
    runs = [(seed, *run) for seed in options.seeds or listed["seeds"] for run in chosen(options.runs, listed)]
    for seed, family, what in [] if options.rows else runs:
        folder, name = Path("runs") / str(seed) / family / what, f"{family}-{what}-{seed}"
        made_of = listed["families"][family] or {}
        text = yaml.safe_dump(params_of(name, made_of, listed["sees"][what], seed, listed), sort_keys=False)
        done = is_done(folder, text)
        if options.list:
            print(f"{seed}  {family}.{what:15s} {'done' if done else 'to do'}")
            continue
        if not done:
            print(f"=== {family}.{what}, seed {seed}", flush=True)
            work(folder, name, made_of, listed["sees"][what], text)
        if (REAL / "data" / "splits.parquet").exists() and (
            not done or not (RECIPE / folder / "yale" / "embeddings.npz").exists()
        ):
            evaluate(folder, name, "yale", Path("..") / REAL.name / "data", PAINTED)
    if not (options.list or options.no_rows):
        write_rows(listed)


def write_rows(listed: Mapping[str, Any]) -> None:
    """docs/results/masks.csv from the results of all runs that are done."""
    from benchmarks.masks_rows import COLUMNS, rows

    write_csv(
        RESULTS,
        pd.DataFrame(
            rows(RECIPE, {"evaluate": RECIPE / "data" / TABLE, "yale": REAL / "data" / PAINTED}, listed),
            columns=COLUMNS,
        ),
    )
    print(f"wrote {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
