"""What balance costs on the labels of Photoface: sessions and subjects kept by minimum share, and the seconds it takes.

    python benchmarks/balance.py METADATA.csv

docs/balance.md quotes its tables. Of the 3,159 labelled sessions those of good quality, unoccluded, pose 1 to 3 count.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.attributes import ATTRIBUTES
from stages.balance.program import Problem, undersample
from stages.balance.summary import cost

COLUMNS = {"Gender": "gender", "Spectacles": "spectacles", "Facial_Hair": "facial_hair", "Pose": "pose",
           "Emotion": "expression"}  # fmt: skip
SEED, TIME_LIMIT = 7, 60.0


def problem(table: pd.DataFrame, *, cap: int, floor: int, pose: bool) -> Problem:
    """The whole of Photoface as one training split."""
    names = {column: name for column, name in COLUMNS.items() if pose or name != "pose"}
    codes = [[ATTRIBUTES[name].code(word) for word in table[column]] for column, name in names.items()]
    labels = [ATTRIBUTES[name].to_binary(np.array(c)) for name, c in zip(names.values(), codes, strict=True)]
    subjects = np.unique(table["id"].to_numpy(str), return_inverse=True)[1]
    return Problem(subjects, np.stack(labels, axis=1), tuple(names.values()), cap=cap, floor=floor)


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("metadata", type=Path, help="metadata.csv of Photoface")
    path = parser.parse_args().metadata
    if not path.is_file():
        parser.error(f"{path}: no such file")
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    table = table[(table["Quality"] == "ok") & (table["Occlusion"] == "") & table["Pose"].isin(["1", "2", "3"])]
    start = time.perf_counter()
    print(cost(problem(table, cap=20, floor=2, pose=False), seed=SEED, time_limit=TIME_LIMIT).to_string(index=False))
    print(f"{time.perf_counter() - start:.1f} s for both methods and all shares\n")
    print("all five attributes, pose too, at one half:")
    for cap, floor in ((len(table), 1), (4, 1), (len(table), 2)):
        whole = problem(table, cap=cap, floor=floor, pose=True)
        kept = undersample(whole, 0.5, order=np.arange(len(table)), time_limit=TIME_LIMIT).keep
        print(f"  at least {floor} and at most {cap} a subject: {kept.sum()} of {len(table)} sessions")


if __name__ == "__main__":
    main()
