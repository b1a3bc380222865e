"""The maps of a session as one OpenEXR file: written and read here, and nowhere else.

Channels: ``normal.X``, ``normal.Y``, ``normal.Z``, ``albedo`` and ``mask`` in half, ``depth`` in float, zip-compressed
scan lines. Optional, in half: ``confidence`` and ``visibility``, and ``residual.00`` and on, one a flash, which
`psface relight` uses; readers that do not know them lose nothing. Text attributes (solver, lights, landmarks ...) are
kept in the header under the prefix ``psface.``, so that no name of theirs can meet one of OpenEXR's own. The same maps
give the same bytes.

    y up                      normal (H, W, 3) unit, camera frame; 0 outside the mask
    |                         albedo (H, W) >= 0, in units of the frames (1 = white at strength 1)
    |___ x right              depth  (H, W) height towards the camera, in pixels, zero mean inside the mask
   /                          mask   (H, W) True on the face
                              confidence, visibility (H, W) in [0, 1], residuals (k, H, W) in units of the frames
  z towards the camera        rows run down: d(depth)/d(row) = -dz/dy

References: OpenEXR file layout, https://openexr.com/en/latest/OpenEXRFileLayout.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR

from pipeline.errors import Rejected
from pipeline.files import check_regular, why_unwritable
from pipeline.images import exr_header, read_exr, silenced
from pipeline.tables import write_atomic

PREFIX = "psface."
CHANNELS = ("normal.X", "normal.Y", "normal.Z", "albedo", "depth", "mask")
SHARES = ("confidence", "visibility")  # optional
RESIDUAL = "residual."  # optional, and a number
MAGIC = b"\x76\x2f\x31\x01"
HALF_MAX = float(np.finfo(np.float16).max)
BOUNDS = {
    "albedo": (0.0, HALF_MAX),
    "depth": (-1e6, 1e6),
    "confidence": (0.0, 1.0),
    "visibility": (0.0, 1.0),
}  # what is read; depth of a million pixels is damage
UNIT = 0.05  # how far the length of a normal may be from 1; rounding to half makes .001


@dataclass
class Maps:
    """What a session reconstructs to.

    Attributes
    ----------
    normal : (H, W, 3) float32, unit inside the mask, camera frame (x right, y up, z to the camera).
    albedo : (H, W) float32, >= 0.
    depth : (H, W) float32, pixels towards the camera, zero mean inside the mask.
    mask : (H, W) bool.
    attributes : text by name, kept with the file.
    confidence : (H, W) float32 in [0, 1], how far a pixel can be trusted; or none, of files that lack it.
    visibility : (H, W) float32 in [0, 1], the share of the flashes that reach a pixel; or none.
    residuals : (k, H, W) float16 as they are kept, or float32: each frame (strength divided out) minus what the maps
        predict of it, in the order of the attribute ``lights``, outside the mask too; or none.
    """

    normal: np.ndarray
    albedo: np.ndarray
    depth: np.ndarray
    mask: np.ndarray
    attributes: dict[str, str] = field(default_factory=dict)
    confidence: np.ndarray | None = None
    visibility: np.ndarray | None = None
    residuals: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = self.normal.shape[:2]
        if self.normal.shape != (*shape, 3):
            raise ValueError(f"normal: expected (H, W, 3), got {self.normal.shape}")
        for name in ("albedo", "depth", "mask", *SHARES):
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise ValueError(f"{name}: expected {shape} as the normals have, got {values.shape}")
        if self.residuals is not None and self.residuals.shape[1:] != shape:
            raise ValueError(f"residuals: expected (k, {shape[0]}, {shape[1]}), got {self.residuals.shape}")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.mask.shape
        return height, width


def write_maps(path: str | Path, maps: Maps) -> None:
    """Write maps as one OpenEXR file, whole or not at all.

    Parameters
    ----------
    path : the file; its folder is made where it is missing.
    maps : finite values; albedo beyond the range of half (65504) is clipped to it.

    Raises
    ------
    ValueError : a map holds a value that is not finite, which no stage may hand on.
    OSError : the file cannot be written.
    """
    path = Path(path)
    for name in ("normal", "albedo", "depth", *SHARES, "residuals"):
        values = getattr(maps, name)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{path}: {name} holds values that are not finite")
    layers = {
        **{f"normal.{axis}": _half(maps.normal[..., i]) for i, axis in enumerate("XYZ")},
        "albedo": _half(maps.albedo),
        "depth": np.ascontiguousarray(maps.depth, dtype=np.float32),
        "mask": _half(maps.mask),
        **{name: _half(getattr(maps, name)) for name in SHARES if getattr(maps, name) is not None},
        **{f"{RESIDUAL}{i:02d}": _half(one) for i, one in enumerate(() if maps.residuals is None else maps.residuals)},
    }
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    header |= {PREFIX + name: str(text) for name, text in sorted(maps.attributes.items())}

    def write(beside: Path) -> None:
        try:
            with silenced():
                OpenEXR.File(header, layers).write(str(beside))
        except RuntimeError as error:  # which is how the binding says that a disk is full or a folder read-only
            raise why_unwritable(beside) from error

    write_atomic(path, write)


def read_maps(path: str | Path) -> Maps:
    """Read maps written by :func:`write_maps`.

    Returns
    -------
    Maps : normals are made unit again after their rounding to half; outside the mask they stay zero.

    Raises
    ------
    Rejected : the file is missing, is no OpenEXR file, is cut short or too large, lacks a channel, or holds what no
        reconstruction gives (NaN, a depth of a million pixels, normals that are not unit).
    """
    path = Path(path)
    header, layers = read_exr(_openexr(path), separate=True)
    missing = [name for name in CHANNELS if name not in layers]
    if missing:
        raise Rejected(f"{path}: not maps of a session: no channel {', '.join(missing)} (it has {', '.join(layers)})")
    shares = [name for name in SHARES if name in layers]
    residuals = sorted(name for name in layers if name.startswith(RESIDUAL))
    for name in (*CHANNELS, *shares, *residuals):
        _check_values(path, name, layers[name])
    normal = np.stack([layers[f"normal.{axis}"].astype(np.float32) for axis in "XYZ"], axis=-1)
    mask = layers["mask"] > 0.5
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    if (np.abs(length[mask] - 1) > UNIT).any():
        raise Rejected(f"{path}: normals inside the mask that are not of unit length; reconstruct the session again")
    return Maps(
        normal=np.divide(normal, length, out=np.zeros_like(normal), where=length > 0),
        albedo=layers["albedo"].astype(np.float32),
        depth=layers["depth"].astype(np.float32),
        mask=mask,
        attributes=_attributes(header),
        residuals=np.stack([layers[name].astype(np.float16) for name in residuals]) if residuals else None,
        **{name: layers[name].astype(np.float32) for name in shares},
    )


def read_attributes(path: str | Path) -> dict[str, str]:
    """The text attributes of maps, from the file's header alone.

    Raises
    ------
    Rejected : the file is missing or is no OpenEXR file.
    """
    return _attributes(exr_header(_openexr(Path(path)))[0])


def _openexr(path: Path) -> Path:
    """The path, if an OpenEXR file begins there."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            magic = file.read(4)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise Rejected(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if magic != MAGIC:
        raise Rejected(f"{path}: not an OpenEXR file; maps are written by `psface reconstruct` and `psface maps`")
    return path


def _check_values(path: Path, name: str, values: np.ndarray) -> None:
    """Refuse what no reconstruction gives."""
    if not np.isfinite(values).all():
        raise Rejected(f"{path}: {name} holds values that are not finite")
    low, high = float(values.min()), float(values.max())
    least, most = BOUNDS.get(name, (-HALF_MAX, HALF_MAX))
    if low < least or high > most:
        raise Rejected(f"{path}: {name} from {low:.3g} to {high:.3g}, which no reconstruction gives; make it again")


def _attributes(header: dict[str, Any]) -> dict[str, str]:
    return {k.removeprefix(PREFIX): v for k, v in header.items() if k.startswith(PREFIX) and isinstance(v, str)}


def _half(values: np.ndarray) -> np.ndarray:
    """The values in half; beyond its range they are clipped to it."""
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(values, dtype=np.float16)
    return half if np.isfinite(half).all() else np.clip(half, -HALF_MAX, HALF_MAX).astype(np.float16)
