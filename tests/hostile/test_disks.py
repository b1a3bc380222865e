"""Small disks that are full or read-only: one line, nothing half-written in place, and room mends it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from healthy import shoot
from skimage.data import astronaut

from pipeline.sessions import read_sessions
from pipeline.tables import read_parquet

Run = Callable[..., tuple[int, str, str]]


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A small disk of its own, where this process may mount one."""
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small disk takes root")
    try:
        yield folder
    finally:
        os.chdir("/")
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(path: Path, *, leave: int) -> None:
    """Take all the room of a disk but some bytes."""
    free = os.statvfs(path.parent)
    with path.open("wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - leave)))


def on_disk(folder: Path, data: Path) -> None:
    """Make a disk a workspace of its own on the frames of `data`, and the current folder."""
    shutil.copy(data / "params.yaml", folder)
    (folder / "data").mkdir()
    (folder / "data/set").symlink_to(data / "data/set")
    os.chdir(folder)


@pytest.mark.parametrize("share", [0, 0.4, 0.9])
def test_a_full_disk_ends_in_one_line_and_space_mends_it(tmp_path: Path, data: Path, psface: Run, share: float) -> None:
    """The disk fills up at the first file, at a later one, at the last."""
    assert psface("ingest")[0] == 0
    assert psface("reconstruct", "--jobs", "1")[0] == 0
    expected = {p.relative_to("data/maps"): p.read_bytes() for p in sorted(Path("data/maps").rglob("*.exr"))}
    table = Path("data/quality.parquet").read_bytes()
    with disk(tmp_path / "disk", "2m") as small:
        on_disk(small, data)
        assert psface("ingest")[0] == 0
        fill_up(small / "ballast", leave=round(share * sum(map(len, expected.values()))))
        status, _, err = psface("reconstruct", "--jobs", "1")
        assert status == 1
        assert "No space left on device" in err
        assert f".{os.getpid()}" not in err  # the name of a file beside the one that is meant
        fill_up(small / "more", leave=0)
        status, _, err = psface("view", data / "data/maps/1001/first.exr", "-o", "v.png")
        assert (status, err.startswith("psface: v.png: No space left on device")) == (1, True)
        assert not Path("data/maps").exists()
        assert not Path("data/quality.parquet").exists()
        assert not Path("v.png").exists()
        (small / "ballast").unlink()
        (small / "more").unlink()
        assert psface("reconstruct", "--jobs", "1")[0] == 0
        assert {
            p.relative_to("data/maps"): p.read_bytes() for p in sorted(Path("data/maps").rglob("*.exr"))
        } == expected
        assert Path("data/quality.parquet").read_bytes() == table
        fill_up(small / "ballast", leave=0)
        status, _, err = psface("ingest")
        assert status == 1
        assert "No space left on device" in err
        assert len(read_sessions()) == 3  # the whole table of before


def test_a_full_disk_while_faces_are_packed(tmp_path: Path, data: Path, psface: Run) -> None:
    """The arrays are memory-mapped: without their room taken beforehand, a full disk killed the process."""
    portrait = cv2.resize(cv2.cvtColor(astronaut()[0:260, 95:355], cv2.COLOR_RGB2GRAY), (160, 160))
    shutil.rmtree("data/set/1001")
    shoot(Path("data/set/1001/face"), frames=np.stack([portrait * share for share in (0.6, 0.7, 0.8, 0.9)]))
    assert psface("ingest")[0] == 0
    assert psface("reconstruct", "--jobs", "1")[0] == 0
    with disk(tmp_path / "disk", "1m") as small:
        on_disk(small, data)
        for name in ("maps", "sessions.parquet"):
            (small / "data" / name).symlink_to(data / "data" / name)
        fill_up(small / "ballast", leave=60_000)
        status, _, err = psface("crop", "--jobs", "1")
        assert status == 1
        assert ".npy: No space left on device" in err
        assert not Path("data/faces").exists()
        (small / "ballast").unlink()
        assert psface("crop", "--jobs", "1")[0] == 0
        assert read_parquet("data/faces/index.parquet", made_by="crop")["row"].max() == 0


def test_a_read_only_disk_ends_in_one_line(tmp_path: Path, data: Path, psface: Run) -> None:
    assert psface("ingest")[0] == 0
    assert psface("reconstruct", "--jobs", "1")[0] == 0
    made = data / "data/maps/1001/first.exr"
    with disk(tmp_path / "disk", "2m") as small:
        on_disk(small, data)
        shutil.copy(data / "data/sessions.parquet", "data")
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        for arguments in (
            ("ingest",),
            ("reconstruct", "--jobs", "1"),
            ("crop", "--jobs", "1"),
            ("view", made, "-o", "picture.png"),
        ):
            status, _, err = psface(*arguments)
            assert status == 1, arguments
            assert "Read-only file system" in err
