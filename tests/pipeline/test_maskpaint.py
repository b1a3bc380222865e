"""Masks painted on photographs: what they cover, which way they are turned, and that the maps can follow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from pipeline.lights import from_angles
from pipeline.maskdesigns import CONTRAST, PATTERNS, TYPES, Design, draw_design, expand, figure
from pipeline.maskhead import FIVE, POINTS, MeanHead, fit_pose
from pipeline.maskpaint import Painter, draw_face, draw_mask, smoothed, wear
from pipeline.maskshape import CUTS

SHAPE = (160, 160)
LIGHTS = from_angles([30, 30, 30, 30], [0, 90, 180, 270])


def landmarks(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, scale: float = 0.8) -> dict[str, np.ndarray]:
    """The mean head's points on a picture of 160 px, by plain trigonometry: roll after pitch after yaw."""
    a, b, c = np.deg2rad([yaw, pitch, roll])
    seen = {}
    for name, (x, y, z) in POINTS.items():
        x, z = x * np.cos(a) + z * np.sin(a), z * np.cos(a) - x * np.sin(a)
        y = y * np.cos(b) - z * np.sin(b)
        x, y = x * np.cos(c) - y * np.sin(c), x * np.sin(c) + y * np.cos(c)
        seen[name] = np.array([80 + scale * x, 60 - scale * y])
    return seen


def five(**angles: float) -> np.ndarray:
    seen = landmarks(**angles)
    return np.array([seen[name] for name in FIVE])


def frames(points: np.ndarray, albedo: float = 0.5) -> np.ndarray:
    """Lambert's frames of the mean face, float32."""
    face = draw_face(fit_pose(points), SHAPE)
    shaded = np.maximum(face.normal @ LIGHTS.T.astype(np.float32), 0).transpose(2, 0, 1)
    return (albedo * shaded * (face.cover > 0)).astype(np.float32)


@pytest.mark.parametrize("yaw", [-40, -20, 0, 20, 40])
@pytest.mark.parametrize("roll", [-15, 0, 10])
def test_the_pose_is_found_from_five_points(yaw: float, roll: float) -> None:
    pose = fit_pose(five(yaw=yaw, roll=roll))
    assert pose.yaw == pytest.approx(yaw, abs=3)  # the priors pull a little
    assert pose.view == ("frontal" if yaw == 0 else "right" if yaw > 0 else "left")
    assert pose.scale == pytest.approx(0.8, rel=0.05)


@pytest.mark.parametrize("roll", [90, 135, 180, -120])
def test_who_lies_or_is_upside_down_is_found(roll: float) -> None:
    """From an upright start, the fit of a face turned by exactly 180 degrees went to a head without size."""
    pose = fit_pose(five(roll=roll))
    assert pose.scale == pytest.approx(0.8, rel=0.05)
    assert abs(pose.yaw) < 4
    assert np.abs(pose.project(np.array([POINTS[name] for name in FIVE])) - five(roll=roll)).max() < 5


def test_more_points_tell_how_long_a_face_is() -> None:
    seen = landmarks(scale=0.6)
    low = {name: point + np.array([0, 0.15 * (point[1] - 60)]) for name, point in seen.items()}
    assert fit_pose(low).stretch == pytest.approx(1.15, abs=0.04)
    drawn = draw_mask(Design("n95", "plain", 0.5, 0.1, 1), fit_pose(low), SHAPE).cover
    short = draw_mask(Design("n95", "plain", 0.5, 0.1, 1), fit_pose(seen), SHAPE).cover
    lowest = [np.flatnonzero(cover.max(axis=1) > 0.5).max() for cover in (drawn, short)]
    assert lowest[0] > lowest[1] + 8


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("yaw", [-35, 0, 35])
def test_it_covers_nose_mouth_and_chin_and_no_eye(kind: str, yaw: float) -> None:
    seen = landmarks(yaw=yaw)
    for seed in range(3):
        layer = draw_mask(Design(kind, "plain", 0.5, 0.1, seed), fit_pose(five(yaw=yaw)), SHAPE)
        for name, (x, y) in seen.items():
            column, row = np.rint([x, y]).astype(int)
            near = layer.cover[row - 3 : row + 4, column - 3 : column + 4]
            if name in ("left_eye", "right_eye", "between_brows"):
                assert near.max() == 0, (name, seed)
            elif name in ("nose", "mouth_left", "mouth_right"):
                assert layer.cover[row, column] == 1, (name, seed)
    assert np.isfinite(layer.normal).all()
    inside = layer.cover == 1
    assert (layer.normal[inside][:, 2] > 0).all()
    assert np.abs(np.linalg.norm(layer.normal[inside], axis=-1) - 1).max() < 1e-4


