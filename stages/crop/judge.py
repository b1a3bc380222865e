"""What a trained run says of one face: the probability of a mask, and its quality.

The face is found, aligned and prepared as `psface crop` and training do it. Of a folder's several photographs a run
that sees `frame` is asked about each, and the means count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch

from models import restore_model
from models.embedding import embed
from pipeline.contract import Contract, load_run
from pipeline.errors import Rejected, UserError
from pipeline.faces import mirror, preprocess
from pipeline.geometry import warp_map
from pipeline.images import SUFFIXES, read_frame
from pipeline.maps import Maps, read_maps
from pipeline.params import Crop
from pipeline.rig import natural_order
from stages.crop.align import alignment, cut_face
from stages.crop.looks import find_faces

OF_MAPS = ("albedo", "normal", "depth")
LEVEL = 0.03  # brightness from which a pixel is not background, where no maps tell


def load_judge(folder: Path) -> tuple[Contract, torch.nn.Module]:
    """A run that knows masks, and its network.

    Raises
    ------
    UserError
        The folder holds no such run, or one that sees what a single file does not show.
    """
    contract, state = load_run(folder)
    if "mask" not in contract.attributes:
        known = ", ".join(contract.attributes) or "none"
        raise UserError(
            f"{folder}: this run cannot tell masks (its attributes: {known}): train one with `mask` among "
            "`attributes` (docs/masks.md)"
        )
    strange = next((name for name in contract.modalities if name not in (*OF_MAPS, "frame")), None)
    if strange:
        why = (
            "in the order of their lights, which only a table of sessions tells" if strange == "frames" else "in colour"
        )
        raise UserError(f"{folder}: this run sees `{strange}`, photographs {why}: use `psface evaluate`")
    if contract.channels.get("frame", 1) != 1:
        raise UserError(f"{folder}: this run sees `frame` in colour, and photographs are read as grey here")
    try:
        return contract, restore_model(contract.network.name, state, **contract.network.kwargs)
    except (ValueError, TypeError) as error:  # TypeError: an argument named `state`
        raise UserError(f"{folder}: its weights do not fit its network ({error}): train it again") from error


def judge(contract: Contract, network: torch.nn.Module, path: Path, maps_folder: Path) -> tuple[float, float]:
    """Probability of a mask, and the embedding's norm, of a photograph, a session's maps or a session's folder.

    Raises
    ------
    Rejected, UserError
        It cannot be read, shows no face, or does not hold what the run sees.
    """
    frames, maps = read_face(path, maps_folder)
    wanted = [name for name in contract.modalities if name in OF_MAPS]
    if wanted and maps is None:
        where = f"maps in {maps_folder}" if path.is_dir() else "maps (an .exr of `psface reconstruct`)"
        raise UserError(f"{path}: the run sees {', '.join(wanted)}, and there are no {where}")
    if "frame" in contract.modalities and frames is None:
        raise UserError(f"{path}: the run sees frame: give the photograph, or the session's folder")
    prepared = _prepared(contract, path, frames, maps)
    said = embed(network, {name: torch.from_numpy(faces) for name, faces in prepared.items()}, mirror=mirror)
    norms = np.linalg.norm(said.embeddings, axis=1)
    return float(said.probabilities["mask"][:, 1].mean()), float(norms.mean())


def read_face(path: Path, maps_folder: Path) -> tuple[np.ndarray | None, Maps | None]:
    """Linear frames (k, H, W) and maps of what a path names, either of them where there are some.

    Raises
    ------
    Rejected
        It cannot be read.
    """
    if path.is_dir():
        files = [f for f in path.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")]
        files = [f for f in files if f.stem.lower() not in ("ambient", "truth", "regions")]
        if not files:
            raise Rejected(f"{path}: no photographs in this folder")
        frames = [read_frame(f) for f in sorted(files, key=lambda f: natural_order(f.name))]
        if len({frame.shape for frame in frames}) > 1:
            raise Rejected(f"{path}: its photographs differ in size")
        place = maps_of(path, maps_folder)
        return np.stack(frames), read_maps(place) if place.is_file() else None
    if path.suffix.lower() == ".exr":
        try:
            return None, read_maps(path)
        except Rejected as not_maps:
            try:
                return read_frame(path)[None], None
            except Rejected:
                raise not_maps from None
    return read_frame(path)[None], None


def maps_of(folder: Path, maps_folder: Path) -> Path:
    """Where the maps of a session are that is given as its folder."""
    return maps_folder / folder.resolve().parent.name / f"{folder.resolve().name}.exr"


def _prepared(contract: Contract, path: Path, frames: np.ndarray | None, maps: Maps | None) -> Mapping[str, np.ndarray]:
    """What the network sees, (k, C, H, W) by modality."""
    points = find_points(path, frames, maps)
    try:
        faces = cut(frames, maps, points, contract.size)
    except Rejected as reason:
        raise Rejected(f"{path}: {reason}") from reason
    found = {}
    for name in contract.modalities:
        values = faces[name]
        each = np.moveaxis(values, -1, 0)[..., None] if name == "frame" else values[None]  # one row a photograph
        mask = np.broadcast_to(faces["mask"], each.shape[:3])
        found[name] = preprocess(each, mask, name)
    rows = max(len(each) for each in found.values())
    return {name: np.repeat(each, rows // len(each), axis=0) for name, each in found.items()}


def find_points(path: Path, frames: np.ndarray | None, maps: Maps | None) -> np.ndarray:
    """The five points (5, 2) of the face in frames (k, H, W), or in maps without any.

    Raises
    ------
    Rejected
        There is no face.
    """
    image = _lit(maps) if frames is None else frames.mean(axis=0)
    usual = Crop(seed=0)
    sighting = find_faces(
        [image.astype(np.float32)], border=usual.border, min_face=usual.min_face, confidence=usual.confidence
    )[0]
    if sighting.landmarks is None:
        raise Rejected(f"{path}: {sighting.reason}")
    return sighting.landmarks


def _lit(maps: Maps | None) -> np.ndarray:
    """Maps as a photograph (H, W) float32 under a flash at the camera."""
    assert maps is not None
    return np.maximum(maps.albedo * maps.normal[..., 2], 0).astype(np.float32)


def cut(frames: np.ndarray | None, maps: Maps | None, points: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """The aligned face by modality, (size, size, C) float16, and its mask; `frame` has all photographs as channels."""
    if maps is None:
        assert frames is not None
        return _cut_frames(frames, points, size)
    stack = _lit(maps)[None] if frames is None else frames
    faces = cut_face(maps, stack, points, size=size, order=range(len(stack)), drawn=0)
    return {**faces, "frame": faces["frames"]}


def _cut_frames(frames: np.ndarray, landmarks: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Aligned frames (size, size, k) without maps, and what is not background in them."""
    matrix = alignment(landmarks, size)
    cut = warp_map("frame", frames.transpose(1, 2, 0), matrix, size)
    inside = warp_map("mask", np.ones(frames.shape[1:], bool), matrix, size)
    lit = (cv2.GaussianBlur(cut.max(axis=-1), (0, 0), 0.8) > LEVEL).astype(np.uint8)
    lit = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((size // 8, size // 8), np.uint8))
    return {"frame": cut.astype(np.float16), "mask": ((lit > 0) & inside).astype(np.uint8)}
