"""The photographs of a session, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import Rejected
from pipeline.images import read_clipped, read_frame, widened
from pipeline.params import Reconstruct
from pipeline.params.base import Transfer
from pipeline.rig import Camera
from stages.reconstruct.session import Photographs


def read_photographs(
    frames: Sequence[str | Path],
    lights: np.ndarray | None,
    strengths: np.ndarray,
    *,
    ambient: str | Path | None = None,
    mask: str | Path | None = None,
    positions: np.ndarray | None = None,
    camera: Camera | None = None,
    saturation: float = Reconstruct().saturation,
) -> Photographs:
    """Read frames, and where they are given an ambient frame and a mask (anything above half is face).

    The tone curve of the camera's files is undone; a mask has none. A pixel of a colour photograph is clipped where any
    of its channels reaches ``saturation`` of white.

    Raises
    ------
    Rejected : a file cannot be read, or is of another size than the frames; the text names the file.
    """
    camera = camera or Camera()
    levels, clipped = _read_frames(frames, camera.transfer, saturation)
    return Photographs(
        levels,
        None if lights is None else np.asarray(lights, float),
        np.asarray(strengths, float),
        None if ambient is None else _sized(ambient, read_frame(ambient, camera.transfer), levels, "the ambient frame"),
        None if mask is None else _read_mask(mask, levels),
        positions,
        camera,
        clipped,
    )


def _read_frames(
    paths: Sequence[str | Path], transfer: Transfer | None, saturation: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """(k, H, W) levels of :func:`pipeline.images.read_levels`, of the widest type that a frame has; and where their
    colours are clipped, packed eight pixels of a row to a byte, or none where none is."""
    first, top = read_clipped(paths[0], transfer, top=saturation)
    levels = np.empty((len(paths), *first.shape), first.dtype)
    clipped: np.ndarray | None = None
    for i, path in enumerate(paths):
        image, top = read_clipped(path, transfer, top=saturation) if i else (first, top)
        if image.shape != first.shape:
            (h, w), (h0, w0) = image.shape, first.shape
            raise Rejected(f"{path}: {w}x{h} pixels, but {paths[0]} has {w0}x{h0}; frames of a session are of one size")
        wide = np.promote_types(levels.dtype, image.dtype)
        levels = widened(levels, wide)
        levels[i] = widened(image, wide)
        if top is not None:
            packed = np.packbits(top, axis=-1)
            clipped = np.zeros((len(paths), *packed.shape), np.uint8) if clipped is None else clipped
            clipped[i] = packed
    return levels, clipped


def _sized(path: str | Path, image: np.ndarray, frames: np.ndarray, what: str) -> np.ndarray:
    """An image (H, W) that is as large as the frames (k, H, W)."""
    if image.shape != frames.shape[1:]:
        (h, w), (h0, w0) = image.shape, frames.shape[1:]
        raise Rejected(f"{path}: {what} has {w}x{h} pixels, the frames have {w0}x{h0}")
    return image


def _read_mask(path: str | Path, frames: np.ndarray) -> np.ndarray:
    """(H, W) bool; an error names the file."""
    mask = _sized(path, read_frame(path) > 0.5, frames, "the mask")
    if not mask.any():
        raise Rejected(f"{path}: the mask is empty: nothing in it is brighter than half")
    return mask
