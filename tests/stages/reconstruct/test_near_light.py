"""Near flashes end to end, on a sphere in closed form and on the simulator: positions against directions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from face_scene import angles, ring

from benchmarks.near import ALONE, errors
from pipeline.cli import main
from pipeline.maps import read_maps
from pipeline.params import Reconstruct
from pipeline.rig import Camera
from pipeline.sessions import Session, read_sessions
from stages.reconstruct.calibration.captures import read_samples
from stages.reconstruct.calibration.gains import estimate_gains
from stages.reconstruct.calibration.near import Surface
from stages.reconstruct.session import Photographs, reconstruct

SIDE, PITCH, RADIUS, AWAY = 96, 2.0, 110.0, 450.0  # px, mm, mm, mm
DISTANCE = 600.0
PLAIN = Reconstruct(registration=False, solver="weighted")


def sphere(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames (6, S, S), normals (S, S, 3), height in mm from its mean and mask, of a cap under flashes at 450 mm from
    its top."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    if camera.intrinsics is None:
        x, y = PITCH * columns, -PITCH * rows
        z = np.sqrt(np.maximum(RADIUS**2 - x**2 - y**2, 0)) - RADIUS
    else:
        ray = np.stack([columns / camera.intrinsics[0], -rows / camera.intrinsics[1], -np.ones_like(rows)])
        centre = np.array([0, 0, -DISTANCE - RADIUS])
        along, square = np.tensordot(centre, ray, 1), (ray**2).sum(axis=0)
        far = (along - np.sqrt(np.maximum(along**2 - square * (centre @ centre - RADIUS**2), 0))) / square
        x, y, z = ray * far + np.array([0, 0, DISTANCE])[:, None, None]
    mask = np.hypot(rows, columns) * (camera.scale or 0) < 0.75 * RADIUS
    normal = np.stack([x, y, z + RADIUS], axis=-1) / RADIUS
    points = np.stack([x, y, z], axis=-1)
    frames = []
    for position in AWAY * ring(35, 6):
        to = position - points
        length = np.linalg.norm(to, axis=-1)
        frames.append(0.5 * np.maximum((normal * to).sum(axis=-1) / length, 0) * (AWAY / length) ** 2 * mask)
    return np.stack(frames).astype(np.float32), normal, z - z[mask].mean(), mask


PINHOLE = Camera(intrinsics=(300.0, 300.0, (SIDE - 1) / 2, (SIDE - 1) / 2), distance=DISTANCE)


@pytest.mark.parametrize("settings", [PLAIN, Reconstruct()], ids=["plain", "default"])
@pytest.mark.parametrize("camera", [Camera(pitch=PITCH), PINHOLE], ids=["parallel", "pinhole"])
def test_positions_against_directions(camera, settings):
    """Flashes at four radii of the cap: their directions alone err by degrees, their positions by a fraction of one."""
    frames, normal, height, mask = sphere(camera)
    far = Photographs(frames, ring(35, 6), np.ones(6), mask=mask, camera=camera)
    near = replace(far, positions=AWAY * ring(35, 6))
    errors = {}
    for name, given in {"far": far, "near": near}.items():
        maps, quality = reconstruct(given, settings)
        errors[name] = angles(maps.normal, normal)[mask].mean()
        assert ("not registered" in quality.notes) == (name == "near" and settings.registration)
    assert errors["far"] > 3
    assert errors["near"] < 0.1 * errors["far"]
    assert np.abs(camera.scale * maps.depth - height)[mask].max() < 0.02 * np.ptp(height[mask])
    assert maps.attributes["pitch"] == f"{camera.scale:g}"
    assert ("perspective" in maps.attributes["integration"]) == (camera is PINHOLE)


def test_on_the_simulator():
    """Faces beside the camera's axis, nearer and farther than the rig believes; where the mask's middle was the origin
    of the positions, hair and shoulders moved the flashes by centimetres: 7 degrees."""
    found = errors(3, 96, 500.0, ALONE)
    assert found["directions"] > 8
    assert found["positions"] < min(2.0, found["directions"] / 5)


def test_the_pixels_know_where_they_are():
    """One pixel after the other, by the equations of the pinhole and of parallel rays; the depth around the axis is 0,
    wherever the mask is."""
    rng, mask = np.random.default_rng(3), np.zeros((9, 12), bool)
    mask[2:8, 3:11] = True
    depth = rng.normal(size=mask.shape).astype(np.float32)
    for camera in (Camera(pitch=0.5), Camera(intrinsics=(90.0, 110.0, 6.0, 4.0), distance=200.0)):
        surface = Surface(mask, camera)
        surface.lay(depth)
        middle = depth[4, 5:7].mean() if camera.intrinsics is None else depth[4, 6]
        rows, at = slice(3, 6), np.array([4, 17, 31])
        for found, one in zip(surface.points(rows, at), at, strict=True):
            row, column = 3 + one // 12, one % 12
            z = camera.scale * (depth[row, column] - middle)
            if camera.intrinsics is None:
                expected = [0.5 * (column - 5.5), 0.5 * (4 - row), z]
            else:
                expected = [(column - 6) / 90 * (200 - z), -(row - 4) / 110 * (200 - z), z]
            assert found == pytest.approx(expected, abs=1e-5)


def test_the_origin_is_on_the_face_where_the_axis_misses_it():
    mask = np.zeros((20, 30), bool)
    mask[5:15, 22:28] = True
    surface = Surface(mask, Camera(pitch=1.0))
    surface.lay(np.arange(600, dtype=np.float32).reshape(20, 30))
    assert surface.depth[9:11, 22].mean() == 0


def test_gains_of_near_flashes(tmp_path):
    """Heads above the camera's axis: the fall-off to them passed for weak flashes below."""
    frames, _, _, _ = sphere(Camera(pitch=PITCH))
    gains, errors = np.array([1.1, 0.95, 1.0, 0.9, 1.05, 1.0]), []
    for i, frame in enumerate(frames):
        upper = frame * (np.arange(SIDE) < SIDE / 2)[:, None]
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.rint(upper * gains[i] * 65535).astype(np.uint16))
    far = Session("a/1", "a", "1", "rig", tuple(f"{tmp_path}/{i}.png" for i in range(6)), ring(35, 6), np.ones(6))
    near = replace(far, positions=AWAY * ring(35, 6), camera=Camera(pitch=PITCH))
    for session in (far, near):
        samples = read_samples(session, np.arange(6))
        found = estimate_gains([samples] * 3, ring(35, 6)).gains
        errors.append(np.abs(found / (gains / np.exp(np.log(gains).mean())) - 1).max())
    assert errors[1] < 0.03 < 0.1 < errors[0]


