"""Frames of every format come in as the same linear grey float."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import Rejected, UserError
from pipeline.images import frame_size, read_frame, stretched, write_picture


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
