"""One face brought to another age: found, aligned and prepared as crop and training do it, and turned back into what it
came as: a picture, or maps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.ager import Ager, restore_ager
from pipeline.ageing import AgeingContract, load_ageing
from pipeline.errors import Rejected, UserError
from pipeline.faces import COLOUR, DEPTH_GAIN, preprocess
from pipeline.geometry import move_points, scale_of
from pipeline.images import write_picture
from pipeline.maps import Maps, write_maps
from pipeline.meshes import SUFFIXES as MESHES
from pipeline.meshes import write_mesh
from pipeline.strips import sheet, shown
from stages.crop.align import alignment, cut_colour
from stages.crop.judge import OF_MAPS, cut, find_points, read_face
from stages.crop.looks import eye_distance


def load_ager(folder: Path) -> tuple[AgeingContract, Ager]:
    """A run of `psface synthesise`.

    Raises
    ------
    UserError
        The folder holds none, or one that sees what a single file does not show.
    """
    run = load_ageing(folder)
    seeing, network = run.contract.recogniser.network, run.contract.network
    if "frames" in run.contract.recogniser.modalities:
        raise UserError(f"{folder}: this run sees `frames`, all photographs in the order of their lights: give another")
    try:
        ager = restore_ager(seeing.name, (seeing.kwargs, run.recogniser), (network.kwargs, run.generator))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder}: its weights do not fit its networks ({error}): train the run again") from error
    return run.contract, ager


@dataclass
class Face:
    """An aligned face.

    Attributes
    ----------
    path : Path
        What it was read from, for messages.
    modalities : tuple of str
        That the run sees.
    values : dict of ndarray (S, S, C)
        Physical values, as `stages.crop.align.cut_face` gives them.
    mask : ndarray (S, S) bool
    eyes : float
        Distance of the eyes in pixels.
    attributes : dict, optional
        Of its maps, where it has some; then `values` has albedo, normal and depth.
    """

    path: Path
    modalities: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    mask: np.ndarray
    eyes: float
    attributes: dict[str, str] | None

    @property
    def prepared(self) -> dict[str, np.ndarray]:
        """What the run sees, (1, C, S, S) by modality."""
        return {name: preprocess(self.values[name][None], self.mask[None], name) for name in self.modalities}

    def check(self, outs: Sequence[Path]) -> None:
        """Refuse to write what this face has not."""
        for out in outs:
            if out.suffix.lower() in (".exr", *MESHES) and self.attributes is None:
                raise UserError(f"{out}: {self.path} has no maps, and its aged face is a picture: give a .png or .jpg")
            if out.suffix.lower() in MESHES and "depth" not in self.modalities:
                raise UserError(f"{out}: the run does not see depth, so that the surface would not age: give another")

    def aged(self, ager: Ager, group: int, name: str) -> Aged:
        """This face at a group of ages."""
        seen = {modality: torch.from_numpy(faces) for modality, faces in self.prepared.items()}
        return Aged({modality: x[0].numpy() for modality, x in ager(seen, group).items()}, name)

    def write(self, out: Path, aged: Aged) -> None:
        """Write an aged face as what the name ends in."""
        if out.suffix.lower() == ".exr":
            write_maps(out, self.maps(aged))
        elif out.suffix.lower() in MESHES:
            write_mesh(out, self.maps(aged), str(self.path))
        else:
            pictures = [shown(values, modality) for modality, values in aged.values.items()]
            write_picture(out, np.concatenate(pictures, axis=1))

    def write_strip(self, out: Path, aged: Sequence[Aged], names: Sequence[str]) -> None:
        """Write this face and what became of it, in a row."""
        columns = [self.prepared, *({m: x[None] for m, x in each.values.items()} for each in aged)]
        write_picture(out, sheet(columns, ["face", *names]))

    def maps(self, aged: Aged) -> Maps:
        """The maps of an aged face, in pixels of the aligned face; what was not seen is as it was."""
        values = {name: np.asarray(self.values[name], dtype=np.float32) for name in OF_MAPS}
        values |= {name: self._physical(x, name) for name, x in aged.values.items()}
        depth = values["depth"][..., 0] * self.eyes
        kept = {name: text for name, text in (self.attributes or {}).items() if name in ("session", "pitch")}
        return Maps(
            normal=np.where(self.mask[..., None], values["normal"], 0),
            albedo=np.where(self.mask, np.maximum(values["albedo"][..., 0], 0), 0),
            depth=np.where(self.mask, depth - depth[self.mask].mean(), 0).astype(np.float32),
            mask=self.mask,
            attributes={**kept, "age": aged.name},
        )

    def _physical(self, face: np.ndarray, modality: str) -> np.ndarray:
        """Preprocessed values (C, S, S) in the units that they came in."""
        values = face.transpose(1, 2, 0)
        if modality == "normal":
            return values
        if modality == "depth":
            return values / DEPTH_GAIN
        return (values + 1) * float(self.values[modality][self.mask].astype(np.float32).mean())


@dataclass
class Aged:
    """Preprocessed values (C, S, S) by modality of a face that was brought to a group, and the group's name."""

    values: dict[str, np.ndarray]
    name: str


def read_subject(contract: AgeingContract, path: Path, maps_folder: Path) -> Face:
    """The aligned face of a photograph, a session's maps, or a session's folder.

    Raises
    ------
    Rejected, UserError
        It cannot be read, shows no face, or does not hold what the run sees.
    """
    wanted, size = contract.recogniser.modalities, contract.recogniser.size
    frames, maps = read_face(path, maps_folder)
    of_maps = [name for name in wanted if name in OF_MAPS]
    if of_maps and maps is None:
        where = f"maps in {maps_folder}" if path.is_dir() else "maps (an .exr of `psface reconstruct`)"
        raise UserError(f"{path}: the run sees {', '.join(of_maps)}, and there are no {where}")
    photographs = [name for name in wanted if name not in OF_MAPS]
    if photographs and (frames is None or (COLOUR in wanted and path.is_dir())):
        raise UserError(f"{path}: the run sees {', '.join(photographs)}: give a photograph")
    points = find_points(path, frames, maps)
    try:
        values = cut(frames, maps, points, size)
    except Rejected as reason:
        raise Rejected(f"{path}: {reason}") from reason
    values["frame"] = values["frame"][..., :1]
    if COLOUR in wanted:
        values[COLOUR] = cut_colour(str(path), points, size)
    matrix = alignment(points, size)
    attributes = None if maps is None else _attributes(maps, matrix)
    return Face(path, tuple(wanted), values, values["mask"] > 0, eye_distance(move_points(points, matrix)), attributes)


def _attributes(maps: Maps, matrix: np.ndarray) -> dict[str, str]:
    """Those of the maps, with the width of a pixel of the aligned face."""
    found = dict(maps.attributes)
    try:
        pitch = float(found.pop("pitch"))
    except (KeyError, ValueError):  # not known, or null
        return found
    return {**found, "pitch": repr(pitch / scale_of(matrix))} if 0 < pitch < math.inf else found
