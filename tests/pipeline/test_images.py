"""Frames of every format come in as the same linear grey float."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import Rejected, UserError
from pipeline.images import MAX_PIXELS, _claimed_size, frame_size, read_frame, silenced, stretched, write_picture


@pytest.fixture
def ramp() -> np.ndarray:
    return np.linspace(0, 1, 12 * 20, dtype=np.float32).reshape(12, 20)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("bmp", "uint8"), ("pgm", "uint8"), ("png", "uint8"), ("png", "uint16"), ("tif", "float32")]
)
def test_formats_and_depths_agree(workspace: Path, ramp: np.ndarray, suffix: str, dtype: str) -> None:
    scale = 1 if dtype == "float32" else np.iinfo(dtype).max
    stored = ramp if dtype == "float32" else np.rint(ramp * scale).astype(dtype)
    cv2.imwrite(f"x.{suffix}", stored)
    read = read_frame(f"x.{suffix}")
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, ramp, atol=0.51 / scale if scale > 1 else 1e-7)
    assert frame_size(f"x.{suffix}") == ramp.shape


def test_colour_becomes_luminance(workspace: Path) -> None:
    bgr = np.zeros((4, 4, 3), np.uint8)
    bgr[..., 2] = 255  # red
    cv2.imwrite("x.png", bgr)
    np.testing.assert_allclose(read_frame("x.png"), 0.2126, atol=1e-6)


def test_openexr_photographs(workspace: Path, ramp: np.ndarray) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Y": OpenEXR.Channel(ramp)}) as file:
        file.write("x.exr")
    np.testing.assert_array_equal(read_frame("x.exr"), ramp)


@pytest.mark.parametrize("content", [None, b"", b"BM nonsense", b"\x76\x2f\x31\x01 not exr"])
@pytest.mark.parametrize("suffix", ["bmp", "exr", "png"])
def test_what_is_not_a_frame_is_rejected_by_name(workspace: Path, suffix: str, content: bytes | None) -> None:
    path = Path(f"x.{suffix}")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Rejected, match=r"x\."):
        read_frame(path)


def test_nan_is_rejected(workspace: Path, ramp: np.ndarray) -> None:
    ramp[3, 3] = np.nan
    cv2.imwrite("x.tif", ramp)
    with pytest.raises(Rejected, match="NaN"):
        read_frame("x.tif")


def test_pictures_round_to_the_nearest_level(workspace: Path) -> None:
    write_picture("x.png", np.array([[0.0, 0.5, 1.0, 2.0, -1.0]]))
    assert cv2.imread("x.png", cv2.IMREAD_UNCHANGED).tolist() == [[0, 128, 255, 255, 0]]
    with pytest.raises(UserError, match=r"use \.png"):
        write_picture("x.xyz", np.zeros((2, 2)))


def test_stretched_fills_the_range_inside_the_mask(ramp: np.ndarray) -> None:
    mask = np.zeros(ramp.shape, bool)
    mask[3:9] = True
    out = stretched(0.1 + 0.01 * ramp, mask)
    assert out[mask].min() == 0
    assert out[mask].max() == 1
    assert np.all(out[~mask] == 0)
    assert np.all(stretched(ramp, np.zeros_like(mask)) == 0)


@pytest.mark.parametrize("suffix", ["bmp", "pgm", "png", "tif", "jpg"])
def test_sizes_come_from_the_header_alone(workspace: Path, ramp: np.ndarray, suffix: str) -> None:
    image = np.rint(ramp * 255).astype(np.uint8)
    cv2.imwrite(f"x.{suffix}", image)
    with Path(f"x.{suffix}").open("rb") as file:
        assert _claimed_size(file) == (12, 20)


def test_too_many_pixels_are_refused_by_the_header(workspace: Path, ramp: np.ndarray) -> None:
    cv2.imwrite("x.bmp", np.rint(ramp * 255).astype(np.uint8))
    data = bytearray(Path("x.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", MAX_PIXELS, 2)
    Path("x.bmp").write_bytes(bytes(data))
    for read in (read_frame, frame_size):
        with pytest.raises(Rejected, match=r"x\.bmp: 33554432 x 2 pixels, more than the 33\.6 million"):
            read("x.bmp")


@pytest.mark.parametrize(
    ("value", "words"), [(1e30, r"from 0 to 1e\+30"), (-0.2, "from -0.2 to 1"), (np.inf, "infinite")]
)
def test_values_no_camera_gives_are_rejected(workspace: Path, ramp: np.ndarray, value: float, words: str) -> None:
    ramp[3, 3] = value
    cv2.imwrite("x.tif", ramp)
    with pytest.raises(Rejected, match=words):
        read_frame("x.tif")


def test_noise_about_black_is_kept(workspace: Path, ramp: np.ndarray) -> None:
    cv2.imwrite("x.tif", ramp - np.float32(0.05))
    assert read_frame("x.tif").min() == np.float32(-0.05)


def test_decoders_are_silent_and_the_streams_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    print("before", flush=True)
    with silenced():
        os.write(1, b"decoder\n")
        os.write(2, b"decoder\n")
    print("after", file=sys.stderr, flush=True)
    assert capfd.readouterr() == ("before\n", "after\n")


def test_closed_streams_do_not_matter(workspace: Path, ramp: np.ndarray) -> None:
    cv2.imwrite("x.png", np.rint(ramp * 255).astype(np.uint8))
    code = "from pipeline.images import read_frame; raise SystemExit(read_frame('x.png').shape != (12, 20))"
    shell = f'"{sys.executable}" -c "{code}" >&- 2>&-'
    assert subprocess.run(shell, shell=True, check=False).returncode == 0