def test_residuals_of_near_flashes_are_without_their_fall_off():
    """They were held against flashes at infinity: fall-off passed for what Lambert's law misses."""
    frames, _, _, mask = sphere(PINHOLE)
    far = Photographs(frames, ring(35, 6), np.ones(6), mask=mask, camera=PINHOLE)
    left = []
    for given in (far, replace(far, positions=AWAY * ring(35, 6))):
        residuals = reconstruct(given, PLAIN, residuals=True)[0].residuals
        left.append(np.abs(residuals[:, mask]).mean() / frames[:, mask].mean())
    assert left[1] < 0.01 < 0.04 < left[0]


@pytest.mark.parametrize(
    ("pitch", "times", "words"),
    [(PITCH / 1000, 0.2, "its pitch and distance are in mm"), (PITCH, 1000, "a flash is 450 m from a face of 1")],
)
def test_another_unit_is_said(pitch, times, words):
    frames, _, _, mask = sphere(Camera(pitch=PITCH))
    given = Photographs(
        frames, ring(35, 6), np.ones(6), mask=mask, positions=times * AWAY * ring(35, 6), camera=Camera(pitch=pitch)
    )
    assert words in reconstruct(given, PLAIN)[1].notes
    right = replace(given, positions=AWAY * ring(35, 6), camera=Camera(pitch=PITCH))
    assert reconstruct(right, PLAIN)[1].notes == ""


def test_positions_without_a_scale_are_said():
    frames, _, _, mask = sphere(Camera(pitch=PITCH))
    given = Photographs(frames, ring(35, 6), np.ones(6), mask=mask, positions=AWAY * ring(35, 6))
    assert "positions count as directions" in reconstruct(given, PLAIN)[1].notes


def test_from_rig_json_to_maps(tmp_path, monkeypatch, capfd):
    """A folder data set whose rig.json has positions, through ingest and reconstruct, and by `psface maps`."""
    monkeypatch.chdir(tmp_path)
    frames, normal, _, mask = sphere(Camera(pitch=PITCH))
    folder = Path("own/ann/one")
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"im{i}.png"), np.rint(frame / frames.max() * 65535).astype(np.uint16))
    lights = [{"position": place.tolist()} for place in AWAY * ring(35, 6)]
    Path("own/rig.json").write_text(json.dumps({"lights": lights, "camera": {"pitch": PITCH}}))
    Path("params.yaml").write_text(
        "ingest: {source: folder, root: own}\nreconstruct: {registration: false, solver: weighted}\n"
    )
    for command in (["ingest"], ["reconstruct", "--jobs", "1"]):
        main(command)
    session = read_sessions()[0]
    assert np.allclose(session.positions, AWAY * ring(35, 6))
    assert session.camera == Camera(pitch=PITCH)
    frames = [f"own/ann/one/im{i}.png" for i in range(6)]
    main(["maps", *frames, "--rig", "own/rig.json", "--params", "params.yaml", "-o", "one.exr"])
    capfd.readouterr()
    for path in ("data/maps/ann/one.exr", "one.exr"):
        maps = read_maps(path)
        assert angles(maps.normal, normal)[mask & maps.mask].mean() < 0.5