def test_on_a_large_picture_it_is_whole_and_the_same_mask() -> None:
    """Of a face with 750 px between its eyes a fifth of the mask was holes, through which the face was seen."""
    design = Design("kn95", "dots", 0.6, 0.1, 1)
    small = draw_mask(design, fit_pose(4 * (five() + 0.5) - 0.5), (640, 640))
    large = draw_mask(design, fit_pose(12 * (five() + 0.5) - 0.5), (1920, 1919))  # the last column is not whole
    assert large.cover.shape == (1920, 1919)
    inside = ndimage.binary_erosion(small.cover == 1, iterations=2)
    assert large.cover[np.kron(inside, np.ones((3, 3), bool))[:, :-1]].min() > 0.99
    cover, normal, albedo = (
        cv2.resize(each[:, :1917], (639, 640), interpolation=cv2.INTER_AREA)
        for each in (large.cover, large.normal, large.albedo)
    )
    middles = [np.average(np.arange(639), weights=each.sum(axis=0)) for each in (cover, small.cover[:, :639])]
    assert middles[0] == pytest.approx(middles[1], abs=0.03)
    assert np.abs(cover - small.cover[:, :639]).mean() < 0.01
    inside = inside[:, :639]
    assert np.mean(np.sum(normal * small.normal[:, :639], axis=-1)[inside]) > 0.99
    assert np.abs(albedo - small.albedo[:, :639])[inside].mean() < 0.02


def test_a_turned_face_shows_more_of_its_nearer_half() -> None:
    design = Design("surgical", "plain", 0.5, 0.1, 1)
    shares = []
    for yaw in (-35, 0, 35):
        cover = draw_mask(design, fit_pose(five(yaw=yaw)), SHAPE).cover > 0.5
        middle = round(float(landmarks(yaw=yaw)["nose"][0]))
        shares.append(cover[:, :middle].sum() / cover.sum())
    assert shares[0] < 0.4 < shares[1] < 0.6 < shares[2]


def test_the_frames_own_light_is_found() -> None:
    points = five()
    painter = Painter.of(Design("cloth", "plain", 0.5, 0.1, 1), fit_pose(points), SHAPE)
    for frame, light in zip(frames(points), LIGHTS, strict=True):
        found = painter.light(frame)
        assert found @ light / np.linalg.norm(found) > np.cos(np.deg2rad(12))  # it is smoothed
        assert np.linalg.norm(found) == pytest.approx(0.5, rel=0.2)


@pytest.mark.parametrize("kind", TYPES)
def test_maps_follow_the_mask(kind: str) -> None:
    """Least squares on painted frames gives the mask's albedo, and normals that face as the mask does."""
    points = five()
    design = Design(kind, "plain", 0.4, 0.1, 2)
    pose = fit_pose(points)
    layer = draw_mask(design, pose, SHAPE)
    on = (layer.cover == 1) & (layer.albedo > 0.37) & (layer.albedo < 0.43)  # not the straps, not the hem
    painted = wear(design, frames(points), points)
    scaled = np.tensordot(np.linalg.pinv(LIGHTS), painted, axes=1).transpose(1, 2, 0)
    albedo = np.linalg.norm(scaled, axis=-1)
    assert np.median(albedo[on]) == pytest.approx(0.4, rel=0.15)  # the face's albedo is that of the painter's skin
    cosine = np.sum(scaled * layer.normal, axis=-1)[on] / albedo[on]
    assert np.rad2deg(np.arccos(np.median(cosine))) < 20
    face = draw_face(pose, SHAPE).normal
    bare = np.sum(face * layer.normal, axis=-1)[on]
    assert np.arccos(np.clip(cosine, -1, 1)).mean() < 0.9 * np.arccos(np.clip(bare, -1, 1)).mean()  # not the face's own
    residual = np.abs(painted - np.tensordot(LIGHTS, scaled.transpose(2, 0, 1), axes=1))
    assert np.median(residual[:, on]) < 0.01


def test_it_is_lit_from_where_the_face_is() -> None:
    points = five()
    painted = wear(Design("n95", "plain", 0.6, 0.1, 1), frames(points), points)
    right, above, left, below = painted
    assert right[110, 100] > 1.5 * left[110, 100]
    assert left[110, 60] > 1.5 * right[110, 60]
    assert above[78, 80] > below[78, 80]


