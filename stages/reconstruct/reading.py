"""The photographs of a session, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import Rejected
from pipeline.images import read_frame, read_levels, widened
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
) -> Photographs:
    """Read frames, and where they are given an ambient frame and a mask (anything above half is face).

    The tone curve of the camera's files is undone; a mask has none.

    Raises
    ------
    Rejected : a file cannot be read, or is of another size than the frames; the text names the file.
    """
    camera = camera or Camera()
    levels = _read_frames(frames, camera.transfer)
    return Photographs(
        levels,
        None if lights is None else np.asarray(lights, float),
        np.asarray(strengths, float),
        None if ambient is None else _sized(ambient, read_frame(ambient, camera.transfer), levels, "the ambient frame"),
        None if mask is None else _read_mask(mask, levels),
        positions,
        camera,
    )


def _read_frames(paths: Sequence[str | Path], transfer: Transfer | None) -> np.ndarray:
    """(k, H, W) levels of :func:`pipeline.images.read_levels`, of the widest type that a frame has."""
    first = read_levels(paths[0], transfer)
    levels = np.empty((len(paths), *first.shape), first.dtype)
    for i, path in enumerate(paths):
        image = read_levels(path, transfer) if i else first
        if image.shape != first.shape:
            (h, w), (h0, w0) = image.shape, first.shape
            raise Rejected(f"{path}: {w}x{h} pixels, but {paths[0]} has {w0}x{h0}; frames of a session are of one size")
        wide = np.promote_types(levels.dtype, image.dtype)
        levels = widened(levels, wide)
        levels[i] = widened(image, wide)
    return levels


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
