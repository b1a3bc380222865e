"""Frames and pictures: read as linear grey float32 in [0, 1], written as 8-bit.

What is read may be damaged or made to do harm. So a header is asked before anything is decoded how large the picture
is, and more than `MAX_PIXELS` are refused; what the decoders themselves print is swallowed, since a message here names
the file and says what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.files import strange
from pipeline.images.headers import MAX_PIXELS, check_size, claimed_size
from pipeline.images.silence import silenced
from pipeline.images.transfer import undone
from pipeline.params.base import Transfer
from pipeline.tables import write_atomic

__all__ = [
    "MAX_PIXELS", "SUFFIXES", "decode", "exr_header", "frame_size", "normal_picture", "read_clipped", "read_colour",
    "read_exr", "read_frame", "silenced", "stretched", "write_picture",
]  # fmt: skip

SUFFIXES = (".bmp", ".pgm", ".png", ".tif", ".tiff", ".exr", ".jpg", ".jpeg")
MAX_BYTES = 1 << 30  # of a file: twice that many pixels in four channels of 32 bits
MAX_CHANNELS = 64  # of an OpenEXR file
MAX_VALUE = 65535.0  # of a floating-point frame
LIT = 0.1  # of the level that one in a hundred pixels exceeds: what stands in the light
OTHER_UNITS = 4.0  # times white: a frame whose lit part is mostly brighter holds counts or per cent
MOST_NEGATIVE = 0.1  # of the largest value, at least of white: noise around black, and no more
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # ITU-R BT.709, of linear R, G, B


def read_frame(path: str | Path, transfer: Transfer | None = None) -> np.ndarray:
    """Read a photograph as (H, W) float32 grey, linear, in [0, 1] (floating-point files keep their own range).

    Parameters
    ----------
    transfer : the tone curve that the file was written with, to be undone; none where its levels are linear.

    Raises
    ------
    Rejected
        The file is missing, empty, too large, not an image, or holds values that no camera gives; the text names it.
    """
    path = Path(path)
    return linear(_grey(path, _pixels(path), transfer, keep=False))


def read_colour(path: str | Path) -> np.ndarray:
    """Read a photograph as (H, W, 3) float32 RGB, its levels as of `read_frame`; of a grey one, thrice the same.

    Raises
    ------
    Rejected
        As `read_frame`.
    """
    path = Path(path)
    pixels = _pixels(path)
    if pixels.ndim == 2:
        return np.repeat(_grey(path, pixels, None, keep=False)[..., None], 3, axis=2)
    return np.stack([_grey(path, pixels[..., i], None, keep=False) for i in range(3)], axis=-1)


def read_levels(path: str | Path, transfer: Transfer | None = None) -> np.ndarray:
    """Read a photograph as (H, W) grey in the numbers that it is stored in, for :func:`linear`: uint8 or uint16, whose
    top is white, or float32. Colour of any number of bits, and what had a tone curve, becomes linear grey of 16.

    Raises
    ------
    Rejected
        As `read_frame`.
    """
    path = Path(path)
    return _grey(path, _pixels(path), transfer, keep=True)


def read_clipped(path: str | Path, transfer: Transfer | None, *, top: float) -> tuple[np.ndarray, np.ndarray | None]:
    """The levels of `read_levels`, and where they hide that the camera clipped: (H, W) bool, pixels whose grey is below
    ``top`` of white while a colour is not; none where there are none.

    Raises
    ------
    Rejected
        As `read_frame`.
    """
    path = Path(path)
    pixels = _pixels(path)
    levels = _grey(path, pixels, transfer, keep=True)
    if pixels.ndim == 2:
        return levels, None
    clipped = (linear(pixels[..., :3].max(axis=-1), transfer) >= top) & (linear(levels) < top)
    return levels, clipped if clipped.any() else None


def linear(levels: np.ndarray, transfer: Transfer | None = None) -> np.ndarray:
    """Levels of any shape as float32, white 1, a tone curve undone; floats are taken as they are."""
    if levels.dtype.kind == "f":
        return undone(levels.astype(np.float32, copy=False), transfer)
    top = np.iinfo(levels.dtype).max
    if transfer in (None, "linear"):
        return np.divide(levels, np.float32(top), dtype=np.float32)
    table: np.ndarray = undone(np.arange(top + 1) / top, transfer).astype(np.float32)
    return table[levels]


def widened(levels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Levels in another type of :func:`read_levels` that holds them all."""
    if levels.dtype == dtype:
        return levels
    return levels.astype(dtype) * dtype.type(257) if dtype == np.uint16 else linear(levels)


