"""A tiny workspace that has run through to its results, and the harm that can come to what its later stages read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from fabricated import fill_workspace

from pipeline.cli import main
from pipeline.maps import Maps, write_maps
from pipeline.tables import write_csv, write_json, write_parquet

TRAIN = {"epochs": 1, "batch": 16, "width": 8, "dimension": 144, "precision": "32"}
FUSE = {"modalities": ["normal", "frames"], "epochs": 1, "views": 1, "batch": 16}
PARAMS = {
    "balance": {"seed": 7, "validation": 0.25, "test": 0.25, "method": "none", "attributes": []},
    "train": {"normal": TRAIN},
    "fuse": {"both": FUSE},
    "evaluate": {"resamples": 100},
    "report": {"resamples": 100, "examples": 1},
}
Harm = Callable[[Path], object]


def build() -> None:
    """Make the current folder a workspace: faces, splits, two runs, a fusion, and what a report is made of."""
    fill_workspace()
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))
    table = pd.read_parquet("data/splits.parquet")
    number = table["subject"].astype(int) - 1001
    write_parquet(
        "data/splits.parquet",
        table.assign(split=np.select([number < 14, number < 20], ["train", "validation"], "test")),
    )
    main(["fuse", "both"])
    for run in ("normal", "both"):
        main(["evaluate", run])
    write_json("runs/normal/train/validation.json", {"auc": 0.7})
    write_csv("runs/normal/train/history.csv", pd.DataFrame({"epoch": [1, 2], "validation_auc": [0.6, 0.7]}))
    height = np.hypot(*np.mgrid[-1:1:16j, -1:1:16j]).astype(np.float32)
    normal = np.zeros((16, 16, 3), np.float32)
    normal[..., 2] = 1
    write_maps("data/maps/1001/0.exr", Maps(normal, height, height, height < 1))
    write_csv("data/rejected.csv", pd.DataFrame([("9/1", "ingest", "empty")], columns=["session", "stage", "reason"]))
    write_parquet("data/quality.parquet", pd.DataFrame({"session": ["1001/0"], "residual": [0.1], "rejected": [""]}))
    classes = {"attribute": ["gender"], "class": ["female"], "before": [10], "after": [5.0], "before_share": [0.1]}
    write_csv("data/balance/before_after.csv", pd.DataFrame(classes).assign(after_share=0.25, validation=1, test=2))
    cost = {"minimum_share": [0.1], "sessions": [4], "subjects": [2], "sessions_random": [3], "subjects_random": [2]}
    write_csv("data/balance/cost.csv", pd.DataFrame(cost).assign(of_sessions=9, of_subjects=3))


ALL = None
READ: dict[tuple[str, ...], dict[str, tuple[str, ...] | None]] = {  # by command: what it reads, and which columns of it
    ("balance",): {"data/sessions.parquet": ("id", "gender"), "data/faces/index.parquet": ("session", "row")},
    ("train", "normal"): {
        "data/sessions.parquet": ("id", "gender"),
        "data/splits.parquet": ("session", "weight"),
        "data/faces/index.parquet": ("session", "row"),
        "data/faces/mask.npy": ALL,
        "data/faces/normal.npy": ALL,
    },
    ("fuse", "both"): {
        "data/splits.parquet": ("split",),
        "data/faces/frames.npy": ALL,
        "runs/normal/train/contract.json": ("modalities", "size", "channels", "network", "vocabulary"),
        "runs/frames/train/weights.safetensors": ALL,
    },
    ("evaluate", "both"): {
        "data/sessions.parquet": ("id", "rig"),
        "data/splits.parquet": ("subject",),
        "data/faces/normal.npy": ALL,
        "runs/both/train/contract.json": ("modalities", "size", "channels", "network"),
        "runs/both/train/weights.safetensors": ALL,
    },
    ("report",): {
        "data/sessions.parquet": ("id", "frames"),
        "data/faces/index.parquet": ("session", "row", "reason"),
        "data/quality.parquet": ("session", "rejected"),
        "data/rejected.csv": ("stage",),
        "data/balance/before_after.csv": ("attribute", "after"),
        "data/balance/cost.csv": ("sessions",),
        "data/maps/1001/0.exr": ALL,
        "runs/normal/evaluate/metrics.json": ("run", "verification", "attributes", "counts"),
        "runs/normal/evaluate/roc.csv": ("fmr", "tmr"),
        "runs/normal/evaluate/cmc.csv": ("rank",),
        "runs/normal/evaluate/embeddings.npz": ALL,
        "runs/normal/train/history.csv": ("epoch",),
        "runs/normal/train/validation.json": ALL,
    },
}
WRITTEN = {"balance": "data/splits.parquet", "train": "runs/normal/train", "fuse": "runs/both/train",
           "evaluate": "runs/both/evaluate", "report": "runs/report"}  # fmt: skip


def harms(path: Path, parts: tuple[str, ...] | None) -> Iterator[tuple[str, Harm]]:
    """Name and deed of all that may have happened to a file; ``parts`` are its columns or keys that matter, or all."""
    yield "cut in half", lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2])
    yield "empty", lambda p: p.write_bytes(b"")
    yield "noise", lambda p: p.write_bytes(np.random.default_rng(5).bytes(3000))
    yield "a folder", lambda p: (p.unlink(), p.mkdir())
    yield "another's", lambda p: shutil.copy("params.yaml", p)
    if path.suffix == ".parquet":
        yield from _tables(pd.read_parquet(path), write_parquet, parts)
    if path.suffix == ".csv":
        yield from _tables(pd.read_csv(path), write_csv, parts)
    if path.suffix in (".npy", ".npz"):
        yield from _arrays(path)
    if path.suffix == ".json":
        yield from _values(json.loads(path.read_text()), parts)


def _tables(
    table: pd.DataFrame, write: Callable[[Path, pd.DataFrame], Path], parts: tuple[str, ...] | None
) -> Iterator[tuple[str, Harm]]:
    yield "no rows", lambda p: write(p, table[:0])
    yield "rows twice", lambda p: write(p, pd.concat([table, table]))
    for name in parts or table.columns:
        yield f"no {name}", lambda p, name=name: write(p, table.drop(columns=name))
        yield f"words for {name}", lambda p, name=name: write(p, table.assign(**{name: "word"}))
        yield f"{name} unknown", lambda p, name=name: write(p, table.assign(**{name: None}))
        yield f"{name} beyond", lambda p, name=name: write(p, table.assign(**{name: 10**6}))


def _arrays(path: Path) -> Iterator[tuple[str, Harm]]:
    if path.suffix == ".npz":
        with np.load(path) as saved:
            parts = dict(saved)
        for name, array in parts.items():
            rest = {k: v for k, v in parts.items() if k != name}
            yield f"no {name}", lambda p, rest=rest: np.savez(p, **rest)
            yield f"half of {name}", lambda p, n=name, a=array: np.savez(p, **{**parts, n: a[: len(a) // 2]})
            yield f"objects for {name}", lambda p, n=name, a=array: np.savez(p, **{**parts, n: a.astype(object)})
        return
    array = np.load(path)
    yield "half of the faces", lambda p: np.save(p, array[: len(array) // 2])
    yield "another size", lambda p: np.save(p, array[:, :20])
    yield "one number", lambda p: np.save(p, np.float16(3))
    yield "words", lambda p: np.save(p, array.astype("U3"))
    yield "objects", lambda p: np.save(p, array[:2].astype(object))
    yield "no faces", lambda p: np.save(p, array[:0])
    if array.ndim == 4:
        yield "a channel too many", lambda p: np.save(p, np.concatenate([array, array[..., :1]], axis=-1))
        yield "NaN", lambda p: np.save(p, np.full_like(array, np.nan))


def _values(whole: Any, parts: tuple[str, ...] | None) -> Iterator[tuple[str, Harm]]:
    """Each key of the first two levels gone, or another kind of value."""
    yield "a list", lambda p: write_json(p, [1, 2])
    for key in parts or whole:
        value = whole[key]
        for inner in (None, *(value if isinstance(value, dict) else ())):
            name = key if inner is None else f"{key}.{inner}"

            def change(p: Path, new: Any, key: str = key, inner: str | None = inner) -> None:
                changed = json.loads(json.dumps(whole))
                at, last = (changed, key) if inner is None else (changed[key], inner)
                at.pop(last)
                if new is not None:
                    at[last] = new
                write_json(p, changed)

            yield f"no {name}", lambda p, change=change: change(p, None)
            yield f"{name} a word", lambda p, change=change: change(p, "word")
            yield f"{name} a number", lambda p, change=change: change(p, 10**9)
