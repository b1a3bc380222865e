"""A fabricated workspace with ages, a recogniser that tells them, and the truth of some test subjects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from agedfaces import enlarge, make_seeing, write_params

from pipeline.faces import Faces
from pipeline.sessions import truth_id
from pipeline.tables import write_parquet


@pytest.fixture
def ready(fabricate: Callable[..., Path]) -> Path:
    """Faces of 64 px of people from 3 to 80, split by subjects; recognisers `seeing` and `judge` of frames."""
    root = fabricate()
    enlarge(Path("data/faces"))
    split = pd.read_parquet("data/splits.parquet")
    number = split["subject"].astype(int) - 1001
    split["split"] = np.select([number < 14, number < 20], ["train", "validation"], "test")
    write_parquet("data/splits.parquet", split)
    sessions = pd.read_parquet("data/sessions.parquet")
    sessions["age"] = np.random.default_rng(5).permutation(np.linspace(3, 80, len(sessions)))
    write_parquet("data/sessions.parquet", sessions)
    make_seeing(Path("runs/seeing/train"), "frame")
    make_seeing(Path("runs/judge/train"), "frame", seed=1)
    write_params()
    return root


@pytest.fixture
def truths(ready: Path) -> Path:
    """Four sessions of two test subjects at 8 and at 65 years each, made of the packed faces."""
    packed = Faces("data/faces")
    names = [f"{subject}/{visit}" for subject in ("1021", "1022") for visit in (0, 1)]
    rows = packed.rows_for(names).repeat(2)
    ids = [truth_id(name, years) for name in names for years in (8, 65)]
    folder = Path("data/truths-faces")
    folder.mkdir()
    for path in Path("data/faces").glob("*.npy"):
        np.save(folder / path.name, np.load(path)[rows])
    table = pd.DataFrame({"session": ids, "subject": [name.split("/")[0] for name in ids], "row": range(len(ids))})
    write_parquet(folder / "index.parquet", table.assign(reason="", frame=0))
    write_parquet("data/truths.parquet", table.rename(columns={"session": "id"})[["id", "subject"]])
    return ready
