"""The EXR of a session's maps: what goes in comes out, in the same bytes, and bad files end in one line."""

from __future__ import annotations

import os

import numpy as np
import OpenEXR
import pytest

from pipeline.errors import Rejected
from pipeline.maps import CHANNELS, Maps, read_attributes, read_maps, write_maps


@pytest.fixture
def maps(rng: np.random.Generator) -> Maps:
    mask = np.zeros((24, 31), bool)
    mask[3:20, 4:28] = True
    normal = rng.normal(size=(24, 31, 3)).astype(np.float32)
    normal[..., 2] = np.abs(normal[..., 2]) + 0.2
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    albedo = rng.random((24, 31), dtype=np.float32)
    depth = (100 * rng.normal(size=(24, 31))).astype(np.float32)
    return Maps(
        normal * mask[..., None], albedo * mask, depth * mask, mask, {"solver": "test", "notes": "µ, two words"}
    )


def test_what_is_written_is_read(tmp_path, maps):
    write_maps(tmp_path / "deep" / "s.exr", maps)
    again = read_maps(tmp_path / "deep" / "s.exr")
    cosine = (again.normal * maps.normal).sum(axis=-1)[maps.mask]
    assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 0.06  # half has 11 bits
    assert np.allclose(np.linalg.norm(again.normal[maps.mask], axis=-1), 1, atol=1e-6)
    assert not again.normal[~maps.mask].any()
    assert np.allclose(again.albedo, maps.albedo, atol=3e-4)
    assert np.array_equal(again.depth, maps.depth)  # float, exactly
    assert np.array_equal(again.mask, maps.mask)
    assert again.attributes == maps.attributes == read_attributes(tmp_path / "deep" / "s.exr")


def test_channels_and_their_types(tmp_path, maps):
    write_maps(tmp_path / "s.exr", maps)
    with OpenEXR.File(str(tmp_path / "s.exr"), separate_channels=True) as file:
        types = {name: channel.pixels.dtype for name, channel in file.channels().items()}
    assert set(types) == set(CHANNELS)
    assert types.pop("depth") == np.float32
    assert set(types.values()) == {np.dtype(np.float16)}


def test_optional_channels_come_back_and_may_be_missing(tmp_path, maps, rng):
    write_maps(tmp_path / "plain.exr", maps)
    plain = read_maps(tmp_path / "plain.exr")
    assert (plain.confidence, plain.visibility, plain.residuals) == (None, None, None)
    maps.confidence, maps.visibility = rng.random((2, 24, 31), dtype=np.float32)
    maps.residuals = rng.normal(size=(11, 24, 31)).astype(np.float32)
    write_maps(tmp_path / "more.exr", maps)
    again = read_maps(tmp_path / "more.exr")
    for name in ("confidence", "visibility", "residuals"):
        assert np.allclose(getattr(again, name), getattr(maps, name), atol=2e-3)
    assert np.array_equal(again.depth, plain.depth)


def test_the_same_maps_are_the_same_bytes(tmp_path, maps):
    write_maps(tmp_path / "a.exr", maps)
    maps.attributes = dict(reversed(maps.attributes.items()))
    write_maps(tmp_path / "b.exr", maps)
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.exr", "b.exr"]  # nothing left beside


def test_albedo_beyond_half_is_clipped(tmp_path, maps):
    maps.albedo[5, 5] = 1e9
    write_maps(tmp_path / "s.exr", maps)
    assert read_maps(tmp_path / "s.exr").albedo[5, 5] == 65504


def test_values_that_are_not_finite_are_refused(tmp_path, maps):
    maps.depth[5, 5] = np.nan
    with pytest.raises(ValueError, match="depth"):
        write_maps(tmp_path / "s.exr", maps)
    assert not list(tmp_path.iterdir())


def test_shapes_must_agree(maps):
    with pytest.raises(ValueError, match="albedo"):
        Maps(maps.normal, maps.albedo[1:], maps.depth, maps.mask)
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        Maps(maps.normal[..., :2], maps.albedo, maps.depth, maps.mask)


def test_files_that_are_no_maps_end_in_one_line(tmp_path, maps):
    write_maps(tmp_path / "whole.exr", maps)
    (tmp_path / "text.exr").write_text("not a picture")
    (tmp_path / "empty.exr").write_bytes(b"")
    (tmp_path / "cut.exr").write_bytes((tmp_path / "whole.exr").read_bytes()[:900])
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, {"Y": np.ones((4, 4), np.float32)}).write(
        str(tmp_path / "grey.exr")
    )
    for name, words in {
        "missing.exr": "cannot be read",
        "text.exr": "not an OpenEXR file",
        "empty.exr": "not an OpenEXR file",
        "cut.exr": "damaged",
        "grey.exr": "no channel normal.X",
    }.items():
        with pytest.raises(Rejected, match=words) as caught:
            read_maps(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_to_is_an_oserror(tmp_path, maps):
    """OpenEXR raises a bare RuntimeError, which ended in a traceback."""
    place = tmp_path / "maps.exr"
    (tmp_path / f".maps.{os.getpid()}.exr").symlink_to(tmp_path / "nowhere" / "maps.exr")
    with pytest.raises(OSError, match="No such file or directory") as caught:
        write_maps(place, maps)
    assert caught.value.filename == str(place)
    assert not place.exists()


def test_values_that_are_not_finite_are_rejected(tmp_path, maps):
    depth = np.full_like(maps.depth, np.nan)
    ones = dict.fromkeys(("normal.X", "normal.Y", "normal.Z", "albedo", "mask"), np.ones_like(depth))
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {**ones, "depth": depth}).write(str(tmp_path / "nan.exr"))
    with pytest.raises(Rejected, match="depth holds values that are not finite"):
        read_maps(tmp_path / "nan.exr")


@pytest.mark.parametrize(
    ("channel", "value", "words"),
    [("albedo", -1.0, "albedo from -1 to"), ("depth", 1e30, "depth from .* to 1e"), ("normal.X", 3.0, "unit length")],
)
def test_values_that_no_reconstruction_gives_are_rejected(tmp_path, channel, value, words):
    layers = {name: np.full((4, 5), name in ("normal.Z", "mask"), np.float32) for name in CHANNELS}
    layers[channel][2, 2] = value
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, layers).write(str(tmp_path / "odd.exr"))
    with pytest.raises(Rejected, match=rf"odd\.exr: .*{words}"):
        read_maps(tmp_path / "odd.exr")
