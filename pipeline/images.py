"""Frames and pictures: read as linear grey float32 in [0, 1], written as 8-bit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.tables import write_atomic

SUFFIXES = (".bmp", ".pgm", ".png", ".tif", ".tiff", ".exr", ".jpg", ".jpeg")
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # ITU-R BT.709, of linear R, G, B


def read_frame(path: str | Path) -> np.ndarray:
    """Read a photograph as (H, W) float32 grey, linear, in [0, 1] (floating-point files keep their own range).

    Raises
    ------
    Rejected
        The file is missing, empty, not an image, or holds NaN; the text names it.
    """
    path = Path(path)
    if not path.is_file():
        raise Rejected(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise Rejected(f"{path}: empty file")
    image = _read_exr(path) if path.suffix.lower() == ".exr" else _read_integer(path)
    if image.ndim == 3:
        image = image[..., :3] @ _LUMINANCE if image.shape[2] >= 3 else image[..., 0]
    if not np.isfinite(image).all():
        raise Rejected(f"{path}: holds NaN or infinite values")
    return np.ascontiguousarray(image, dtype=np.float32)


def _read_integer(path: Path) -> np.ndarray:
    """(H, W) or (H, W, RGB) float32 of any format that OpenCV reads."""
    try:
        image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, OSError) as error:
        raise Rejected(f"{path}: cannot be read as an image") from error
    if image is None:
        raise Rejected(f"{path}: not an image that can be read")
    if image.ndim == 3:
        image = image[..., 2::-1]  # BGR(A) to RGB
    full_scale = 1 if image.dtype.kind == "f" else np.iinfo(image.dtype.name).max
    return image.astype(np.float32) / full_scale


def _read_exr(path: Path) -> np.ndarray:
    """(H, W) or (H, W, RGB) float32 of an OpenEXR photograph."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path)) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except Exception as error:  # the binding raises bare RuntimeError and others
        raise Rejected(f"{path}: not an OpenEXR image that can be read") from error
    for name in ("RGB", "RGBA", "Y"):
        if name in channels:
            return np.asarray(channels[name], dtype=np.float32)
    raise Rejected(f"{path}: has none of the channels R, G, B or Y")


def frame_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a photograph; BMP, PGM and PNG by their header alone."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(64)
        if head[:2] == b"BM" and len(head) >= 26:
            width, height = np.frombuffer(head[18:26], dtype="<i4")
            return abs(int(height)), int(width)
        if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
            width, height = np.frombuffer(head[16:24], dtype=">u4")
            return int(height), int(width)
        words = head.split()
        if head[:2] in (b"P5", b"P2") and len(words) >= 3 and words[1].isdigit() and words[2].isdigit():
            return int(words[2]), int(words[1])
    height, width = read_frame(path).shape
    return height, width


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
