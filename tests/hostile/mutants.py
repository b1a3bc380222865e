"""Seeded damage to the bytes of a file: what disks, cables, editors, spreadsheets and ill will do to it."""

from __future__ import annotations

import re
import struct

import numpy as np

HEADER = 400  # bytes: most of what steers a decoder stands there
COUNTS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 20_000, 0x10000, 0x1000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NUMBERS = ("nan", "inf", "-inf", "1e308", "1e-320", "-1", "0", "9" * 400, "0x10", "1_0", "١٢", "1,5", "", "1e", "--3")
ENCODINGS = ("utf-16", "utf-32", "utf-8-sig", "cp500")
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def mutate(data: bytes, rng: np.random.Generator, *, text: bool) -> bytes:
    """The bytes with one to three kinds of damage; a text is mostly damaged as texts are."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        kinds = TEXT if text and rng.random() < 0.75 else BINARY
        data = kinds[int(rng.integers(len(kinds)))](data, rng)
    return data


def _place(data: bytes, rng: np.random.Generator) -> int:
    """A place in the file, every other time in its header."""
    return int(rng.integers(max(1, min(len(data), HEADER) if rng.random() < 0.5 else len(data))))


def flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if out:
            out[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(out)


def truncate(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def insert(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 64))) + data[at:]


def remove(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 64)) :]


def zero(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = _place(data, rng), int(rng.integers(1, 512))
    return data[:at] + bytes(len(data[at : at + length])) + data[at + length :]


def repeat(data: bytes, rng: np.random.Generator) -> bytes:
    at, length = _place(data, rng), int(rng.integers(1, 200))
    return data[:at] + data[at : at + length] * int(rng.integers(2, 40)) + data[at + length :]


def count(data: bytes, rng: np.random.Generator) -> bytes:
    """A whole number of the header, two, four or eight bytes long in either order, becomes another."""
    at, value = _place(data, rng), int(rng.choice(np.array(COUNTS, dtype=np.int64)))
    width = str(rng.choice(["H", "I", "Q"]))
    order = str(rng.choice(["<", ">"]))
    packed = struct.pack(order + width, value & (1 << 8 * struct.calcsize("<" + width)) - 1)
    return data[:at] + packed + data[at + len(packed) :]


def tail(data: bytes, rng: np.random.Generator) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 4096)))


def noise(data: bytes, rng: np.random.Generator) -> bytes:
    kept = int(rng.integers(0, 9))  # the magic number may stay
    return data[:kept] + rng.bytes(int(rng.integers(1, 600)))


def number(data: bytes, rng: np.random.Generator) -> bytes:
    found = list(NUMBER.finditer(data))
    if not found:
        return data
    chosen = found[int(rng.integers(len(found)))]
    return data[: chosen.start()] + NUMBERS[int(rng.integers(len(NUMBERS)))].encode() + data[chosen.end() :]


def nuls(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes(int(rng.integers(1, 40))) + data[at:]


def line_ends(data: bytes, rng: np.random.Generator) -> bytes:
    end = (b"\r\n", b"\r", b"\x0b", b"\n\n", "\u2028".encode())[int(rng.integers(5))]
    return data.replace(b"\n", end)


def encoding(data: bytes, rng: np.random.Generator) -> bytes:
    return data.decode("utf-8", errors="replace").encode(str(rng.choice(ENCODINGS)), errors="replace")


def garbage(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes that are no UTF-8."""
    at = _place(data, rng)
    return data[:at] + bytes(rng.integers(0x80, 0x100, size=int(rng.integers(1, 9)), dtype=np.uint8)) + data[at:]


def long_line(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + (b"7", b"a", b",", b" ", b"[", b'"', b"-")[int(rng.integers(7))] * 200_000 + data[at:]


def lines(data: bytes, rng: np.random.Generator) -> bytes:
    """A line is lost, doubled or moved."""
    rows = data.split(b"\n")
    chosen = rows.pop(int(rng.integers(len(rows))))
    for _ in range(int(rng.integers(0, 3))):
        rows.insert(int(rng.integers(len(rows) + 1)), chosen)
    return b"\n".join(rows)


def marks(data: bytes, rng: np.random.Generator) -> bytes:
    """A comma, bracket, quote or semicolon is put in, or one is exchanged for another."""
    at = _place(data, rng)
    mark = (b",", b";", b'"', b"[", b"]", b"{", b"}", b"\t", b"%", b":", b"../")[int(rng.integers(11))]
    return data[:at] + mark + data[at + int(rng.integers(2)) :]


BINARY = (flip_bits, flip_bits, truncate, insert, remove, zero, repeat, count, count, count, tail, noise)
TEXT = (number, number, number, nuls, line_ends, encoding, garbage, long_line, lines, lines, marks, marks)
