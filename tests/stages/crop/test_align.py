"""A session's maps as an aligned face, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.geometry import arcface_template, invert, move_points, similarity
from pipeline.maps import Maps
from stages.crop.align import alignment, cut_face, drawn_frame

SIZE = 64


def plane_maps(side: int, dz_dx: float, dz_dy: float) -> Maps:
    y, x = np.mgrid[:side, :side]
    normal = np.array([-dz_dx, -dz_dy, 1]) / np.sqrt(1 + dz_dx**2 + dz_dy**2)
    depth = (dz_dx * x - dz_dy * y).astype(np.float32)
    ones = np.ones((side, side), np.float32)
    return Maps(np.broadcast_to(normal, (side, side, 3)).astype(np.float32), 0.4 * ones, depth, ones > 0)


@given(degrees=st.floats(-30, 30), scale=st.floats(0.4, 1.2), slope=st.floats(-0.8, 0.8))
def test_a_face_is_the_same_however_it_was_photographed(degrees, scale, slope):
    """Size and roll of the head in the frame leave no trace: the aligned face is that of the upright one."""
    upright = plane_maps(160, slope, 0.3)
    direction = np.array([-slope, -0.3])  # of the normal in the plane, turned with the head
    angle = np.radians(degrees)
    turned = direction @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rolled = plane_maps(160, *-turned)
    frames = np.full((4, 160, 160), 0.5, np.float32)
    where = arcface_template(SIZE)
    faces = []
    for maps, linear in ((upright, similarity()[:, :2]), (rolled, similarity(1 / scale, degrees)[:, :2])):
        landmarks = 80 + (where - 32) @ linear.T  # about the middle of the frame
        faces.append(cut_face(maps, frames, landmarks, size=SIZE, order=range(4), drawn=0))
    inner = (slice(20, 44), slice(20, 44))
    np.testing.assert_allclose(faces[0]["normal"][inner], faces[1]["normal"][inner], atol=3e-3)
    differences = [np.diff(f["depth"][inner].astype(float)[..., 0], axis=axis) for f in faces for axis in (0, 1)]
    np.testing.assert_allclose(differences[0].mean(), differences[2].mean(), atol=2e-4)
    np.testing.assert_allclose(differences[1].mean(), differences[3].mean(), atol=2e-4)


def test_depth_is_in_eye_distances_with_zero_mean():
    landmarks = move_points(arcface_template(SIZE), similarity(2, 0, (10, 5)))
    face = cut_face(plane_maps(200, 0.5, 0), np.zeros((3, 200, 200)), landmarks, size=SIZE, order=range(3), drawn=2)
    eyes = np.hypot(*(landmarks[1] - landmarks[0]))
    mask = face["mask"] > 0
    rise = np.diff(face["depth"][30, :, 0].astype(float)).mean()  # a step of the face is two pixels of the frame
    assert rise == pytest.approx(0.5 * 2 / eyes, rel=1e-2)
    assert abs(face["depth"][..., 0][mask].astype(float).mean()) < 1e-3
    assert {k: (v.shape, v.dtype.name) for k, v in face.items()} == {
        "normal": ((SIZE, SIZE, 3), "float16"),
        "albedo": ((SIZE, SIZE, 1), "float16"),
        "depth": ((SIZE, SIZE, 1), "float16"),
        "frame": ((SIZE, SIZE, 1), "float16"),
        "frames": ((SIZE, SIZE, 3), "float16"),
        "mask": ((SIZE, SIZE), "uint8"),
    }


def test_maps_are_zero_outside_the_mask_and_frames_are_not():
    maps = plane_maps(100, 0.2, 0)
    maps.mask[:, :60] = False
    landmarks = move_points(arcface_template(SIZE), similarity(1, 0, (20, 20)))
    face = cut_face(maps, np.full((3, 100, 100), 0.7), landmarks, size=SIZE, order=range(3), drawn=0)
    outside = face["mask"] == 0
    assert outside.any()
    for name in ("normal", "albedo", "depth"):
        assert not face[name][outside].any()
    np.testing.assert_allclose(face["frame"][outside], 0.7, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(face["normal"][~outside].astype(float), axis=-1), 1, atol=2e-3)


def test_the_same_flash_is_drawn_on_every_run_and_all_are_drawn():
    draws = [drawn_frame(f"1001/{i}", 4, 7) for i in range(200)]
    assert draws == [drawn_frame(f"1001/{i}", 4, 7) for i in range(200)]
    assert np.bincount(draws).min() > 30
    assert draws != [drawn_frame(f"1001/{i}", 4, 8) for i in range(200)]


def test_the_landmarks_come_to_lie_on_the_template():
    matrix = similarity(1.7, 12, (31, 8))
    landmarks = move_points(arcface_template(SIZE), matrix)
    np.testing.assert_allclose(alignment(landmarks, SIZE), invert(matrix), atol=1e-9)


def test_what_cannot_be_cut_says_why():
    landmarks = arcface_template(SIZE)
    with pytest.raises(Rejected, match="run `psface reconstruct` again"):
        cut_face(plane_maps(80, 0, 0), np.zeros((3, 80, 81)), landmarks, size=SIZE, order=range(3), drawn=0)
    with pytest.raises(Rejected, match="cover 0% of the face"):
        cut_face(plane_maps(80, 0, 0), np.zeros((3, 80, 80)), landmarks + 900, size=SIZE, order=range(3), drawn=0)
