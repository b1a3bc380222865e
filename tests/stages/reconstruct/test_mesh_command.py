"""Meshes against closed forms, read back with Open3D."""

from __future__ import annotations

import resource
import signal
from dataclasses import replace

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.maps import Maps, write_maps
from pipeline.meshes import surface
from pipeline.rig import Camera
from stages.reconstruct.integration import integrate

open3d = pytest.importorskip("open3d")


def bowl() -> Maps:
    """A dome of 40 px, with a lone 3x3 patch beside it, and albedo that grows to the right."""
    y, x = np.mgrid[-30.0:31, -30.0:31]
    depth = np.sqrt(np.maximum(40.0**2 - x**2 - y**2, 0)).astype(np.float32)
    mask = np.hypot(x, y) < 25
    mask[:3, :3] = True
    normal = np.stack([x, -y, depth], axis=-1) / 40
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return Maps(normal.astype(np.float32), (0.5 + x / 100).astype(np.float32), depth, mask)


def test_triangles_face_the_camera_and_lie_on_the_surface():
    vertices, triangles, colours = surface(bowl(), Camera())
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert np.allclose(colours[:, 0], colours[:, 2])
    assert colours[vertices[:, 0] > 20].mean() > colours[vertices[:, 0] < -20].mean() + 0.2


def test_steps_are_not_bridged():
    maps = bowl()
    torn = replace(maps, depth=maps.depth + np.where(np.arange(61) < 30, 0, 30).astype(np.float32))
    vertices, triangles, _ = surface(torn, Camera())
    assert np.ptp(vertices[triangles, 2], axis=1).max() < 10


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_the_command(workspace, capfd, suffix):
    maps = bowl()
    write_maps("s.exr", maps)
    main(["mesh", "s.exr", "-o", "face" + suffix, "--pitch", "0.5"])
    assert capfd.readouterr().out.startswith(f"wrote face{suffix} (")
    mesh = open3d.io.read_triangle_mesh("face" + suffix)
    points = np.asarray(mesh.vertices)
    assert len(points) == maps.mask.sum() - 9  # the patch of nine is removed
    assert np.ptp(points[:, 0]) == pytest.approx(0.5 * 48, abs=1.1)
    assert np.ptp(points[:, 2]) == pytest.approx(
        0.5 * np.ptp(maps.depth[np.hypot(*np.mgrid[-30:31, -30:31]) < 25]), abs=0.01
    )
    assert mesh.has_vertex_colors()
    assert np.ptp(np.asarray(mesh.vertex_colors)) > 0.3


LENS = Camera(intrinsics=(150.0, 140.0, 25.0, 34.0), distance=290.0)  # a pixel is 2 mm at the face


def seen(shape: str) -> tuple[Maps, np.ndarray]:
    """A session of a plane or a sphere through the pinhole, its depth integrated from its normals; points in mm."""
    assert LENS.intrinsics is not None
    fx, fy, cx, cy = LENS.intrinsics
    rows, columns = np.mgrid[:61, :61].astype(float)
    ray = np.stack([(columns - cx) / fx, (cy - rows) / fy, -np.ones((61, 61))], axis=-1)
    if shape == "plane":
        normal = np.broadcast_to(np.array([0.3, -0.2, 0.9]) / np.sqrt(0.94), ray.shape)
        points = ray * (normal[..., 2:] * -290 / (ray * normal).sum(axis=-1, keepdims=True))
        mask = np.ones((61, 61), bool)
    else:
        centre, radius = np.array([10.0, -5.0, -350.0]), 60.0
        along, square = ray @ centre, (ray**2).sum(axis=-1)
        root = along**2 - square * (centre @ centre - radius**2)
        points = ray * ((along - np.sqrt(np.maximum(root, 0))) / square)[..., None]
        normal = (points - centre) / radius
        mask = root > 0.3 * root.max()
    depth = integrate(normal, mask, intrinsics=LENS.matrix)
    attributes = {"pitch": f"{LENS.scale:g}", "intrinsics": str(list(LENS.intrinsics))}
    return Maps(normal.astype(np.float32), np.ones((61, 61), np.float32), depth, mask, attributes=attributes), points


