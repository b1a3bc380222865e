"""Frames and pictures: read as linear grey float32 in [0, 1], written as 8-bit.

What is read may be damaged or made to do harm. So a header is asked before anything is decoded how large the picture
is, and more than `MAX_PIXELS` are refused; what the decoders themselves print is swallowed, since a message here names
the file and says what to do.

References: TIFF 6.0, section 2 (the directory); ITU-T T.81, annex B (the frame header of JPEG); ISO/IEC 15948 (PNG).
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.tables import write_atomic

SUFFIXES = (".bmp", ".pgm", ".png", ".tif", ".tiff", ".exr", ".jpg", ".jpeg")
MAX_PIXELS = 1 << 25  # of a picture, 33.6 million: four such frames take about 4 GB to reconstruct
MAX_BYTES = 1 << 30  # of a file: twice that many pixels in four channels of 32 bits
MAX_CHANNELS = 64  # of an OpenEXR file
MAX_VALUE = 65535.0  # of a floating-point frame: one that holds 16-bit counts is still understood
MOST_NEGATIVE = 0.1  # of the largest value, at least of white: noise around black, and no more
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # ITU-R BT.709, of linear R, G, B
_PORTABLE = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,10})(?:\s|#[^\n]*\n)+(\d{1,10})(?:\s|#)")
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG after which the size stands
_c = ctypes.CDLL(None)
_only_one = threading.Lock()  # two threads that silence at once would leave the process silent


def read_frame(path: str | Path) -> np.ndarray:
    """Read a photograph as (H, W) float32 grey, linear, in [0, 1] (floating-point files keep their own range).

    Raises
    ------
    Rejected
        The file is missing, empty, too large, not an image, or holds values that no camera gives; the text names it.
    """
    return linear(_grey(Path(path), keep=False))


def read_levels(path: str | Path) -> np.ndarray:
    """Read a photograph as (H, W) grey in the numbers that it is stored in, for :func:`linear`: uint8 or uint16, whose
    top is white, or float32. Colour of any number of bits becomes grey of 16.

    Raises
    ------
    Rejected
        As `read_frame`.
    """
    return _grey(Path(path), keep=True)


def linear(levels: np.ndarray) -> np.ndarray:
    """Levels of any shape as float32, white 1; floats are taken as they are."""
    if levels.dtype.kind == "f":
        return levels.astype(np.float32, copy=False)
    return np.divide(levels, np.float32(np.iinfo(levels.dtype).max), dtype=np.float32)


def widened(levels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Levels in another type of :func:`read_levels` that holds them all."""
    if levels.dtype == dtype:
        return levels
    return levels.astype(dtype) * dtype.type(257) if dtype == np.uint16 else linear(levels)


def _grey(path: Path, *, keep: bool) -> np.ndarray:
    """(H, W) levels of a photograph, of its own type where ``keep``, else float32."""
    if path.suffix.lower() == ".exr":
        _check_file(path)
        image = _read_exr_frame(path)
    else:
        image = decode(path, cv2.IMREAD_UNCHANGED)
        if image.ndim == 3:
            image = image[..., 2::-1] if image.shape[2] >= 3 else image[..., 0]  # BGR(A) to RGB
    if image.dtype in (np.uint8, np.uint16):
        if image.ndim == 2:
            return np.ascontiguousarray(image) if keep else linear(image)
        grey = linear(image) @ _LUMINANCE
        return np.rint(grey * 65535).astype(np.uint16) if keep else grey
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite or is NaN is refused below
        image = linear(image)
    if not np.isfinite(image).all():
        raise Rejected(f"{path}: holds NaN or infinite values")
    low, high = float(image.min()), float(image.max())
    if high > MAX_VALUE or low < -MOST_NEGATIVE * max(high, 1.0):
        raise Rejected(f"{path}: holds values from {low:.3g} to {high:.3g}; a frame is linear, black 0 and white 1")
    if image.ndim == 3:
        image = image[..., :3] @ _LUMINANCE if image.shape[2] >= 3 else image[..., 0]
    return np.ascontiguousarray(image, dtype=np.float32)


