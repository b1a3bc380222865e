"""What the page gets to relight: the pictures, decoded again, against the maps that they were made from."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from pipeline.maps import Maps
from stages.report.relight import SIDE, WHITE, pack, square


def decoded(uri: str) -> np.ndarray:
    """The picture of a data URI, RGB or grey."""
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return image[..., ::-1] if image.ndim == 3 else image


def slope(height: int, width: int, box: tuple[slice, slice], direction=(0.6, 0.0, 0.8)) -> Maps:
    """A plane of one normal, its albedo rising to the right, seen through a box."""
    mask = np.zeros((height, width), dtype=bool)
    mask[box] = True
    albedo = np.broadcast_to(np.linspace(0.1, 0.8, width, dtype=np.float32), mask.shape) * mask
    normal = np.where(mask[..., None], np.array(direction, dtype=np.float32), 0)
    return Maps(normal, albedo, np.zeros(mask.shape, dtype=np.float32), mask)


def test_the_pictures_hold_the_maps_to_half_a_level() -> None:
    maps = slope(50, 60, np.s_[10:40, 5:45])
    found = pack("1/a", maps)
    normal, albedo = decoded(found.normal) / 255 * 2 - 1, decoded(found.albedo) / 255
    assert (found.name, found.side, normal.shape, albedo.shape) == ("1/a", 40, (40, 40, 3), (40, 40))
    inside = np.zeros((40, 40), dtype=bool)
    inside[5:35] = True  # 30 rows in the middle of a square of 40
    assert np.abs(normal[inside] - (0.6, 0, 0.8)).max() <= 1 / 255 + 1e-6
    assert np.linalg.norm(normal[~inside], axis=-1).max() < 0.01
    white = np.quantile(maps.albedo[maps.mask], WHITE)
    assert (
        np.abs(albedo[inside] - np.clip(maps.albedo[10:40, 5:45] / white, 0, 1).reshape(-1)).max() <= 0.5 / 255 + 1e-6
    )
    assert not albedo[~inside].any()


@pytest.mark.parametrize(("height", "width"), [(2 * SIDE, 2 * SIDE), (700, 500), (333, 999)])
def test_large_maps_become_smaller_and_stay_unit(height: int, width: int) -> None:
    """Regression guard for the border, where a pixel of the picture is partly outside the mask."""
    maps = slope(height, width, np.s_[3:-4, 2:-3])
    normal, albedo = square(maps)
    assert normal.shape == (SIDE, SIDE, 3)
    length = np.linalg.norm(normal, axis=-1)
    assert set(length.round(5).ravel()) <= {0.0, 1.0}
    assert np.abs(normal[length > 0] - (0.6, 0, 0.8)).max() < 1e-5
    assert albedo[length > 0].min() > 0.1 / 0.8 * 0.95  # nothing of the outside is mixed in
    share = (length > 0).mean()
    assert share == pytest.approx(min(height, width) / max(height, width), abs=0.02)


def test_the_still_picture_is_lit_from_the_upper_left() -> None:
    brightness = {
        name: decoded(pack(name, slope(20, 20, np.s_[:, :], direction)).still).mean()
        for name, direction in {"left": (-0.6, 0, 0.8), "right": (0.6, 0, 0.8), "up": (0, 0.6, 0.8)}.items()
    }
    assert brightness["left"] > 1.5 * brightness["right"]
    assert brightness["up"] > 1.5 * brightness["right"]
