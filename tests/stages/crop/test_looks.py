"""Several looks at one face: consensus, borders, mirrors, and the choice among several faces."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.geometry import mirror_landmarks
from stages.crop.detector import Face
from stages.crop.looks import FURTHER, LOOKS, Opinion, consensus, displayed, eye_distance, find_faces, main_face, views

FIVE = np.array([[60, 60], [100, 60], [80, 80], [65, 100], [95, 100]], float)
SETTINGS = {"border": 0.25, "min_face": 0.2, "confidence": 0.9}


def face(x: float, y: float, side: float, confidence: float = 0.99) -> Face:
    return Face(np.array([x, y, x + side, y + side]), confidence, FIVE)


def test_landmarks_are_in_the_frame_whatever_the_border(portrait):
    points = [find_faces([portrait], **{**SETTINGS, "border": b})[0].landmarks for b in (0.0, 0.2, 0.5)]
    assert np.abs(np.diff(points, axis=0)).max() < 0.06 * eye_distance(points[0])


def test_a_mirrored_image_has_mirrored_landmarks(portrait):
    """Each look is taken at the mirror image too, so left and right are treated alike."""
    plain, mirrored = find_faces([portrait, portrait[:, ::-1]], **SETTINGS)
    np.testing.assert_allclose(mirror_landmarks(mirrored.landmarks, portrait.shape[1]), plain.landmarks, atol=0.05)
    assert plain.landmarks[0, 0] < plain.landmarks[1, 0]


def test_exposure_does_not_matter(portrait):
    bright, dark = find_faces([portrait, 0.05 * portrait], **SETTINGS)
    np.testing.assert_allclose(dark.landmarks, bright.landmarks, atol=0.3)
    assert (dark.n_faces, dark.reason) == (1, "")
    assert dark.score > 0.9


def test_images_without_a_face_say_so():
    flat, black = find_faces([np.full((64, 80), 0.3), np.zeros((64, 64))], **SETTINGS)
    assert flat.landmarks is None
    assert black.landmarks is None
    assert "no face" in flat.reason


def test_tight_crops_of_real_faces_are_found(data_root):
    """Extended Yale B, five mild flashes a subject: nine in ten at least."""
    from pipeline.images import read_frame

    flashes = ("A+000E+00", "A-010E+00", "A+010E+00", "A+000E+20", "A-005E+10")
    folders = sorted((data_root / "CroppedYale").glob("yaleB*"))
    paths = [[p for f in flashes if (p := d / f"{d.name}_P00{f}.pgm").exists()] for d in folders]
    found = find_faces([np.mean([read_frame(p) for p in own], axis=0) for own in paths], **SETTINGS)
    assert np.mean([s.landmarks is not None for s in found]) >= 0.9
    eyes = np.array([s.landmarks[:2] for s in found if s.landmarks is not None])
    assert (np.abs(eyes.mean(axis=(1, 2)) - np.median(eyes.mean(axis=(1, 2)))) < 10).all()  # all in the same place


def test_views_are_looks_and_their_mirrors():
    image = np.linspace(0, 1, 40 * 30).reshape(40, 30)
    shown = views(image, 0.25, LOOKS + FURTHER)
    assert len(shown) == 2 * len(LOOKS + FURTHER)
    for (plain, margin), (mirrored, _) in zip(shown[::2], shown[1::2], strict=True):
        assert plain.shape == (40 + 2 * margin, 30 + 2 * margin)
        np.testing.assert_array_equal(plain[:, ::-1], mirrored)


def test_display_takes_the_99th_percentile_as_white():
    image = np.array([[0.0, 0.1], [0.2, 0.2]])
    np.testing.assert_array_equal(displayed(image), [[0, 128], [255, 255]])
    assert displayed(np.zeros((3, 3))).max() == 0


def test_one_view_alone_is_not_believed():
    assert consensus([Opinion(FIVE, 0.99, 1), *[Opinion(None, 0.5, 0)] * 5]).reason.startswith(
        "unsure (a face in 1 of 6"
    )
    assert consensus([Opinion(None, 0.5, 0)] * 6).reason == "low confidence (best 0.50)"
    assert consensus([Opinion(None, 0.0, 0)] * 6).reason == "no face found"


def test_a_view_that_saw_something_else_is_outvoted(rng):
    near = [Opinion(FIVE + rng.normal(scale=0.5, size=(5, 2)), 0.99, 1) for _ in range(4)]
    far = Opinion(FIVE + 60, 0.999, 2)
    sighting = consensus([*near, far, Opinion(None, 0.0, 0)])
    assert np.abs(sighting.landmarks - FIVE).max() < 1.5
    assert sighting.score == pytest.approx(4 * 0.99 / 6)
    assert sighting.n_faces == 2


@pytest.mark.parametrize(
    ("faces", "chosen"),
    [
        ([face(80, 80, 40), face(0, 0, 50)], 0),  # near the centre, if a little smaller
        ([face(80, 80, 40), face(60, 60, 80)], 1),  # larger
        ([face(60, 80, 40, 0.6), face(100, 80, 40, 0.99)], 1),  # surer
    ],
)
def test_the_face_of_a_session_is_large_sure_and_central(faces, chosen):
    assert main_face(faces, (200, 200)) is faces[chosen]
    assert main_face([], (200, 200)) is None
