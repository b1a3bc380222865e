"""Frames of every format come in as the same linear grey float."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import Rejected, UserError
from pipeline.images import (
    MAX_PIXELS,
    decode,
    frame_size,
    linear,
    read_frame,
    read_levels,
    silenced,
    stretched,
    write_picture,
)
from pipeline.images.headers import claimed_size


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


CURVES = {  # light to levels, as the standards give it
    "srgb": lambda x: np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055),  # IEC 61966-2-1
    2.2: lambda x: x ** (1 / 2.2),
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(("suffix", "dtype"), [("png", "uint8"), ("png", "uint16"), ("tif", "float32")])
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_a_tone_curve_is_undone_before_colours_are_mixed(
    workspace: Path, ramp: np.ndarray, curve: str | float, suffix: str, dtype: str, colour: bool
) -> None:
    """Against the encoding direction of the standard; a level's width in light is at most 2.4 times its width."""
    light = np.stack([ramp, ramp[:, ::-1], ramp**2], axis=-1) if colour else ramp
    encoded = CURVES[curve](light.astype(float))
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    stored = encoded.astype(np.float32) if top == 1 else np.rint(encoded * top).astype(dtype)
    cv2.imwrite(f"x.{suffix}", stored[..., ::-1] if colour else stored)
    expected = light @ [0.2126, 0.7152, 0.0722] if colour else light
    step = 1e-6 if top == 1 else 2.4 * 0.51 / top
    np.testing.assert_allclose(read_frame(f"x.{suffix}", curve), expected, atol=step)
    levels = read_levels(f"x.{suffix}", curve)
    assert levels.dtype == (np.float32 if top == 1 else np.uint16)
    np.testing.assert_allclose(linear(levels), expected, atol=step + 0.51 / 65535)
    assert np.abs(read_frame(f"x.{suffix}") - expected).max() > 0.2
    np.testing.assert_array_equal(read_frame(f"x.{suffix}", "linear"), read_frame(f"x.{suffix}"))


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
        assert claimed_size(file) == (12, 20)