@pytest.mark.parametrize("shape", ["plane", "sphere"])
def test_what_a_pinhole_saw_comes_out_in_its_true_shape(workspace, capfd, shape):
    """Up to its distance, which no normals tell. Meshed straight behind its pixels, a sphere is none."""
    maps, points = seen(shape)
    write_maps("s.exr", maps)
    main(["mesh", "s.exr", "-o", "s.ply"])
    assert capfd.readouterr().out.rstrip().endswith("mm)")
    found = np.asarray(open3d.io.read_triangle_mesh("s.ply").vertices)
    true = points[maps.mask]
    assert len(found) == len(true)
    found, true = found - found.mean(axis=0), true - true.mean(axis=0)
    found *= np.linalg.norm(true) / np.linalg.norm(found)
    straight = surface(maps, Camera())[0]
    straight -= straight.mean(axis=0)
    straight *= np.linalg.norm(true) / np.linalg.norm(straight)
    error, other = (np.linalg.norm(one - true, axis=1).max() / np.ptp(true[:, 0]) for one in (found, straight))
    assert error < 0.001 < 0.02 < other


def test_a_pitch_that_is_given_goes_before_the_cameras(workspace, capfd):
    sizes = []
    for options in ([], ["--pitch", "1"]):
        write_maps("s.exr", replace(bowl(), attributes={"pitch": "2.5"}))
        main(["mesh", "s.exr", "-o", "s.ply", *options])
        assert "mm)" in capfd.readouterr().out
        sizes.append(np.ptp(np.asarray(open3d.io.read_triangle_mesh("s.ply").vertices)[:, 2]))
    assert sizes[0] == pytest.approx(2.5 * sizes[1], rel=1e-4)


@pytest.mark.parametrize("damaged", [{"pitch": "wide"}, {"intrinsics": "[1, 2]"}, {"pitch": "-1"}])
def test_damaged_attributes_end_in_one_line(workspace, capfd, damaged):
    write_maps("s.exr", replace(bowl(), attributes=damaged))
    with pytest.raises(SystemExit) as end:
        main(["mesh", "s.exr", "-o", "s.ply"])
    assert end.value.code == 2
    assert capfd.readouterr().err.startswith("psface: s.exr: its attributes pitch and intrinsics are damaged")


def test_mistakes_end_in_one_line(workspace, capfd):
    maps = bowl()
    write_maps("s.exr", maps)
    write_maps("none.exr", replace(maps, mask=np.zeros_like(maps.mask)))
    for arguments, words in (
        (("s.exr", "-o", "face.obj"), ".ply or .glb"),
        (("s.exr", "-o", "face.ply", "--pitch", "0"), "positive"),
        (("none.exr", "-o", "face.ply"), "no surface"),
        (("absent.exr", "-o", "face.ply"), "cannot be read"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["mesh", *arguments])
        assert end.value.code == 2
        error = capfd.readouterr().err
        assert words in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_a_mesh_that_does_not_fit_is_not_written(workspace, capfd, suffix):
    """Open3D said that all was well, and the mesh was cut; or the message named the file beside."""
    write_maps("s.exr", bowl())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(SystemExit) as end:
            main(["mesh", "s.exr", "-o", "face" + suffix])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert end.value.code == 1
    assert capfd.readouterr().err == (
        f"psface: face{suffix}: File too large: check the path, its permissions and the free space\n"
    )
    assert [p.name for p in workspace.iterdir()] == ["s.exr"]


def test_a_place_that_takes_no_files_is_named(workspace, capfd):
    write_maps("s.exr", bowl())
    with pytest.raises(SystemExit) as end:
        main(["mesh", "s.exr", "-o", "/proc/face.ply"])
    assert end.value.code == 1
    assert capfd.readouterr().err.startswith("psface: /proc/face.ply: No such file or directory: ")
