"""The planarity score on sheets in closed form, and on a face of the simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from face_scene import Scene

from pipeline.maps import Maps, read_maps
from stages.reconstruct.flatness import FLAT_ABOVE, flatness, largest_disc, shapes_of


def sheet(scene: Scene, radius: float, noise: float = 0.01) -> Maps:
    """A picture of the scene on a plane (inf) or a cylinder of ``radius`` px about the vertical axis."""
    size = len(scene.mask)
    x = np.broadcast_to(np.arange(size) - size / 2 + 0.5, (size, size))
    lean = np.clip(x / radius, -0.95, 0.95)
    normal = np.stack([lean, np.zeros_like(x), np.sqrt(1 - lean**2)], axis=-1)
    normal = normal + np.random.default_rng(7).normal(0, noise, normal.shape)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    depth = np.zeros_like(x) if np.isinf(radius) else np.sqrt(np.maximum(radius**2 - x**2, 1))
    return Maps(normal.astype(np.float32), scene.albedo.astype(np.float32), depth.astype(np.float32), scene.mask)


def face(scene: Scene, times: int = 1) -> Maps:
    """The scene, every pixel ``times`` times as large."""
    maps = [np.repeat(np.repeat(a, times, 0), times, 1) for a in (scene.normal, scene.albedo, scene.mask)]
    depth = times * np.repeat(np.repeat(scene.depth, times, 0), times, 1)
    return Maps(maps[0].astype(np.float32), maps[1].astype(np.float32), depth.astype(np.float32), maps[2])


@pytest.mark.parametrize("radius", [np.inf, 60.0])
def test_sheets_are_flat(scene: Scene, radius: float) -> None:
    assert flatness(sheet(scene, radius)) > FLAT_ABOVE


def test_a_face_is_not_flat(repository: Path) -> None:
    (truth,) = (repository / "tests/data/session").glob("*/*/truth.exr")
    assert flatness(read_maps(truth)) < FLAT_ABOVE


def test_the_numbers_do_not_depend_on_the_size(scene: Scene) -> None:
    np.testing.assert_allclose(shapes_of(face(scene, 2)), shapes_of(face(scene)), atol=0.2)


def test_the_curvature_of_a_cylinder_is_found(scene: Scene) -> None:
    unit = largest_disc(scene.mask)[2]
    assert shapes_of(sheet(scene, 120.0))[0, 1] == pytest.approx(unit / 120, rel=0.15)


def test_too_little_to_see_is_nan(scene: Scene) -> None:
    maps = face(scene)
    maps.mask = np.zeros_like(maps.mask)
    maps.mask[40:45, 40:45] = True
    assert np.isnan(flatness(maps))
