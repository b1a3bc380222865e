"""A small training on the fabricated workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pipeline.tables import write_parquet

RUN = Path("runs/normal/train")
ATTRIBUTES = {"spectacles": 1.0, "facial_hair": 1.0, "expression": 1.0, "pose": 1.0, "gender": 1.0}
TINY = {"epochs": 2, "batch": 16, "width": 8, "dimension": 144, "precision": "32", "attributes": ATTRIBUTES}
VARIED = {
    "pk, triplets, learned weights": {
        "sampler": "pk",
        "identity": {"loss": "triplet", "margin": 0.3, "miner": "all"},
        "task_weights": "uncertainty",
    },
    "identities, ArcFace, cross-entropy": {
        "sampler": "identities",
        "identity": {"loss": "arcface", "scale": 16, "margin": 0.2},
        "attribute_loss": "cross_entropy",
        "weighted": False,
        "activation": "relu",
        "backbone": "resnet18",
    },
    "attributes, CosFace, no decomposition, an attribute absent": {
        "sampler": "attributes",
        "identity": {"loss": "cosface", "scale": 16, "margin": 0.2},
        "attention": "none",
        "attributes": {"gender": 1.0, "spectacles": 2.0},
        "adversaries": {},
    },
    "ages, and both kinds of adversary against them": {
        "sampler": "attributes",
        "identity": {"loss": "cosface", "scale": 16, "margin": 0.2},
        "attributes": {"age": 0.001, "gender": 1.0},
        "adversaries": {"age": 1.0},
        "age_groups": 4,
        "cross_age": 0.002,
    },
}


def prepare(**changes: Any) -> None:
    """Split the subjects of the workspace, and write parameters."""
    table = pd.read_parquet("data/splits.parquet")
    number = table["subject"].astype(int) - 1001
    table["split"] = np.select([number < 14, number < 20], ["train", "validation"], "test")
    table["keep"] = ~table["session"].isin(["1001/3"])
    write_parquet("data/splits.parquet", table)
    Path("params.yaml").write_text(yaml.safe_dump({"train": {"normal": {**TINY, **changes}, "frames": TINY}}))


def give_ages() -> None:
    """Ages from 3 to 80, of which every fifth is missing."""
    table = pd.read_parquet("data/sessions.parquet")
    years = np.linspace(3, 80, len(table))
    table["age"] = np.where(np.arange(len(table)) % 5 == 2, -1.0, years)
    write_parquet("data/sessions.parquet", table)
