"""The ground truth agrees with itself and with the frames."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage
from small_rig import ALWAYS, settings, shoot

from pipeline.maps import read_maps
from stages.simulate import skin
from stages.simulate.photoface import write_session
from stages.simulate.render import Shot
from stages.simulate.visit import Visit


def smooth_skin(shot: Shot) -> np.ndarray:
    """Pixels of skin away from every edge of the depth, not too steep."""
    jump = np.hypot(*np.gradient(shot.truth.depth))
    good = (shot.regions == skin.R_SKIN) & (jump < 1.5) & (shot.truth.normal[..., 2] > 0.5)
    return ndimage.binary_erosion(good, iterations=2)


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.rad2deg(np.arccos(np.clip(np.sum(a * b, axis=-1), -1, 1)))


def test_normals_are_the_slopes_of_the_depth(plain_shot: tuple[Visit, Shot]) -> None:
    """n = (-dz/dx, -dz/dy, 1) with rows running down; bumps included, since they move both."""
    shot = plain_shot[1]
    down, across = np.gradient(shot.truth.depth.astype(float))
    normal = np.stack([-across, down, np.ones_like(across)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    error = angles(normal, shot.truth.normal)[smooth_skin(shot)]
    assert np.median(error) < 1.5
    assert np.percentile(error, 90) < 6.0


def test_depth_integrates_from_the_normals(plain_shot: tuple[Visit, Shot]) -> None:
    """Along each run of skin in a row, summed slopes give the depth's own difference within 2 % of its range."""
    shot = plain_shot[1]
    good, depth = smooth_skin(shot), shot.truth.depth
    slope = -shot.truth.normal[..., 0] / np.maximum(shot.truth.normal[..., 2], 0.1)
    labels, count = ndimage.label(good, structure=[[0, 0, 0], [1, 1, 1], [0, 0, 0]])
    errors = []
    for rows, columns in ndimage.find_objects(labels):
        if columns.stop - columns.start < 8:
            continue
        run = slope[rows.start, columns]
        integrated = np.cumsum((run[1:] + run[:-1]) / 2)
        errors.append(abs(integrated[-1] - (depth[rows.start, columns.stop - 1] - depth[rows.start, columns.start])))
    assert count > 20
    assert np.mean(errors) < 0.02 * np.ptp(depth[good])


def test_least_squares_on_float_frames_gives_normals_and_albedo_back(plain_shot: tuple[Visit, Shot]) -> None:
    """Without any effect a frame is albedo times n . l: four of them must return the truth."""
    visit, shot = plain_shot
    scaled = np.tensordot(np.linalg.pinv(visit.lights), shot.frames, axes=1).transpose(1, 2, 0)
    albedo = np.linalg.norm(scaled, axis=-1)
    good = smooth_skin(shot)
    error = angles(scaled / np.maximum(albedo, 1e-9)[..., None], shot.truth.normal)[good]
    assert error.mean() < 0.5
    assert np.abs(albedo[good] / shot.truth.albedo[good] - 1).mean() < 0.02


def test_default_rig_is_within_reach_of_least_squares() -> None:
    """With every effect but motion, which registration cures, the mean error on lit skin is near 3 degrees."""
    errors = []
    for subject in range(2):
        _, visit, shot = shoot(settings(size=128, frequencies=ALWAYS, effects={"motion": 0}), subject)
        frames = np.clip(shot.frames, 0, 1)
        scaled = np.tensordot(np.linalg.pinv(visit.recorded), frames, axes=1).transpose(1, 2, 0)
        lit = (frames.min(0) > 0.12 * frames.max(0)) & (frames.max(0) < 0.99) & smooth_skin(shot)
        normal = scaled / np.maximum(np.linalg.norm(scaled, axis=-1), 1e-9)[..., None]
        errors.append(angles(normal, shot.truth.normal)[lit].mean())
    assert np.mean(errors) < 4.0


def test_landmarks_lie_on_the_face_in_their_places() -> None:
    _, _, shot = shoot(settings(size=128, frequencies=ALWAYS))
    x, y = shot.landmarks.T
    assert np.all(np.diff(x[[0, 1, 3, 4]]) > 0)  # the eyes' corners, from the image's left
    assert x[5] < x[6] < x[7]
    assert x[8] < x[9]
    assert y[[0, 1, 3, 4]].max() < y[6] < y[8:10].min() < y[10]
    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    assert shot.truth.mask[rows, columns].all()


def test_truth_survives_its_file(tmp_path, plain_shot: tuple[Visit, Shot]) -> None:
    visit, shot = plain_shot
    write_session(tmp_path, visit, shot, quantise=False, seed=7)
    maps = read_maps(tmp_path / "truth.exr")
    assert np.array_equal(maps.mask, shot.truth.mask)
    assert angles(maps.normal, shot.truth.normal)[maps.mask].max() < 0.1
    five = json.loads(maps.attributes["landmarks"])
    assert list(five) == ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"]
    assert five["left_eye"][0] < five["right_eye"][0]
    assert maps.attributes["rig"] == visit.rig
    assert float(maps.attributes["age"]) == pytest.approx(visit.age, abs=0.01)


@pytest.mark.parametrize(
    "worn",
    [{"spectacles": {"yes": 1}}, *({"occlusion": {f"-{what}": 1}} for what in ("hand", "mobile", "hair", "other"))],
)
def test_what_is_seen_of_a_prop_faces_the_camera(worn: dict[str, dict[str, int]]) -> None:
    """Tubes (rims, strands, scarves) and left hands were inside out: black, with normals that point away."""
    params = settings(frequencies=ALWAYS | worn)
    shots = [shoot(params, session=number)[2] for number in range(3)]
    facing = np.concatenate([shot.truth.normal[shot.regions >= skin.R_PROPS] for shot in shots])[:, 2]
    assert len(facing) > 50
    assert np.mean(facing > 0) > 0.9
