"""Sessions on a torch device against numpy's results: 1e-4 of normals, albedo and the range of the depth.

The device is a parameter: the processor always, a GPU where there is one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from face_scene import photograph, ring, sensor
from test_near_light import AWAY, PINHOLE, PITCH, sphere
from test_reconstruct_commands import lights_csv, run, shoot

from pipeline.lights import from_angles
from pipeline.maps import Maps, read_maps
from pipeline.params import Reconstruct
from pipeline.rig import Camera
from stages.reconstruct.device import fitting
from stages.reconstruct.quality import Quality
from stages.reconstruct.reading import read_photographs
from stages.reconstruct.session import Photographs, reconstruct

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
CLOSE = 1e-4
BORDER = 1e-3  # of the pixels that `marching` may leave further apart: shadows at the mask's border fall 1000 px


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_GPU)])
def device(request) -> torch.device:
    return torch.device(request.param)


def further(one: Maps, other: Maps) -> dict[str, np.ndarray]:
    """(P,) differences of the maps; of the depth over its range."""
    mask = one.mask
    assert np.array_equal(mask, other.mask)
    found = {name: np.abs(getattr(one, name) - getattr(other, name))[mask] for name in ("albedo", "depth")}
    found["depth"] /= np.ptp(one.depth[mask])
    found["normal"] = np.abs(one.normal - other.normal)[mask].max(axis=1)
    return found


def both(given: Photographs, settings: Reconstruct, device: torch.device) -> tuple[dict, Quality, Quality]:
    (one, quality), (other, others) = (reconstruct(given, settings, device=where) for where in (None, device))
    for name in ("confidence", "visibility"):
        apart = np.abs(getattr(one, name) - getattr(other, name))
        assert (apart > CLOSE).mean() < BORDER
        assert apart.max() < 0.01
    assert {name: value for name, value in one.attributes.items() if name != "quality"} == {
        name: value for name, value in other.attributes.items() if name != "quality"
    }
    return further(one, other), quality, others


@pytest.mark.parametrize("solver", ["weighted", "marching"])
def test_the_session_of_the_repository(repository, device, solver):
    folder = next((repository / "tests/data/session").glob("*/*"))
    lights = from_angles(35, [45, 135, -135, -45])
    frames = [folder / f"im{i}.bmp" for i in range(4)]
    given = read_photographs(frames, lights, np.ones(4), ambient=folder / "ambient.bmp")
    apart, quality, others = both(given, Reconstruct(solver=solver), device)
    assert max(one.max() for one in apart.values()) < CLOSE
    assert [*quality.row().values()][:6] == pytest.approx([*others.row().values()][:6], abs=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("solver", "count"), [("weighted", 3), ("weighted", 5), ("marching", 7), ("thresholding", 14)])
def test_a_scene_in_closed_form(monkeypatch, rng, device, solver, count, kind):
    """Saturated, in shadow, with noise and an ambient frame; moved where there are five or seven flashes; in strips."""
    monkeypatch.setattr(fitting, "STRIP", 96 * count * 10)
    shifts = np.array([[0, 0], *[[1.3, -2.2]] * (count - 1)]) if count in (5, 7) else None
    scene = photograph(96, ring(45, count), shifts)
    frames = np.clip(sensor(1.8 * scene.frames, rng), 0, 1)
    if kind != np.float32:
        frames = np.rint(frames * np.iinfo(kind).max).astype(kind)
    given = Photographs(
        frames, scene.lights, np.linspace(0.8, 1.2, count), np.full((96, 96), 0.01, np.float32), scene.mask
    )
    apart, quality, others = both(given, Reconstruct(solver=solver), device)
    assert (quality.shift > 1) == (shifts is not None)
    assert quality.saturated > 0.003
    assert quality.shadowed > 0.003
    assert [*quality.row().values()][:6] == pytest.approx([*others.row().values()][:6], abs=1e-5)
    assert max(apart["depth"].max(), apart["albedo"].max()) < CLOSE
    if solver == "marching":
        assert (apart["normal"] > CLOSE).mean() < BORDER
        assert apart["normal"].max() < 2e-3
    else:
        assert apart["normal"].max() < CLOSE


@pytest.mark.parametrize("camera", [Camera(pitch=PITCH), PINHOLE], ids=["parallel", "pinhole"])
@pytest.mark.parametrize("solver", ["weighted", "marching", "thresholding"])
def test_near_flashes(device, camera, solver):
    frames, _, _, mask = sphere(camera)
    given = Photographs(frames, ring(35, 6), np.ones(6), mask=mask, camera=camera, positions=AWAY * ring(35, 6))
    apart, _, _ = both(given, Reconstruct(registration=False, solver=solver), device)
    assert max(one.max() for one in apart.values()) < CLOSE


def test_the_commands(tmp_path, capfd, scene):
    """`cpu:0` is torch's processor: the same path as a GPU's."""
    frames = shoot(tmp_path / "shots", scene)
    table = lights_csv(tmp_path / "lights.csv", [p.name for p in frames], scene.lights)
    for name, out in (("cpu", "numpy.exr"), ("cpu:0", "torch.exr")):
        arguments = ("maps", *frames, "--lights", table, "--device", name, "-o", tmp_path / out)
        assert run(capfd, *arguments)[0] == 0
    one, other = read_maps(tmp_path / "numpy.exr"), read_maps(tmp_path / "torch.exr")
    assert max(values.max() for values in further(one, other).values()) < 1e-3  # half precision in the file
    assert np.any(one.depth != other.depth)


@pytest.mark.parametrize("name", ["nonsense", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_the_users_mistake(tmp_path, capfd, scene, name):
    frames = shoot(tmp_path / "shots", scene)
    table = lights_csv(tmp_path / "lights.csv", [p.name for p in frames], scene.lights)
    for command in (["maps", *frames, "--lights", table, "-o", tmp_path / "s.exr"], ["reconstruct"]):
        status, _, error = run(capfd, *command, "--device", name)
        assert status == 2
        assert f"device `{name}` cannot be used here" in error
        assert error.count("\n") == 1


def test_too_small_a_device_is_said(tmp_path, capfd, scene, monkeypatch):
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(fitting, "Frames", full)
    frames = shoot(tmp_path / "shots", scene)
    table = lights_csv(tmp_path / "lights.csv", [p.name for p in frames], scene.lights)
    status, _, error = run(capfd, "maps", *frames, "--lights", table, "-o", tmp_path / "s.exr", "--device", "cpu:0")
    assert status == 1
    assert error.count("\n") == 1
    assert "not enough memory for pictures of this size; try `--device cpu`" in error


def test_numpy_alone_does_not_wait_for_torch(tmp_path, scene):
    """Importing torch takes longer than the whole session."""
    frames = shoot(tmp_path / "shots", scene)
    table = lights_csv(tmp_path / "lights.csv", [p.name for p in frames], scene.lights)
    arguments = ["maps", *map(str, frames), "--lights", str(table), "-o", str(tmp_path / "s.exr")]
    code = f"import sys; from pipeline.cli import main; main({arguments!r}); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
