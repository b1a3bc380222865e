"""The pictures of the guide: each is drawn by a script and shown on a page; none is a photograph of a real face."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from docs import real_pictures
from pipeline.maps import Maps

BY_COMMANDS = {"maps.jpg", "simulator.png"}  # of `psface view` and of the simulator


def test_a_script_draws_each_picture_and_a_page_shows_it(repository: Path) -> None:
    scripts = "\n".join(path.read_text() for path in (repository / "docs").glob("*pictures.py"))
    drawn = {f"{name}.jpg" for name in re.findall(r'save\([\w\[\]]+, "([\w-]+)"\)', scripts)}
    pages = [*(repository / "docs").glob("*.md"), repository / "README.md"]
    shown = {name for page in pages for name in re.findall(r"!\[[^\]]*\]\([\w/]*img/([\w.-]+)\)", page.read_text())}
    there = {path.name for path in (repository / "docs" / "img").iterdir()}
    assert drawn | BY_COMMANDS == shown == there
    assert all((repository / "docs" / "img" / name).stat().st_size < 200_000 for name in drawn)


def test_git_ignores_the_folder_of_photographs(repository: Path) -> None:
    beside = real_pictures.THEIRS / "albedo.jpg"
    assert subprocess.run(["git", "check-ignore", "-q", beside], cwd=repository, check=False).returncode == 0


@pytest.mark.parametrize("name", ["solvers", "relight"])
def test_what_is_as_good_as_a_photograph_stays_out_of_the_guide(
    name: str, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames, albedo and relit pictures are what is drawn in greys."""
    written: list[tuple[Path, bool]] = []

    def save(figure: Figure, _: str, folder: Path = real_pictures.OURS) -> None:
        written.append((folder, any(axes.images[0].get_cmap().name == "gray" for axes in figure.axes if axes.images)))

    solved = real_pictures.solved
    monkeypatch.setattr(real_pictures, "save", save)
    monkeypatch.setattr(real_pictures, "solved", lambda session, _, **__: solved(session, "least squares"))
    real_pictures.PICTURES[name](data_root / "CroppedYale")
    assert written == [(real_pictures.OURS, False), (real_pictures.THEIRS, True)]


def test_least_squares_gives_the_normals_of_a_sphere() -> None:
    y, x = 39.5 - np.mgrid[:80, :80][0], np.mgrid[:80, :80][1] - 39.5
    normal = np.stack([x, y, np.sqrt(70.0**2 - x**2 - y**2)], axis=-1) / 70
    lights = np.array([[0.3, 0, 0.954], [-0.3, 0.1, 0.949], [0, 0.4, 0.917], [0, -0.4, 0.917]])
    frames = np.einsum("ki,hwi->khw", lights, 0.8 * normal).astype(np.float32)
    found = real_pictures.solved(real_pictures.Photographs(frames, lights, np.ones(4)), "least squares")
    assert np.abs(found.normal - normal).max() < 1e-5
    assert np.abs(found.albedo - 0.8).max() < 1e-5


@pytest.mark.filterwarnings("ignore:Open3D was built with CUDA:ImportWarning")
@pytest.mark.parametrize(("turn", "towards"), [(75, 1), (-75, -1)])
def test_a_nose_points_to_where_its_face_is_turned(turn: float, towards: int) -> None:
    y, x = np.mgrid[:80, :80] - 39.5
    depth = np.maximum(60 - 3 * np.hypot(x, y), 0).astype(np.float32)
    normal = np.zeros((80, 80, 3), np.float32)
    maps = Maps(normal, np.ones((80, 80), np.float32), depth, np.ones((80, 80), bool))
    solid = real_pictures.from_side(maps, turn) < 1
    middle = np.flatnonzero(solid[real_pictures.VIEW[0] // 2])
    above = np.flatnonzero(solid[real_pictures.VIEW[0] // 2 - 35])
    assert np.ptp(middle) + 1 == pytest.approx(
        depth.max() * np.sin(np.deg2rad(75)) + 39.5 * np.cos(np.deg2rad(75)), abs=1.5
    )
    assert np.ptp(above) + 1 == pytest.approx(79 * np.cos(np.deg2rad(75)), abs=2)
    assert towards * (middle.mean() - above.mean()) > 15