def decode(path: str | Path, flags: int) -> np.ndarray:
    """The pixels of any picture that OpenCV reads, by its own flags, without a word on standard error.

    Raises
    ------
    Rejected
        The file is missing, empty, too large or not a picture; the text names it.
    """
    path = Path(path)
    _check_file(path)
    try:
        with path.open("rb") as file:
            _check_size(path, _claimed_size(file))
        with silenced():
            image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), flags)
    except OSError as error:
        raise Rejected(f"{path}: cannot be read ({error.strerror or error})") from error
    except (cv2.error, MemoryError):
        image = None
    if image is None or not image.size:
        raise Rejected(f"{path}: not an image that can be read")
    return image


def _read_exr_frame(path: Path) -> np.ndarray:
    """(H, W) or (H, W, RGB) float32 of an OpenEXR photograph."""
    _, channels = read_exr(path)
    for name in ("RGB", "RGBA", "Y"):
        if name in channels:
            return channels[name].astype(np.float32)
    raise Rejected(f"{path}: has none of the channels R, G, B or Y")


def read_exr(path: Path, *, separate: bool = False) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and channels of an OpenEXR file; R, G, B stay apart where ``separate``.

    Raises
    ------
    Rejected
        It is damaged, too large, or holds channels that are not numbers on the pixels of one picture; the text says so.
    """
    import OpenEXR

    header, size = exr_header(path)
    try:
        with silenced(), OpenEXR.File(str(path), separate_channels=separate) as file:
            channels = {name: np.asarray(channel.pixels) for name, channel in file.channels().items()}
    except Exception as error:  # the binding raises RuntimeError, ValueError, MemoryError and others
        raise Rejected(f"{path}: a damaged OpenEXR file") from error
    for name, pixels in channels.items():
        if pixels.dtype.kind not in "fu" or pixels.shape[:2] != size:
            raise Rejected(f"{path}: channel {name} does not have a number for each of {size[1]} x {size[0]} pixels")
    return header, channels


def exr_header(path: Path) -> tuple[dict[str, Any], tuple[int, int]]:
    """Header of an OpenEXR file and the (height, width) it claims; no pixel is read.

    Raises
    ------
    Rejected
        It is missing, damaged or too large; the text names it.
    """
    import OpenEXR

    _check_file(path)
    try:
        with silenced(), OpenEXR.File(str(path), header_only=True) as file:
            header = dict(file.header())  # the binding empties its own when the file is closed
            (left, top), (right, bottom) = header["dataWindow"]
            size = int(bottom) - int(top) + 1, int(right) - int(left) + 1
            channels = len(header["channels"])
    except Exception as error:  # as in read_exr
        raise Rejected(f"{path}: a damaged OpenEXR file") from error
    _check_size(path, size)
    if channels > MAX_CHANNELS:
        raise Rejected(f"{path}: {channels} channels; at most {MAX_CHANNELS} are read")
    return header, size


def frame_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a photograph, by its header alone.

    Raises
    ------
    Rejected
        As `read_frame`, as far as the header tells.
    """
    path = Path(path)
    if path.suffix.lower() == ".exr":
        return exr_header(path)[1]
    _check_file(path)
    with path.open("rb") as file:
        size = _claimed_size(file)
    _check_size(path, size)
    return size


def _claimed_size(file: BinaryIO) -> tuple[int, int]:
    """(height, width) that the header of a BMP, PNG, PGM, TIFF or JPEG claims; of no other picture is it known how much
    memory its decoder would take.

    Raises
    ------
    Rejected
        It is none of these, or its header is cut short.
    """
    size = _size_by_magic(file)
    if size is None:
        raise Rejected(f"{file.name}: not an image that can be read")
    return size


