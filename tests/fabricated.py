"""A fabricated workspace: packed faces with a weak sign of identity, splits, and networks that nothing has trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from models import create_model
from pipeline.contract import Contract, Network, save_run
from pipeline.faces import PREPROCESSING
from pipeline.sessions import Session, write_sessions
from pipeline.tables import write_json, write_parquet

SIZE = 32
CHANNELS = {"albedo": 1, "normal": 3, "depth": 1, "frame": 1, "frames": 4}
LIGHTS = np.array([[0.5, 0, 0.866], [0, 0.5, 0.866], [-0.5, 0, 0.866], [0, -0.5, 0.866]])


def make_sessions(subjects: int, each: int, *, labelled: bool = True, rigs: tuple[str, ...] = ("near", "wide")):
    """Sessions that alternate between the rigs."""
    rng = np.random.default_rng(1)
    return [
        Session(
            id=f"{1001 + s}/{v}",
            subject=str(1001 + s),
            session=str(v),
            rig=rigs[v % len(rigs)],
            frames=tuple(f"data/simulated/{1001 + s}/{v}/im{i}.bmp" for i in range(4)),
            lights=LIGHTS,
            strengths=np.ones(4),
            gender=s % 2 if labelled else -1,
            spectacles=int(rng.integers(2)) if labelled else -1,
            facial_hair=int(rng.integers(5)) if labelled else -1,
            pose=0 if labelled else -1,
            expression=int(rng.integers(4)) if labelled else -1,
        )
        for s in range(subjects)
        for v in range(each)
    ]


def make_faces(folder: Path, sessions: list[Session], *, lost: int = 0) -> None:
    """Packed faces of all sessions; the first `lost` have none."""
    rng = np.random.default_rng(2)
    kept = sessions[lost:]
    _, code = np.unique([s.subject for s in kept], return_inverse=True)
    folder.mkdir(parents=True)
    for modality, channels in CHANNELS.items():
        shape = (SIZE, SIZE, channels)
        identity, noise = rng.normal(size=(code.max() + 1, *shape)), rng.normal(size=(len(kept), *shape))
        values = identity[code] + 2 * noise
        if modality == "normal":
            values /= np.linalg.norm(values, axis=-1, keepdims=True)
        elif modality != "depth":
            values = np.clip(0.5 + 0.1 * values, 0, 1)
        np.save(folder / f"{modality}.npy", values.astype(np.float16))
    np.save(folder / "mask.npy", np.ones((len(kept), SIZE, SIZE), dtype=np.uint8))
    index = pd.DataFrame({"session": [s.id for s in sessions], "subject": [s.subject for s in sessions]})
    index["row"] = [-1] * lost + list(range(len(kept)))
    index["reason"] = ["no face found"] * lost + [""] * len(kept)
    write_parquet(folder / "index.parquet", index)


def make_run(folder: Path, run: str, modality: str, **changes: object) -> Contract:
    """An untrained run."""
    torch.manual_seed(3)
    attributes = {"spectacles": 2, "pose": 2, "gender": 2}
    arguments = {"channels": {modality: CHANNELS[modality]}, "size": SIZE, "attributes": attributes}
    network = Network(name="iresnet18", kwargs={**arguments, "width": 4, "dimension": 16})
    contract = Contract(
        run=run,
        modalities=[modality],
        size=SIZE,
        channels={modality: CHANNELS[modality]},
        normalisation={modality: PREPROCESSING[modality]},
        network=network,
        attributes=attributes,
    )
    save_run(folder, contract, create_model(network.name, **network.kwargs).state_dict())
    if changes:
        write_json(folder / "contract.json", {**contract.model_dump(mode="json"), **changes})
    return contract


def fill_workspace(*, labelled: bool = True, rigs: tuple[str, ...] = ("near", "wide"), lost: int = 0) -> None:
    """Make the current folder a workspace up to the runs `normal` and `frames`, trained not at all."""
    sessions = make_sessions(24, 4, labelled=labelled, rigs=rigs)
    write_sessions("data/sessions.parquet", sessions)
    make_faces(Path("data/faces"), sessions, lost=lost)
    split = pd.DataFrame({"session": [s.id for s in sessions], "subject": [s.subject for s in sessions]})
    write_parquet("data/splits.parquet", split.assign(split="test", keep=True, weight=1.0, role="probe"))
    for run in ("normal", "frames"):
        make_run(Path("runs", run, "train"), run, run)
    Path("params.yaml").write_text("evaluate: {resamples: 100}\nreport: {resamples: 100, examples: 2}\n")
