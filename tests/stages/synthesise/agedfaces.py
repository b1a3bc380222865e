"""Faces large enough for a discriminator, recognisers that nothing has trained, parameters of a small synthesis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from models import create_model
from pipeline.contract import Contract, Network, save_run
from pipeline.faces import PREPROCESSING

SIDE, GROUPS = 64, 4
CHANNELS = {"frame": 1, "normal": 3, "depth": 1}
TINY = {"recogniser": "seeing", "steps": 6, "batch": 4, "filters": 4, "width": 8, "precision": "32", "lr": 0.001}


def enlarge(folder: Path) -> None:
    """The packed faces at twice their size."""
    for path in folder.glob("*.npy"):
        np.save(path, np.load(path).repeat(2, axis=1).repeat(2, axis=2))


def make_seeing(folder: Path, *modalities: str, seed: int = 0, **attributes: int) -> None:
    """An untrained recogniser that tells the age in four groups, or other attributes."""
    told = attributes or {"age": 101}
    channels = {name: CHANNELS[name] for name in modalities}
    kwargs: dict[str, Any] = {"channels": channels, "size": SIDE, "attributes": told, "width": 8, "dimension": 16}
    kwargs |= {"age_groups": GROUPS} if "age" in told else {}
    contract = Contract(
        run="seeing",
        modalities=list(modalities),
        size=SIDE,
        channels=channels,
        normalisation={name: PREPROCESSING[name] for name in modalities},
        network=Network(name="iresnet18", kwargs=kwargs),
        attributes=told,
    )
    torch.manual_seed(seed)
    save_run(folder, contract, create_model("iresnet18", **kwargs).state_dict())


def write_params(**changes: Any) -> None:
    """Parameters of the run `aged`."""
    Path("params.yaml").write_text(yaml.safe_dump({"synthesise": {"aged": {**TINY, **changes}}}))