def test_what_is_far_from_the_mask_stays_as_it_was() -> None:
    points = five()
    before = frames(points)
    after = wear(Design("kn95", "dots", 0.6, 0.1, 1), before, points)
    assert after.dtype == np.float32
    around_the_eyes = np.s_[:, :62, 45:115]  # beside it the straps go to the ears
    assert np.array_equal(before[around_the_eyes], after[around_the_eyes])
    assert not np.array_equal(before, after)


def test_a_bright_mask_is_not_overexposed_and_keeps_one_albedo() -> None:
    points, design = five(), Design("n95", "plain", 0.8, 0.1, 1)
    gains = np.array([1.9, 0.6, 0.6, 0.6], np.float32)[:, None, None]
    painted = wear(design, gains * frames(points), points)
    on = draw_mask(design, fit_pose(points), SHAPE).cover == 1
    assert np.quantile(painted[:, on], 0.99) <= 0.97
    alone = wear(design, 0.6 * frames(points), points)  # without the bright flash
    darker = painted[1:, on].mean(axis=1) / alone[1:, on].mean(axis=1)
    assert darker.max() < 0.95
    assert np.ptp(darker) < 1e-4


def test_a_colour_picture_keeps_its_colours_and_the_mask_gets_one() -> None:
    points = five()
    picture = frames(points).mean(0)[..., None] * np.array([1.3, 1.0, 0.8], np.float32)
    painted = wear(Design("cloth", "plain", 0.5, 0.1, 3), picture, points)
    assert painted.shape == (160, 160, 3)
    assert np.array_equal(painted[:60, 45:115], picture[:60, 45:115])
    tint = painted[115, 80] / painted[115, 80].mean()
    assert np.ptp(tint) > 0.05


def test_landmarks_that_say_nothing_are_refused() -> None:
    for given, said in (
        ({"nose": np.zeros(2)}, "1 landmarks"),
        ({"ear": np.zeros(2)}, "no landmark `ear`"),
        (np.zeros((5, 2)), "lie in one place"),
        (five()[[1, 0, 2, 4, 3]], "left for right"),  # as the person's own left is
        (five() * [1, -1], "left for right"),
        (np.linspace([0, 0], [90, 9], 5), "on one line"),
    ):
        with pytest.raises(ValueError, match=said):
            fit_pose(given)


def test_designs_are_drawn_half_plain_and_every_type() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_design(rng) for _ in range(600)]
    assert np.mean([d.pattern == "plain" for d in drawn]) == pytest.approx(0.5, abs=0.06)
    assert {d.name for d in drawn} == {f"{kind}/{pattern}" for kind in TYPES for pattern in PATTERNS}
    assert all(abs(d.ink - d.ground) >= CONTRAST - 1e-9 and 0 < d.ink < 1 for d in drawn)
    assert set(TYPES) == set(CUTS)
    assert expand(["gas", "gas/dots"]) == [("gas", pattern) for pattern in PATTERNS]


@pytest.mark.parametrize("pattern", PATTERNS[1:])
def test_a_pattern_has_both_colours(pattern: str) -> None:
    across, down = np.meshgrid(np.arange(-50.0, 50.0), np.arange(-40.0, 40.0))
    for seed in range(5):
        ink = figure(Design("cloth", pattern, 0.2, 0.7, seed), across, down)
        assert 0.05 < (ink > 0.4).mean() < 0.9
        assert ink.min() == 0


def test_the_mean_head_is_symmetric_and_its_points_lie_on_it() -> None:
    head = MeanHead()
    for name, (x, y, z) in POINTS.items():
        skin = head.radius(np.array([np.arctan2(x, z)]), np.array([y]))[0]
        assert np.hypot(x, z) == pytest.approx(float(skin), abs=4.5), name
    angles = np.linspace(-1.2, 1.2, 9)
    assert np.allclose(head.radius(angles, np.full(9, -50.0)), head.radius(-angles, np.full(9, -50.0)))


def test_a_wide_smoothing_is_done_on_a_smaller_image() -> None:
    """A photograph of 17 megapixels took half a minute for its smoothing alone."""
    rows, columns = np.mgrid[:301, :403]
    image = (np.sin(columns / 60) + np.cos(rows / 45)).astype(np.float32)
    for sigma, off in ((20.0, 0.0), (70.0, 0.03)):
        exact = cv2.GaussianBlur(image, (0, 0), sigma)
        assert np.abs(smoothed(image, sigma) - exact).max() <= off * np.ptp(exact)
    assert not np.array_equal(smoothed(image, 70.0), cv2.GaussianBlur(image, (0, 0), 70.0))