def test_too_many_pixels_are_refused_by_the_header(workspace: Path, ramp: np.ndarray) -> None:
    cv2.imwrite("x.bmp", np.rint(ramp * 255).astype(np.uint8))
    data = bytearray(Path("x.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", MAX_PIXELS, 2)
    Path("x.bmp").write_bytes(bytes(data))
    for read in (read_frame, frame_size):
        with pytest.raises(Rejected, match=r"x\.bmp: 33554432 x 2 pixels, more than the 33\.6 million"):
            read("x.bmp")


def encoded(image: np.ndarray, suffix: str, *flags: int) -> bytes:
    return cv2.imencode(suffix, image, flags)[1].tobytes()


LEVELS = np.random.default_rng(3).integers(0, 256, (37, 53), dtype=np.uint8)
COLOUR = np.random.default_rng(4).integers(0, 256, (37, 53, 3), dtype=np.uint8)
WHOLE = {
    "grey.bmp": encoded(LEVELS, ".bmp"),
    "colour.bmp": encoded(COLOUR, ".bmp"),
    "grey.pgm": encoded(LEVELS, ".pgm"),
    "deep.pgm": encoded(LEVELS * np.uint16(257), ".pgm"),
    "colour.pgm": encoded(COLOUR, ".ppm"),
    "bits.pgm": encoded(LEVELS, ".pbm"),
    "text.pgm": encoded(LEVELS, ".pgm", cv2.IMWRITE_PXM_BINARY, 0) + b"\n",
    "grey.png": encoded(LEVELS, ".png"),
    "deep.png": encoded(COLOUR * np.uint16(257), ".png"),
    "plain.tif": encoded(LEVELS, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, 1),
    "packed.tif": encoded(COLOUR, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, 5),
    "float.tif": encoded(LEVELS / np.float32(255), ".tif"),
    "grey.jpg": encoded(LEVELS, ".jpg"),
    "colour.jpg": encoded(COLOUR, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts.jpg": encoded(COLOUR, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_picture_cut_short_anywhere_is_refused_by_header_and_by_decoder(workspace: Path, name: str) -> None:
    """Header readers passed all of these, and decoders fill what is lost of a JPEG with grey."""
    data, path = WHOLE[name], Path(name)
    path.write_bytes(data)
    assert frame_size(path) == (37, 53)
    assert read_frame(path).shape == (37, 53)
    spare = 4 if name.startswith("text") else 0  # the last value may be a digit shorter, and still be a value
    cuts = [*range(1, 40), *range(40, len(data) - 40, 97), *range(len(data) - 40, len(data) - spare)]
    for length in cuts:
        path.write_bytes(data[:length])
        for read in (frame_size, read_frame, lambda p: decode(p, cv2.IMREAD_GRAYSCALE)):
            with pytest.raises(
                Rejected, match=rf"^{name}: (cut short: .*; copy it again|not an image that can be read)$"
            ):
                read(path)


@pytest.mark.parametrize("name", [name for name in WHOLE if "tif" not in name])  # whose directory stands at its end
def test_what_is_lost_is_said(workspace: Path, name: str) -> None:
    Path(name).write_bytes(WHOLE[name][:-60])
    with pytest.raises(Rejected, match=r"cut short: .*; copy it again"):
        frame_size(name)


def test_other_writers_pictures_are_whole(workspace: Path) -> None:
    """Layouts that OpenCV does not write: tiles, either byte order, planes apart, palettes, run lengths, trailers."""
    import tifffile
    from PIL import Image

    for number, options in enumerate(
        [{"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 5}, {"byteorder": ">"}]
    ):
        tifffile.imwrite(f"{number}.tif", LEVELS * np.uint16(200), **options)
        assert frame_size(f"{number}.tif") == (37, 53)
    tifffile.imwrite("planes.tif", COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert frame_size("planes.tif") == (37, 53)
    Image.fromarray(COLOUR).convert("P").save("palette.bmp")
    Image.fromarray(LEVELS > 99).save("bits.bmp")
    Path("trailer.jpg").write_bytes(WHOLE["grey.jpg"] + b"of a telephone" * 9)
    Path("filled.jpg").write_bytes(WHOLE["grey.jpg"].replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1))
    for name in ("palette.bmp", "bits.bmp", "trailer.jpg", "filled.jpg"):
        assert frame_size(name) == read_frame(name).shape == (37, 53)
    packed = bytes([53, LEVELS[0, 0], 0, 0]) * 37 + b"\0\1"  # a run of one level a row
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 0, 0, 0, 1078, 40, 53, 37, 1, 8, 1, len(packed), 0, 0, 256, 0)
    Path("runs.bmp").write_bytes(head + bytes(i for level in range(256) for i in (level, level, level, 0)) + packed)
    assert frame_size("runs.bmp") == (37, 53)
    np.testing.assert_allclose(read_frame("runs.bmp"), LEVELS[0, 0] / 255, atol=1e-6)
    Path("runs.bmp").write_bytes(Path("runs.bmp").read_bytes()[:-9])
    with pytest.raises(Rejected, match="cut short"):
        frame_size("runs.bmp")


@pytest.mark.parametrize("suffix", ["exr", "tif"])
@pytest.mark.parametrize(("scale", "refused"), [(1, False), (2.5, False), (100, True), (255, True), (4095, True)])
def test_a_floating_point_frame_in_other_units_is_refused(
    workspace: Path, ramp: np.ndarray, suffix: str, scale: float, refused: bool
) -> None:
    """Counts passed for a frame that is saturated throughout; one that is only overexposed is read."""
    _write_float(f"x.{suffix}", scale * ramp * (ramp > 0.3))
    if refused:
        with pytest.raises(Rejected, match=rf"x\.{suffix}: levels of .* white is 1 .* divide the frames by"):
            read_frame(f"x.{suffix}")
    else:
        assert read_frame(f"x.{suffix}").max() == np.float32(scale)


def test_a_highlight_far_above_white_is_read(workspace: Path, ramp: np.ndarray) -> None:
    ramp[:2, 3] = 900.0
    _write_float("x.exr", ramp)
    assert read_frame("x.exr").max() == 900


def _write_float(name: str, image: np.ndarray) -> None:
    if name.endswith(".tif"):
        cv2.imwrite(name, image.astype(np.float32))
        return
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Y": image.astype(np.float32)}).write(name)


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


def test_what_python_s_own_streams_would_show_is_silent_too(workspace: Path, ramp: np.ndarray) -> None:
    """OpenEXR prints through sys.stdout, which in a notebook is not the process's."""
    _write_float("x.exr", ramp)
    Path("x.exr").write_bytes(Path("x.exr").read_bytes()[:900])
    with redirect_stdout(io.StringIO()) as shown, pytest.raises(Rejected, match="damaged OpenEXR file"):
        read_frame("x.exr")
    assert shown.getvalue() == ""


def test_threads_that_decode_at_once_leave_the_streams_as_they_were(workspace: Path, ramp: np.ndarray) -> None:
    """And each has its own picture; a decoder that fails lets go of the silence."""
    levels = np.rint(ramp * 255).astype(np.uint8)
    for i in range(8):
        cv2.imwrite(f"{i}.png", levels + np.uint8(i) // 2)
    Path("bad.png").write_bytes(Path("0.png").read_bytes()[:60] + bytes(40) + Path("0.png").read_bytes()[100:])
    code = (
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor\nfrom pipeline.errors import Rejected\n"
        "from pipeline.images import read_frame\n"
        "def read(i):\n"
        "    try: return read_frame('bad.png' if i % 9 == 8 else f'{i % 9}.png').sum()\n"
        "    except Rejected: return -1\n"
        "print('before')\n"
        "with ThreadPoolExecutor(8) as pool: found = list(pool.map(read, range(900)))\n"
        "assert len(set(found)) == 5 and found[:9] * 100 == found, set(found)\n"
        "print('after'); print('error', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == ("before\nafter\n", "error\n")


def test_closed_streams_do_not_matter(workspace: Path, ramp: np.ndarray) -> None:
    cv2.imwrite("x.png", np.rint(ramp * 255).astype(np.uint8))
    code = "from pipeline.images import read_frame; raise SystemExit(read_frame('x.png').shape != (12, 20))"
    shell = f'"{sys.executable}" -c "{code}" >&- 2>&-'
    assert subprocess.run(shell, shell=True, check=False).returncode == 0
