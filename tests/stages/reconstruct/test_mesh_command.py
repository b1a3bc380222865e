"""Meshes against closed forms, read back with Open3D."""

from __future__ import annotations

import resource
import signal
from dataclasses import replace

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.maps import Maps, write_maps
from stages.reconstruct.mesh import surface

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
    vertices, triangles, colours = surface(bowl())
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert np.allclose(colours[:, 0], colours[:, 2])
    assert colours[vertices[:, 0] > 20].mean() > colours[vertices[:, 0] < -20].mean() + 0.2


def test_steps_are_not_bridged():
    maps = bowl()
    torn = replace(maps, depth=maps.depth + np.where(np.arange(61) < 30, 0, 30).astype(np.float32))
    vertices, triangles, _ = surface(torn)
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
