"""Files that would leave a trace if anything in them were run: none is, and each payload is shown to be live."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import healthy
import numpy as np
import pytest
import torch
import yaml

from pipeline.errors import PsfaceError
from pipeline.faces import Faces
from pipeline.fitting import Checkpoint
from pipeline.images import read_frame
from pipeline.lights import read_lights_csv
from pipeline.params import Ingest, load
from pipeline.rig import read_rig
from stages.ingest.folder import read_folder
from stages.ingest.photoface import read_session
from stages.report.graph import read_stages
from stages.report.metrics import Metrics
from stages.report.runs import Run, read_json

TRACE = Path("trace")
SAID = "__import__('pathlib').Path('trace').touch()"  # to whoever evaluates a text
SHELL = "`touch trace`; $(touch trace)"
TAG = "!!python/object/apply:os.system ['touch trace']"


class Touch:
    """What leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (SAID,)


def objects() -> bytes:
    """An array of such objects, as numpy would pickle it."""
    file = io.BytesIO()
    np.save(file, np.array([Touch()], dtype=object), allow_pickle=True)
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    names = ("session", "subject", "rig", "embedding")
    np.savez(file, **dict.fromkeys(names, np.array([Touch()], dtype=object)))
    return file.getvalue()


def pickled_by_torch() -> bytes:
    file = io.BytesIO()
    torch.save({"weight": Touch()}, file)
    return file.getvalue()


@pytest.mark.parametrize("run", [
    lambda: pickle.loads(pickle.dumps(Touch())),
    lambda: np.load(io.BytesIO(objects()), allow_pickle=True),
    lambda: np.load(io.BytesIO(archive()), allow_pickle=True)["session"],
    lambda: torch.load(io.BytesIO(pickled_by_torch()), weights_only=False),
    lambda: yaml.load(TAG, Loader=yaml.UnsafeLoader),
    lambda: eval(SAID),
])  # fmt: skip
def test_the_payloads_are_live(workspace: Path, run: Callable[[], object]) -> None:
    run()
    assert TRACE.exists()


def run_of(weights: bytes | None = None, **kwargs: Any) -> Callable[[], object]:
    def read() -> object:
        healthy.run(Path())
        if weights is not None:
            Path("weights.safetensors").write_bytes(weights)
        contract = json.loads(Path("contract.json").read_text())
        contract["network"]["kwargs"] |= kwargs
        Path("contract.json").write_text(json.dumps(contract))
        from stages.evaluate.network import load_network

        return load_network(Path())

    return read


def after(name: str, content: str | bytes, read: Callable[[Path], object]) -> Callable[[], object]:
    def write() -> object:
        path = Path("a/b", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(path)

    return write


def evaluated(path: Path) -> Run:
    return Run("x", ("normal",), {}, None, None, path.parent, path.parent)  # type: ignore[arg-type]


CASES: dict[str, Callable[[], object]] = {
    "faces.npy": after("normal.npy", objects(), lambda p: Faces(p.parent).array("normal")),
    "mask.npy": after("mask.npy", objects(), lambda p: Faces(p.parent).mask()),
    "embeddings.npz": after("embeddings.npz", archive(), lambda p: evaluated(p).embeddings),
    "a pickle for .npz": after("embeddings.npz", pickle.dumps(Touch()), lambda p: evaluated(p).embeddings),
    "weights pickled": run_of(pickle.dumps(Touch())),
    "weights by torch": run_of(pickled_by_torch()),
    "a contract's argument": run_of(width=SAID),
    "a contract's other argument": run_of(**{SAID: 1}),
    "a checkpoint": after("last.pt", pickled_by_torch(), lambda p: Checkpoint(p).read()),
    "params.yaml with a tag": after("params.yaml", f"report: {TAG}\n", load),
    "params.yaml with a text": after("params.yaml", f'reconstruct: {{shadow: "{SAID}"}}\n', load),
    "dvc.yaml with a tag": after("dvc.yaml", f"stages: {TAG}\n", read_stages),
    "LightSource.m": after("LightSource.m", f"s = [{SAID} 2 3; system('touch trace') 4 5];\n!touch trace\n",
                           lambda p: read_session(p.parent)),
    "lights.csv": after("lights.csv", f'frame,x,y,z\na.png,"{SAID}",1,1\n', read_lights_csv),
    "lights.csv for a shell": after("lights.csv", f'frame,x,y,z\n"{SHELL}",1,1,1\n', read_lights_csv),
    "labels.csv": after("labels.csv", f'subject,age,gender\nb,"{SAID}","{SHELL}"\n',
                        lambda p: list(read_folder(p.parent, Ingest(source="folder", root="a")))),
    "rig.json": after("rig.json", json.dumps({"lights": [{"direction": [SAID, 0, 1]}] * 3}), read_rig),
    "metrics.json": after("metrics.json", json.dumps({"run": SAID}), lambda p: read_json(p, Metrics)),
    "a frame that is a pickle": after("im0.png", pickle.dumps(Touch()), read_frame),
    "a frame with a shell's name": after("$(touch trace).png", b"x", read_frame),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_nothing_in_a_file_is_run(workspace: Path, name: str) -> None:
    with suppress(PsfaceError, pickle.UnpicklingError):
        CASES[name]()
    assert not TRACE.exists()


def test_nothing_in_a_session_or_a_run_is_run_by_the_commands(data: Path, psface: Callable[..., Any]) -> None:
    for path in ("data/set/1001/first/metadataII.txt", "data/set/1001/first/metadata.txt"):
        Path(path).write_text(f"{SAID}, {SHELL}, {SAID}, 1, ok, , {SAID}\n")
    Path("data/set/1001/second/LightSource.m").write_text(f"% rig {SAID.replace(' ', '')}\ns = [{SAID}];")
    for verb in (("ingest",), ("reconstruct", "--jobs", "1"), ("check", "data/set")):
        psface(*verb)
    assert not TRACE.exists()
