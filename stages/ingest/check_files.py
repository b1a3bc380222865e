"""What kind of photographs a data set holds, by their headers: format, type, channels, size, signs of an encoding."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import Rejected
from pipeline.images import exr_header, frame_size

ICC_PROFILE = 34675  # TIFF's tag
SRGB_GAMMA = 1 / 2.2


@dataclass(frozen=True)
class Kind:
    """A photograph by its header.

    Attributes
    ----------
    format : str
        "PNG", "TIFF", ...
    type : str
        "8-bit", "16-bit", "float", or "" where the header does not say.
    channels : str
        "grey", "RGB", or "".
    height, width : int
        Pixels.
    encoded : str
        What speaks for values that are not linear, or "".
    """

    format: str
    type: str
    channels: str
    height: int
    width: int
    encoded: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.type, self.channels, self.format)))


def kind_of(path: str | Path) -> Kind:
    """The kind of a photograph; a header that is not understood leaves its type open.

    Raises
    ------
    Rejected
        It is no image at all.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".exr":
            return _exr(path)
        if suffix in (".tif", ".tiff"):
            return _tiff(path)
        return _by_pillow(path)
    except Rejected:
        raise
    except Exception:  # noqa: BLE001 - each library has errors of its own; the size has a reader that says why
        height, width = frame_size(path)
        return Kind(suffix.lstrip(".").upper(), "", "", height, width)


def _exr(path: Path) -> Kind:
    header, (height, width) = exr_header(path)
    names = {channel.name for channel in header["channels"]}
    return Kind("EXR", "float", "RGB" if {"R", "G", "B"} <= names else "grey", height, width)


def _tiff(path: Path) -> Kind:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        kind = "float" if page.dtype is not None and page.dtype.kind == "f" else f"{page.bitspersample}-bit"
        encoded = "a colour profile" if ICC_PROFILE in page.tags else ""
        channels = "RGB" if page.samplesperpixel >= 3 else "grey"
        return Kind("TIFF", kind, channels, page.imagelength, page.imagewidth, encoded)


def _by_pillow(path: Path) -> Kind:
    """BMP, PGM, PNG, JPEG; Pillow opens a file without decoding it."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            image_format, info, (width, height) = str(image.format), image.info, image.size
            deep = image.mode.startswith("I") or any(_is_deep(tile) for tile in image.tile)
            channels = "grey" if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I") else "RGB"
            floating = image.mode == "F"
    encoded = ""
    if image_format == "JPEG":
        encoded = "JPEG"
    elif "srgb" in info or "icc_profile" in info:
        encoded = "a colour profile"
    elif abs(float(info.get("gamma", 1.0)) - SRGB_GAMMA) < 0.01:
        encoded = "a gamma of 1/2.2"
    name = "PGM" if image_format == "PPM" else image_format
    return Kind(name, "float" if floating else "16-bit" if deep else "8-bit", channels, height, width, encoded)


def _is_deep(tile: Any) -> bool:
    """Whether a file holds 16 bits a channel where Pillow reads 8: its own mode, or a PNM's largest value, says so."""
    arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
    if tile.codec_name.startswith("ppm"):
        return int(arguments[1]) > 255
    return ";16" in str(arguments[0])