def _size_by_magic(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(4096)
    try:
        if head[:2] == b"BM":
            short = struct.unpack_from("<I", head, 14)[0] == 12  # the header of OS/2
            width, height = struct.unpack_from("<HH" if short else "<ii", head, 18)
            return abs(height), width
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            return _size_of_png(file)
        if portable := _PORTABLE.match(head):
            return int(portable[2]), int(portable[1])
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _size_of_tiff(file, "<" if head[:1] == b"I" else ">")
        if head[:2] == b"\xff\xd8":
            return _size_of_jpeg(file)
    except struct.error:  # cut short
        return None
    return None


def _size_of_png(file: BinaryIO) -> tuple[int, int]:
    """From the first chunk; none may claim more bytes than the file has, since decoders take memory by that claim."""
    end = file.seek(0, os.SEEK_END)
    file.seek(16)
    width, height = struct.unpack(">II", file.read(8))
    at = 8
    while at < end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        at += length + 12
        if at > end:
            raise Rejected(f"{file.name}: cut short: its part {kind.decode('latin-1')} runs past its end")
        if kind == b"IEND":
            break
    return height, width


def _size_of_tiff(file: BinaryIO, order: str) -> tuple[int, int] | None:
    """From the first directory: tag 256 is the width, 257 the height, in 16 (type 3) or 32 bits (type 4)."""
    file.seek(4)
    file.seek(struct.unpack(order + "I", file.read(4))[0])
    found: dict[int, int] = {}
    for _ in range(struct.unpack(order + "H", file.read(2))[0]):
        entry = file.read(12)
        tag, kind = struct.unpack_from(order + "HH", entry)
        if tag in (256, 257) and kind in (3, 4):
            found.setdefault(tag, struct.unpack_from(order + ("H" if kind == 3 else "I"), entry, 8)[0])
    return (found[257], found[256]) if len(found) == 2 else None


def _size_of_jpeg(file: BinaryIO) -> tuple[int, int] | None:
    """From the start of frame; every segment before it begins with its marker and its length."""
    file.seek(2)
    while True:
        marker, length = struct.unpack(">HH", file.read(4))
        if marker >> 8 != 0xFF or length < 2:
            return None
        if marker & 0xFF in _START_OF_FRAME:
            height, width = struct.unpack_from(">xHH", file.read(5))
            return height, width
        file.seek(length - 2, os.SEEK_CUR)


def _check_file(path: Path) -> None:
    """Refuse what is no file, is empty, or is larger than any photograph."""
    try:
        found = path.is_file()
        size = path.stat().st_size if found else 0
    except (OSError, ValueError) as error:  # a name that no file can have
        raise Rejected(f"{path}: cannot be read ({error})") from error
    if not found:
        raise Rejected(f"{path}: no such file")
    if size == 0:
        raise Rejected(f"{path}: empty file")
    if size > MAX_BYTES:
        raise Rejected(f"{path}: a file of {size / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.1f} GB are read")


def _check_size(path: Path, size: tuple[int, int]) -> None:
    """Refuse a picture of too many pixels before memory is taken for them."""
    if size[0] * size[1] > MAX_PIXELS:
        raise Rejected(
            f"{path}: {size[1]} x {size[0]} pixels, more than the {MAX_PIXELS / 1e6:.1f} million that are read; "
            "make the pictures smaller"
        )


@contextmanager
def silenced() -> Iterator[None]:
    """Nothing that libpng, libjpeg, OpenCV or OpenEXR print reaches the user; what Python prints meanwhile is lost."""
    with _only_one:
        _flush()
        kept = []
        for number in (1, 2):
            with suppress(OSError):
                kept.append((number, os.dup(number)))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for number, _ in kept:
                os.dup2(nowhere, number)
            yield
        finally:
            _flush()
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)
            os.close(nowhere)


def _flush() -> None:
    """Hand on what Python and the C library have not yet written: the latter holds lines back wherever no one looks."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # one that is closed, or was never there
            stream.flush()
    _c.fflush(None)


def write_picture(path: str | Path, image: np.ndarray) -> Path:
    """Write (H, W) grey or (H, W, 3) RGB, float in [0, 1] or uint8, as 8-bit in the format of the name's suffix.

    Rounds to the nearest level; values outside [0, 1] are clipped.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or path.suffix.lower() == ".exr":
        raise UserError(f"{path}: cannot write pictures as `{path.suffix}`; use .png")
    ok, data = cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image)
    assert ok, path
    return write_atomic(path, lambda p: p.write_bytes(data.tobytes()))


def normal_picture(normal: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) picture of a normal map: 0.5 + 0.5 n as RGB, mid-grey outside the mask."""
    return np.where(mask[..., None] > 0, 0.5 + 0.5 * np.asarray(normal, dtype=np.float32), 0.5)


def stretched(values: np.ndarray, mask: np.ndarray, percentiles: tuple[float, float] = (1.0, 99.0)) -> np.ndarray:
    """(H, W) map stretched to [0, 1] between two percentiles inside the mask, 0 outside: for looking at."""
    inside = mask > 0
    if not inside.any():
        return np.zeros(values.shape, dtype=np.float32)
    low, high = np.percentile(np.asarray(values, dtype=np.float32)[inside], percentiles)
    scaled = (np.asarray(values, dtype=np.float32) - low) / max(high - low, 1e-9)
    return np.where(inside, np.clip(scaled, 0, 1), 0).astype(np.float32)
