"""What the header of a BMP, PNG, PGM, TIFF or JPEG claims, and whether the file holds it, without decoding a pixel.

A decoder takes memory by the size that is claimed, and may fill with grey what a broken copy has lost: so the claim is
read first, and a file that is shorter than it is refused.

References: TIFF 6.0, sections 2, 8 and 15 (the directory, strips, tiles); ITU-T T.81, annex B (the markers of JPEG);
ISO/IEC 15948 (PNG); the PNM formats of Netpbm; BITMAPINFOHEADER of Windows.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Sequence
from typing import BinaryIO, TypeAlias

from pipeline.errors import Rejected

MAX_PIXELS = 1 << 25  # of a picture, 33.6 million: four such frames take about 4 GB to reconstruct
Size: TypeAlias = tuple[int, int]  # height, width
Claim: TypeAlias = tuple[Size, str]  # a size, and what the file lacks of it, "" where it is whole
_BLANK = rb"(?:\s|#[^\n]*\n)"
_PORTABLE = re.compile(rb"P([1-6])" + _BLANK + rb"+(\d{1,10})" + _BLANK + rb"+(\d{1,10})(?=\s|#)")
_LARGEST_LEVEL = re.compile(_BLANK + rb"+(\d{1,10})\s")  # after the size of a PGM or PPM
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG after which the size stands
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in the data of a scan: no stuffed byte, no restart
_RUN_LENGTHS = (1, 2)  # how a BMP says that it is packed
_TIFF_TAGS = (256, 257, 258, 259, 262, 273, 277, 279, 284, 324, 325, 339)
_TIFF_TYPES = {1: "B", 3: "H", 4: "I"}
_UNCOMPRESSED, _PLANES_APART, _YCBCR = 1, 2, 6  # values of tags 259, 284 and 262


def claimed_size(file: BinaryIO) -> Size:
    """(height, width) that a picture's header claims; of no other format is it known what its decoder would take.

    Raises
    ------
    Rejected
        It is none of these formats, its header is damaged, it claims too many pixels, or the file is shorter than that.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        claim = _claim(file, file.read(4096), end)
    except struct.error:  # cut short within the header
        claim = None
    if claim is None:
        raise Rejected(f"{file.name}: not an image that can be read")
    size, lacks = claim
    check_size(file.name, size)
    if lacks:
        raise Rejected(f"{file.name}: cut short: {lacks}; copy it again")
    return size


def check_size(name: str, size: Size) -> None:
    """Refuse a picture of too many pixels before memory is taken for them."""
    if size[0] * size[1] > MAX_PIXELS:
        raise Rejected(
            f"{name}: {size[1]} x {size[0]} pixels, more than the {MAX_PIXELS / 1e6:.1f} million that are read; "
            "make the pictures smaller"
        )


def _claim(file: BinaryIO, head: bytes, end: int) -> Claim | None:
    if head[:2] == b"BM":
        return _bmp(head, end)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(file, end)
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(file, "<" if head[:1] == b"I" else ">", end)
    if head[:2] == b"\xff\xd8":
        return _jpeg(file)
    if portable := _PORTABLE.match(head):
        return _pnm(file, head, portable, end)
    return None


def _shortfall(end: int, least: int, what: str = "bytes") -> str:
    return f"{end} {what}, and its header claims {least}" if end < least else ""


