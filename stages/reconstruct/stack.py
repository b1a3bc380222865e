"""The frames of a session as they are worked on: kept as they were read, made linear and moved a few rows at a time.

A frame of 8 bits takes a quarter of what its float32 would, and only the rows that are being solved are ever floats, so
that memory grows with the frames' own size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.images import linear
from stages.reconstruct.registration import shifted

STRIP = 1 << 19  # samples that are worked on at a time: what a cache holds
LEAST_ROWS = 16  # of a strip: each of a moved frame takes rows above and below with it
MIXED = 0.25  # of a moved sample: so much of clipped ones spoils it
REACH = 3  # rows that bicubic interpolation sees beyond a pixel's own


class Stack:
    """Frames (k, H, W) as read, the ambient frame (H, W) float32 or none, shifts (k, 2) px of the frames, and where a
    colour of theirs is clipped, (k, H, W / 8) of `np.packbits`, or none."""

    def __init__(self, frames: np.ndarray, ambient: np.ndarray | None, clipped: np.ndarray | None = None) -> None:
        self.frames, self.ambient, self.clipped = frames, ambient, clipped
        self.shifts = np.zeros((len(frames), 2))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.frames.shape[1:]
        return height, width

    def strips(self) -> Iterator[slice]:
        """Rows, a few at a time."""
        height, width = self.shape
        step = max(LEAST_ROWS, STRIP // (len(self) * width))
        return (slice(first, min(first + step, height)) for first in range(0, height, step))

    def flash(self, at: int, rows: slice = slice(None)) -> np.ndarray:
        """(n, W) float32 rows of what the flash alone gave, moved; at least 0 where anything was done to them."""
        if not self.shifts.any():
            return self._still(at, rows, self.ambient)
        return np.maximum(self._moved(at, rows, self.ambient), 0)

    def brightest(self) -> np.ndarray:
        """(H, W) float32: of each pixel the brightest of the flashes, moved."""
        if self.ambient is None and not self.shifts.any():
            return linear(np.maximum.reduce(self.frames))
        brightest = np.empty(self.shape, np.float32)
        for rows in self.strips():
            brightest[rows] = self.flash(0, rows)
            for i in range(1, len(self)):
                np.maximum(brightest[rows], self.flash(i, rows), out=brightest[rows])
        return brightest

    def pair(self, at: int, rows: slice, saturation: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `flash`, and (n, W) bool where the frame as it was taken, moved, is saturated or a colour clipped."""
        flash = taken = self.flash(at, rows)
        if self.ambient is not None:
            taken = self._moved(at, rows, None) if self.shifts.any() else self._still(at, rows, None)
        saturated = taken >= saturation
        if self.clipped is not None:
            saturated |= self._clipped(at, rows)
        return flash, saturated

    def clipped_as_taken(self, at: int, rows: slice) -> np.ndarray:
        """(n, W) of 0 and 1, where a colour of a frame is clipped, not moved; only where any is."""
        assert self.clipped is not None
        return np.unpackbits(self.clipped[at, rows], axis=-1, count=self.shape[1])

    def _clipped(self, at: int, rows: slice) -> np.ndarray:
        if not self.shifts.any():
            return self.clipped_as_taken(at, rows).astype(bool)
        first, last, around = self._around(at, rows)
        share = self.clipped_as_taken(at, around).astype(np.float32)
        moved: np.ndarray = shifted(share, self.shifts[at] + [0, first - around.start], height=last - first) >= MIXED
        return moved

    def _still(self, at: int, rows: slice, ambient: np.ndarray | None) -> np.ndarray:
        image = linear(self.frames[at, rows])
        return image if ambient is None else np.maximum(image - ambient[rows], 0)

    def _moved(self, at: int, rows: slice, ambient: np.ndarray | None) -> np.ndarray:
        first, last, around = self._around(at, rows)
        image = self._still(at, around, ambient)
        return shifted(image, self.shifts[at] + [0, first - around.start], height=last - first)

    def _around(self, at: int, rows: slice) -> tuple[int, int, slice]:
        """First and last of some rows, and the rows of a frame that those see once it is moved."""
        height = self.shape[0]
        first, last, _ = rows.indices(height)
        down = float(self.shifts[at, 1])
        top = min(max(0, first + int(np.floor(down)) - REACH), height - 1)
        return first, last, slice(top, max(min(height, last + int(np.ceil(down)) + REACH), top + 1))
