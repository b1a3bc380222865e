"""Read files one after another in a process of its own, and say what became of each: `python probe.py LIST`.

A line of JSON before each file and one after it, so that whoever started this knows which file it died of. Memory is
bounded, and the interpreter's own audit events tell whether anything was run, written or unpickled.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

MEMORY = 6 << 30  # bytes of address space; what asks for more is a bomb
FORBIDDEN = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
             "socket.connect", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree", "exec", "compile")  # fmt: skip
MOST = 70_000.0  # times white: nothing read may be larger


def read_frame(path: Path) -> None:
    from pipeline.images import frame_size
    from pipeline.images import read_frame as read

    size = frame_size(path)
    image = read(path)
    assert image.dtype == np.float32
    assert image.ndim == 2
    assert min(image.shape) >= 1
    assert image.shape == size, f"{image.shape}, its header says {size}"
    assert np.isfinite(image).all()
    assert np.abs(image).max() <= MOST


def read_picture(path: Path) -> None:
    from stages.crop.detect import read_picture as read

    image = read(str(path))
    assert image.dtype in (np.uint8, np.float32)
    assert image.shape[2:] in ((), (3,))
    assert min(image.shape) >= 1


def read_maps(path: Path) -> None:
    from pipeline.maps import read_attributes
    from pipeline.maps import read_maps as read

    maps = read(path)
    assert maps.attributes.keys() == read_attributes(path).keys()
    assert all(np.isfinite(values).all() for values in (maps.normal, maps.albedo, maps.depth))
    assert np.allclose(np.linalg.norm(maps.normal[maps.mask], axis=-1), 1, atol=1e-4)
    assert (maps.albedo >= 0).all()
    assert maps.depth.shape == maps.albedo.shape == maps.mask.shape == maps.normal.shape[:2]
    assert max(np.abs(maps.depth).max(), maps.albedo.max()) <= 1e6


def read_photoface(path: Path) -> None:
    """A damaged LightSource.m or metadataII.txt in a session whose other files are whole."""
    from stages.ingest.photoface import read_session

    session = read_session(path.parent)
    _check_session(session)


def read_folder(path: Path) -> None:
    """A damaged lights.csv or labels.csv, in a data set that is otherwise whole."""
    from pipeline.params import Ingest
    from pipeline.sessions import Session
    from stages.ingest.folder import read_folder as read

    root = path.parent
    for item in read(root, Ingest(source="folder", root=str(root))):
        if isinstance(item, Session):
            _check_session(item)
        else:
            _check_text(item.reason if hasattr(item, "reason") else item.text, path)


def _check_session(session: Any) -> None:
    assert len(session.frames) == len(session.lights) == len(session.strengths) >= 3
    assert np.allclose(np.linalg.norm(session.lights, axis=1), 1)
    assert np.isfinite(session.strengths).all()
    assert (session.strengths > 0).all()
    assert -1 <= session.age < np.inf
    from pipeline.sessions import sessions_frame

    sessions_frame([session]).to_parquet(os.devnull)
    assert len(session.rig) < 200
    assert len(session.quality) < 200


def read_run(path: Path) -> None:
    """A damaged contract.json or weights.safetensors beside the other, whole one, and a face shown to the network."""
    import torch

    from pipeline.errors import UserError
    from stages.evaluate.network import embed_faces, load_network

    contract, network = load_network(path.parent)
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    try:
        embeddings, *_ = embed_faces(network, {name: torch.zeros(1, 3, 32, 32) for name in contract.modalities})
    except UserError as reason:  # of faces that are whole: it names the contract, which is what is wrong
        raise UserError(f"{path.name}: {reason}") from reason
    assert embeddings.shape[0] == 1


def read_table(path: Path) -> None:
    from pipeline.sessions import read_sessions

    for session in read_sessions(path):
        _check_session(session)
        assert ".." not in session.id.split("/")


def read_rig(path: Path) -> None:
    from pipeline.rig import read_rig as read

    found = read(path).lights_for(["a.png", "b.png", "c.png"])
    assert np.allclose(np.linalg.norm(found.directions, axis=1), 1)


def read_faces(path: Path) -> None:
    """A damaged normal.npy, depth.npy or mask.npy beside its whole siblings."""
    from pipeline.faces import Faces

    faces = Faces(path.parent)
    for modality in ("normal", "depth"):
        assert faces.array(modality).shape[:3] == faces.mask().shape
    assert len(faces.rows_for(["a", "c"])) == 2


def read_results(path: Path) -> None:
    """A damaged metrics.json or embeddings.npz of a run."""
    from stages.report.metrics import Metrics
    from stages.report.runs import Run, read_json

    if path.suffix == ".json":
        read_json(path, Metrics)
    else:
        found = Run("x", ("normal",), {}, None, None, path.parent, path.parent).embeddings  # type: ignore[arg-type]
        assert len({len(values) for values in found.values()}) == 1


def read_splits(path: Path) -> None:
    """A damaged splits.parquet beside whole sessions and faces."""
    from pipeline.attributes import ATTRIBUTES
    from pipeline.faces import Faces
    from pipeline.samples import read_samples

    places = {"faces": Faces(path.parent), "sessions": path.with_name("sessions.parquet"), "splits": path}
    samples = read_samples("test", **places, attributes=list(ATTRIBUTES), vocabulary="photoface")
    assert len(samples) == len(samples.weight) >= 1
    assert set(samples.session) <= set("abc")


def read_quality(path: Path) -> None:
    from stages.report.failures import read_losses, read_quality

    for lost in read_losses(path.with_name("none"), path, path.with_name("none")):
        assert lost.lost >= 0
    for number in read_quality(path):
        assert number.low <= number.median <= number.high


def read_normals(path: Path) -> None:
    from stages.reconstruct.integrate import integrate
    from stages.reconstruct.integrate import read_normals as read

    normal, mask = read(str(path), y_down=False)
    assert normal.shape == (*mask.shape, 3)
    assert np.isfinite(integrate(normal, mask)[mask]).all()


def read_camera(path: Path) -> None:
    """A damaged camera matrix, with which a plane is integrated."""
    from pipeline.errors import UserError
    from stages.reconstruct.integrate import integrate
    from stages.reconstruct.integrate import read_camera as read

    camera = read(str(path))
    flat = np.zeros((6, 6, 3), np.float32)
    flat[..., 2] = 1
    try:
        integrate(flat, np.ones((6, 6), bool), intrinsics=camera)
    except ValueError as reason:  # as the command says it, with the name of the normals
        raise UserError(f"{path}: {reason}") from reason


READERS = {
    "splits": read_splits,
    "quality": read_quality,
    "normals": read_normals,
    "camera": read_camera,
    "rig": read_rig,
    "faces": read_faces,
    "results": read_results,
    "frame": read_frame,
    "picture": read_picture,
    "maps": read_maps,
    "photoface": read_photoface,
    "folder": read_folder,
    "run": read_run,
    "table": read_table,
}


def _check_text(text: str, path: Path) -> None:
    assert text, "an empty reason"
    assert "\n" not in text, f"a reason of several lines: {text!r}"
    assert len(text) < 1000, f"a reason of {len(text)} characters"
    assert text.isprintable(), f"a reason that a terminal would act on: {text!r}"
    named = path.name if path.name not in ("metadataII.txt",) else ""
    assert named in text, f"does not name {path.name}: {text}"


def probe(kind: str, path: Path) -> str:
    """`read`, or the reason of the refusal."""
    from pipeline.errors import PsfaceError

    try:
        READERS[kind](path)
    except PsfaceError as reason:
        _check_text(str(reason), path)
        return str(reason)
    return "read"


def watch(events: list[str]) -> None:
    """Write down whatever a reader has no business to do."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        parsed = event == "compile" and arguments[1] == "<unknown>"  # numpy's header to a tree, of which nothing is run
        if event in FORBIDDEN and not parsed:
            events.append(f"{event} {arguments[:1]!r:.200}")
        path, flags = (arguments[0], arguments[2]) if event == "open" else (None, 0)
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) and str(path) != os.devnull:
            events.append(f"open for writing {path!r}")

    sys.addaudithook(hook)


def main(listing: str, whole: int) -> None:
    """Read the files of a list; the first are whole ones, read to import all that is needed before anybody watches."""
    import torch

    from pipeline.errors import one_line

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    tasks = [line.split("\t") for line in Path(listing).read_text(encoding="utf-8").splitlines()]
    for kind, path in tasks[:whole]:
        assert probe(kind, Path(path)) == "read", path
    one_line("\0")  # which brings its codec in
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    events: list[str] = []
    watch(events)
    for kind, path in tasks[whole:]:
        try:
            outcome = probe(kind, Path(path))
        except BaseException as fault:  # noqa: BLE001 - whatever it is, the test has to hear of it
            outcome = f"FAULT {type(fault).__name__}: {fault}"
        if events:
            outcome = f"FAULT did what a reader may not: {events[0]}"
            events.clear()
        print(json.dumps({"kind": kind, "file": path, "outcome": outcome}), flush=True)
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # ru_maxrss would count what the caller holds
    print(json.dumps({"memory": int(status.split("VmHWM:")[1].split()[0]) << 10}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
