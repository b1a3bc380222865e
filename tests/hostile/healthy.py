"""Whole files of every kind that psface reads, small, for the mutants to be made of."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pandas as pd
import torch

from models import create_model
from pipeline.contract import Contract, Network, save_run
from pipeline.faces import PREPROCESSING
from pipeline.lights import from_angles
from pipeline.maps import Maps, write_maps
from pipeline.sessions import Session, write_sessions
from pipeline.tables import write_parquet

HEIGHT, WIDTH = 12, 20
AZIMUTHS = (45.0, 135.0, 225.0, 315.0)
LIGHTS = from_angles(35.0, AZIMUTHS)
LIGHT_SOURCE = b"% rig near\nlightSource = [30 30 35.5 30; ...\n 45, 135, 225, 315]; % degrees\n"
METADATA = b"18, 25\n22, 25\n30, 22\n38, 25\n42, 25\n27, 36\n30, 37\n33, 36\n26, 44\n34, 44\n30, 55\n"
METADATA_II = b"male, no, stubble, 1, ok, , blankstare, mouth closed, \n"
LIGHTS_CSV = (
    b"frame,x,y,z,strength\na.png,0.5,0.1,0.8,1\nb.png,-0.5,0.1,0.8,1.5\nc.png,0,-0.6,0.7,1\nd.png,0,0.6,0.7,1\n"
)
LABELS_CSV = (
    b"subject,session,gender,age,quality,rig\nan,first,female,34.5,ok,near\nan,,male,,blur,\nbinh,,male,61,,far\n"
)


def frames() -> dict[str, bytes]:
    """The bytes of a photograph by suffix and kind."""
    ramp = np.linspace(0.02, 0.9, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    levels, deep = np.rint(ramp * 255).astype(np.uint8), np.rint(ramp * 65535).astype(np.uint16)
    colour = np.stack([levels, levels[::-1], levels[:, ::-1]], axis=-1)
    made = {
        "grey.bmp": (levels, []),
        "colour.bmp": (colour, []),
        "grey.pgm": (levels, []),
        "deep.pgm": (deep, []),
        "text.pgm": (levels, [cv2.IMWRITE_PXM_BINARY, 0]),
        "grey.png": (levels, []),
        "deep.png": (deep, []),
        "colour.png": (colour, []),
        "grey.tif": (levels, []),
        "deep.tif": (deep, [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
        "float.tif": (ramp.astype(np.float32), []),
        "grey.jpg": (levels, []),
        "colour.jpg": (colour, []),
    }
    return {name: cv2.imencode(Path(name).suffix, image, flags)[1].tobytes() for name, (image, flags) in made.items()}


def exr_frames(folder: Path) -> dict[str, bytes]:
    """The bytes of OpenEXR photographs in several layouts."""
    ramp = np.linspace(0.02, 0.9, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    colour = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1)
    made = {
        "grey.exr": ({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, {"Y": ramp}),
        "plain.exr": ({"compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage}, {"Y": ramp}),
        "half.exr": (
            {"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.scanlineimage},
            {"RGB": colour.astype(np.float16)},
        ),
        "rle.exr": ({"compression": OpenEXR.RLE_COMPRESSION, "type": OpenEXR.scanlineimage}, {"RGB": colour}),
    }
    files = {}
    for name, (header, channels) in made.items():
        OpenEXR.File(header, channels).write(str(folder / name))
        files[name] = (folder / name).read_bytes()
    return files


def maps(folder: Path) -> bytes:
    """The bytes of a session's maps."""
    rng = np.random.default_rng(5)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:-2, 3:-3] = True
    normal = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32) * 0.2 + np.float32([0, 0, 1])
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True) * mask[..., None]
    albedo, depth = rng.random((2, HEIGHT, WIDTH), dtype=np.float32) * mask
    write_maps(folder / "maps.exr", Maps(normal, albedo, depth, mask, {"notes": "", "age": "31", "solver": "test"}))
    return (folder / "maps.exr").read_bytes()


def sessions(folder: Path) -> bytes:
    """The bytes of a table of two sessions."""
    lights = np.array([[0.5, 0, 0.8], [-0.5, 0.1, 0.8], [0, -0.6, 0.8]])
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    made = [
        Session(f"{who}/first", who, "first", "near", ("a.png", "b.png", "c.png"), lights, np.ones(3))
        for who in ("an", "binh")
    ]
    return write_sessions(folder / "sessions.parquet", made).read_bytes()


def run(folder: Path) -> tuple[bytes, bytes]:
    """The bytes of an untrained run's contract and weights."""
    torch.manual_seed(3)
    attributes = {"gender": 2}
    arguments = {"channels": {"normal": 3}, "size": 32, "attributes": attributes, "width": 2, "dimension": 4}
    contract = Contract(
        run="normal",
        modalities=["normal"],
        size=32,
        channels={"normal": 3},
        normalisation={"normal": PREPROCESSING["normal"]},
        network=Network(name="iresnet18", kwargs=arguments),
        attributes=attributes,
    )
    save_run(folder, contract, create_model("iresnet18", **arguments).state_dict())
    described = json.loads((folder / "contract.json").read_text())
    return json.dumps(described, indent=2).encode(), (folder / "weights.safetensors").read_bytes()


