"""The photographs of a session, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import Rejected
from pipeline.images import read_frame
from stages.reconstruct.session import Photographs


def read_photographs(
    frames: Sequence[str | Path],
    lights: np.ndarray | None,
    strengths: np.ndarray,
    *,
    ambient: str | Path | None = None,
    mask: str | Path | None = None,
) -> Photographs:
    """Read frames, and where they are given an ambient frame and a mask (anything above half is face).

    Raises
    ------
    Rejected : a file cannot be read, or the frames differ in size; the text names the file.
    """
    images = [read_frame(path) for path in frames]
    for path, image in zip(frames, images, strict=True):
        if image.shape != images[0].shape:
            (h, w), (h0, w0) = image.shape, images[0].shape
            raise Rejected(
                f"{path}: {w}x{h} pixels, but {frames[0]} has {w0}x{h0}; frames of a session are of one size"
            )
    return Photographs(
        np.stack(images),
        None if lights is None else np.asarray(lights, float),
        np.asarray(strengths, float),
        None if ambient is None else read_frame(ambient),
        None if mask is None else _read_mask(mask, images[0].shape),
    )


def _read_mask(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool; an error names the file."""
    mask = read_frame(path) > 0.5
    if mask.shape != shape:
        (h, w), (h0, w0) = mask.shape, shape
        raise Rejected(f"{path}: the mask has {w}x{h} pixels, the frames have {w0}x{h0}")
    if not mask.any():
        raise Rejected(f"{path}: the mask is empty: nothing in it is brighter than half")
    return mask