def _bmp(head: bytes, end: int) -> Claim:
    """Rows are padded to four bytes; packed ones say their size themselves."""
    start, header = struct.unpack_from("<II", head, 10)
    short = header == 12  # the header of OS/2
    width, height = struct.unpack_from("<HH" if short else "<ii", head, 18)
    (bits,) = struct.unpack_from("<H", head, 24 if short else 28)
    packing, size = (0, 0) if short else struct.unpack_from("<II", head, 30)
    if packing not in _RUN_LENGTHS:
        size = -(-width * bits // 32) * 4 * abs(height)
    return (abs(height), width), _shortfall(end, start + size)


def _png(file: BinaryIO, end: int) -> Claim:
    """From the first chunk; none may claim more bytes than the file has, since decoders take memory by that claim."""
    file.seek(16)
    width, height = struct.unpack(">II", file.read(8))
    at = 8
    while at < end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        at += length + 12
        if at > end:
            return (height, width), f"its part {kind.decode('latin-1')} runs past its end"
        if kind == b"IEND":
            return (height, width), ""
    return (height, width), "it has no part IEND"


def _pnm(file: BinaryIO, head: bytes, match: re.Match[bytes], end: int) -> Claim | None:
    """Formats 1 to 3 are text, 4 to 6 binary: black and white (which has no largest level), grey, RGB."""
    form, width, height = (int(match[i]) for i in (1, 2, 3))
    at, size = match.end() + 1, 1
    if form not in (1, 4):
        level = _LARGEST_LEVEL.match(head, match.end())
        if level is None:
            return None
        at, size = level.end(), 2 if int(level[1]) > 255 else 1
    values = width * height * (3 if form in (3, 6) else 1)
    if form < 4:
        return (height, width), _shortfall(_written_out(file, at, values, digits=form == 1), values, "values")
    return (height, width), _shortfall(end, at + (height * -(-width // 8) if form == 4 else values * size))


def _written_out(file: BinaryIO, at: int, most: int, *, digits: bool) -> int:
    """How many values the text from a place on holds, counted to ``most``; black and white need no blanks between."""
    file.seek(at)
    found = 0
    while found < most and (line := file.readline(1 << 20)):
        text = line.partition(b"#")[0]
        found += text.count(b"0") + text.count(b"1") if digits else len(text.split())
    return found


def _tiff(file: BinaryIO, order: str, end: int) -> Claim | None:
    """From the first directory, and the strips or tiles that it names."""
    tags = _tiff_tags(file, order, end)
    if 256 not in tags or 257 not in tags:
        return None
    width, height = tags[256][0], tags[257][0]
    starts, counts = (tags.get(273) or tags.get(324, ())), (tags.get(279) or tags.get(325, ()))
    least = max((start + count for start, count in zip(starts, counts, strict=False)), default=0)
    if end < least:
        return (height, width), _shortfall(end, least)
    packing, samples, planar, photometric = (tags.get(tag, (1,))[0] for tag in (259, 277, 284, 262))
    if packing != _UNCOMPRESSED or photometric == _YCBCR or not counts:
        return (height, width), ""
    bits = width * tags.get(258, (1,))[0]
    least = height * (samples * math.ceil(bits / 8) if planar == _PLANES_APART else math.ceil(bits * samples / 8))
    return (height, width), _shortfall(sum(counts), least, "bytes of pixels")


def _tiff_tags(file: BinaryIO, order: str, end: int) -> dict[int, Sequence[int]]:
    """What the first directory says of the size and the place of the pixels, by tag; of one named twice, the first."""
    file.seek(4)
    file.seek(struct.unpack(order + "I", file.read(4))[0])
    size = 12 * struct.unpack(order + "H", file.read(2))[0]
    entries = file.read(size + 4)  # and the place of the next directory
    if len(entries) < size + 4:
        raise struct.error("a directory past the end")
    tags: dict[int, Sequence[int]] = {}
    for place in range(0, size, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", entries, place)
        if tag not in _TIFF_TAGS or tag in tags or kind not in _TIFF_TYPES or count == 0:
            continue
        size = count * struct.calcsize(_TIFF_TYPES[kind])
        values = entries[place + 8 : place + 8 + size]
        if size > 4:
            at = struct.unpack_from(order + "I", entries, place + 8)[0]
            if at + size > end:
                raise struct.error("values past the end")
            file.seek(at)
            values = file.read(size)
        tags[tag] = struct.unpack(f"{order}{count}{_TIFF_TYPES[kind]}", values)
    return tags


def _jpeg(file: BinaryIO) -> Claim | None:
    """The size from the start of frame; whole where an end of image follows the scans.

    Every segment begins with its marker and its length; the data of a scan goes on to the next marker.
    """
    file.seek(0)
    data, at, size = file.read() + b"\0\0", 2, None  # so that the last marker seems to have a length as well
    while True:
        prefix, marker, length = struct.unpack_from(">BBH", data, at)
        if marker == _END_OF_IMAGE and size is not None:
            return size, ""
        if (prefix, marker) == (0xFF, 0xFF):  # a marker may be preceded by any number of these
            at += 1
            continue
        if prefix != 0xFF or length < 2:
            return None
        if marker in _START_OF_FRAME and size is None:
            size = struct.unpack_from(">HH", data, at + 5)
        at += 2 + length
        if marker == _START_OF_SCAN:
            found = _MARKER.search(data, at)
            if found is None:
                return (size, "it has no end of image") if size else None
            at = found.end() - 2