def _pixels(path: Path) -> np.ndarray:
    """(H, W) or (H, W, C), red first, as a photograph's file holds them."""
    if path.suffix.lower() == ".exr":
        _check_file(path)
        return _read_exr_frame(path)
    image = decode(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        image = image[..., 2::-1] if image.shape[2] >= 3 else image[..., 0]  # BGR(A) to RGB
    return image


def _grey(path: Path, image: np.ndarray, transfer: Transfer | None, *, keep: bool) -> np.ndarray:
    """(H, W) levels of a photograph's pixels, of their own type where ``keep``, else float32."""
    if image.dtype in (np.uint8, np.uint16):
        if image.ndim == 2 and (not keep or transfer in (None, "linear")):
            return np.ascontiguousarray(image) if keep else linear(image, transfer)
        grey = linear(image, transfer)
        grey = grey @ _LUMINANCE if grey.ndim == 3 else grey
        return np.rint(grey * 65535).astype(np.uint16) if keep else grey
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite or is NaN is refused below
        image = linear(image, transfer)
    if not np.isfinite(image).all():
        raise Rejected(f"{path}: holds NaN or infinite values")
    low, high = float(image.min()), float(image.max())
    if high > MAX_VALUE or low < -MOST_NEGATIVE * max(high, 1.0):
        raise Rejected(f"{path}: holds values from {low:.3g} to {high:.3g}; a frame is linear, black 0 and white 1")
    if image.ndim == 3:
        image = image[..., :3] @ _LUMINANCE if image.shape[2] >= 3 else image[..., 0]
    if high > OTHER_UNITS:
        _check_units(path, image)
    return np.ascontiguousarray(image, dtype=np.float32)


def _check_units(path: Path, image: np.ndarray) -> None:
    """Refuse a frame of which white is not 1; a highlight, a lamp or a window may well be brighter."""
    middle = float(np.median(image[image > LIT * np.percentile(image, 99)]))
    if middle > OTHER_UNITS:
        raise Rejected(
            f"{path}: levels of {middle:.3g} in the lit part, and white is 1 in a floating-point frame; divide the "
            "frames by the level at which the camera clips (255, 65535)"
        )


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
            claimed_size(file)
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
    check_size(str(path), size)
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
        return claimed_size(file)


def _check_file(path: Path) -> None:
    """Refuse what is no file, is empty, or is larger than any photograph."""
    try:
        found = path.is_file()
        size = path.stat().st_size if found else 0
    except (OSError, ValueError) as error:  # a name that no file can have
        raise Rejected(f"{path}: cannot be read ({error})") from error
    if not found:
        if path.is_dir():
            raise Rejected(f"{path}: a folder, not a picture; name the files in it")
        what = strange(path)
        raise Rejected(f"{path}: {what}, not a file; put the picture there" if what else f"{path}: no such file")
    if size == 0:
        raise Rejected(f"{path}: empty file")
    if size > MAX_BYTES:
        raise Rejected(f"{path}: a file of {size / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.1f} GB are read")


def write_picture(path: str | Path, image: np.ndarray) -> Path:
    """Write (H, W) grey or (H, W, 3) RGB, float in [0, 1] or uint8, as 8-bit in the format of the name's suffix.

    Rounds to the nearest level; values outside [0, 1] are clipped.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    path = Path(path)
    if not path.suffix:
        raise UserError(f"{path}: give the picture a name that ends in its format, such as {path.name}.png")
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