def photographs(lights: np.ndarray, size: int = 64) -> np.ndarray:
    """(k, S, S) uint8 frames of a face-like bulge on black: broad above, with eyes, a nose and brows."""
    rows, columns = np.mgrid[:size, :size] / (size - 1) * 2 - 1

    def height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        nose = 0.18 * np.exp(-((x / 0.14) ** 2) - ((y + 0.05) / 0.25) ** 2)
        return 0.7 * np.sqrt(np.maximum(1.1 - (x / 0.8) ** 2 - (y / 0.95) ** 2, 0.02)) + nose

    x, y, step = columns, -rows, 1e-4
    slopes = [(height(x + dx, y + dy) - height(x - dx, y - dy)) / (2 * step) for dx, dy in ((step, 0), (0, step))]
    normal = np.stack([-slopes[0], -slopes[1], np.ones_like(x)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    albedo = np.where((x / 0.75) ** 2 + (y / 0.9) ** 2 < 1, 0.6, 0.0)
    for side in (-0.3, 0.3):
        albedo = albedo * (1 - 0.7 * np.exp(-(((x - side) / 0.13) ** 4) - ((y - 0.25) / 0.07) ** 4))
    return np.rint(255 * np.clip(normal @ lights.T, 0, 1) * albedo[..., None]).astype(np.uint8).transpose(2, 0, 1)


def shoot(folder: Path, suffix: str = "bmp", frames: np.ndarray | None = None) -> None:
    """A session in Photoface's layout."""
    folder.mkdir(parents=True)
    for i, frame in enumerate(photographs(LIGHTS) if frames is None else frames):
        (folder / f"im{i}.{suffix}").write_bytes(cv2.imencode(f".{suffix}", frame)[1].tobytes())
    (folder / "LightSource.m").write_text(f"s = [35 35 35 35; {' '.join(map(str, AZIMUTHS))}];")
    (folder / "metadataII.txt").write_bytes(METADATA_II)


def grey_exr(path: Path, values: np.ndarray) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Y": values.astype(np.float32)}).write(str(path))


RIG = json.dumps(
    {"name": "near", "lights": [{"direction": [0.5, 0.1, 0.8]}, {"direction": [-0.5, 0.2, 0.8], "strength": 1.5},
                                {"direction": [0, -0.6, 0.9]}]}, indent=1,
).encode()  # fmt: skip


def faces(folder: Path) -> dict[str, bytes]:
    """The bytes of three packed faces by file."""
    rng = np.random.default_rng(6)
    np.save(folder / "normal.npy", rng.normal(size=(3, 8, 8, 3)).astype(np.float16))
    np.save(folder / "depth.npy", rng.normal(size=(3, 8, 8, 1)).astype(np.float16))
    np.save(folder / "mask.npy", np.ones((3, 8, 8), np.uint8))
    write_parquet(folder / "index.parquet", pd.DataFrame({"session": ["a", "b", "c"], "row": [0, 1, 2]}))
    return {name: (folder / name).read_bytes() for name in ("normal.npy", "depth.npy", "mask.npy", "index.parquet")}


def splits(folder: Path) -> dict[str, bytes]:
    """The bytes of a table of splits, and of the faces and sessions that it speaks of."""
    lights = np.array([[0.5, 0, 0.8], [-0.5, 0.1, 0.8], [0, -0.6, 0.8]])
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    made = [Session(who, who, "first", "near", ("a.png", "b.png", "c.png"), lights, np.ones(3)) for who in "abc"]
    table = pd.DataFrame({"session": list("abc"), "subject": list("abc"), "split": ["train", "test", "test"]})
    return faces(folder) | {
        "splits.parquet": write_parquet(folder / "splits.parquet", table.assign(keep=True, weight=1.0)).read_bytes(),
        "sessions.parquet": write_sessions(folder / "sessions.parquet", made).read_bytes(),
    }


def quality(folder: Path) -> bytes:
    """The bytes of a table of three sessions' quality, one of which was rejected."""
    table = pd.DataFrame({"session": list("abc"), "residual": [0.1, 0.2, np.nan], "rejected": ["", "", "a: empty"]})
    return write_parquet(folder / "quality.parquet", table.assign(notes="")).read_bytes()


CAMERA = b"800, 0, 9.5\n0, 800, 5.5\n0, 0, 1\n"


def normals() -> dict[str, bytes]:
    """The bytes of a sphere's normal map, of 8 and of 16 bits."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (columns - 9.5) / 12, (5.5 - rows) / 12
    normal = np.stack([x, y, np.sqrt(1 - x**2 - y**2)], axis=-1)[..., ::-1] / 2 + 0.5
    deep = np.rint(normal * 65535).astype(np.uint16)
    made = {"normals.png": (deep >> 8).astype(np.uint8), "deep.png": deep}
    return {name: cv2.imencode(".png", picture)[1].tobytes() for name, picture in made.items()}


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of what evaluating a run leaves."""
    rate = {"value": 0.9, "low": 0.8, "high": None}
    recognition = {
        "verification": {"auc": rate, "eer": {"absent": "few"}},
        "identification": {"overall": {"rank1": rate}},
    }
    numbers = dict.fromkeys(("subjects", "sessions", "without_face", "genuine", "impostor"), 3)
    metrics = {
        "run": {"name": "x", "modalities": "normal"},
        **recognition,
        "attributes": {"gender": {"auroc": rate, "balanced_accuracy": rate}},
        "raw_pixels": recognition,
        "counts": {**numbers, "attributes": {"gender": {"male": {"sessions": 2}}}},
    }
    names = {name: np.array(["a", "b", "c"]) for name in ("session", "subject", "rig")}
    np.savez(folder / "embeddings.npz", embedding=np.ones((3, 4), np.float32), **names)
    return {
        "metrics.json": json.dumps(metrics, indent=1).encode(),
        "embeddings.npz": (folder / "embeddings.npz").read_bytes(),
    }
