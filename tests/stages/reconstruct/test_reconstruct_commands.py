"""The commands `reconstruct`, `maps` and `view`, from outside."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from face_scene import Scene, angles

from pipeline.cli import main
from pipeline.maps import read_maps
from pipeline.sessions import Session, write_sessions
from pipeline.work import StageWork, key_of, stamps_of
from stages.reconstruct import command as stage


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output, standard error of psface with arguments."""
    try:
        main([str(a) for a in arguments])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    captured = capfd.readouterr()
    return status, captured.out, captured.err


def shoot(folder: Path, scene: Scene) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"im{i}.png" for i in range(len(scene.frames))]
    for path, frame in zip(paths, scene.frames, strict=True):
        cv2.imwrite(str(path), np.rint(frame * 255).astype(np.uint8))
    return paths


def lights_csv(path: Path, names: list[object], lights: np.ndarray) -> Path:
    rows = [f"{name},{x:.8f},{y:.8f},{z:.8f},1" for name, (x, y, z) in zip(names, lights, strict=True)]
    path.write_text("frame,x,y,z,strength\n" + "\n".join(reversed(rows)) + "\n")
    return path


@pytest.fixture
def workspace(tmp_path, monkeypatch, scene) -> Path:
    """Three sessions: two that work and one whose frame is no picture."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("reconstruct: {}\n")
    sessions = []
    for i in range(3):
        frames = shoot(Path(f"raw/s{i}"), scene)
        sessions.append(
            Session(
                id=f"s{i}/visit",
                subject=f"s{i}",
                session="visit",
                rig="near",
                frames=tuple(p.as_posix() for p in frames),
                lights=scene.lights,
                strengths=np.ones(4),
            )
        )
    Path("raw/s1/im2.png").write_text("no picture")
    write_sessions("data/sessions.parquet", sessions)
    return tmp_path


def test_the_stage(workspace, capfd, scene):
    status, out, _ = run(capfd, "reconstruct", "--jobs", 1)
    assert (status, out) == (0, "wrote data/maps, data/quality.parquet (2 sessions, 1 rejected)\n")
    table = pd.read_parquet("data/quality.parquet").set_index("session")
    assert list(table.index) == ["s0/visit", "s1/visit", "s2/visit"]
    assert "im2.png" in table.loc["s1/visit", "rejected"]
    assert np.isnan(table.loc["s1/visit", "residual"])
    assert table.loc["s0/visit", "rejected"] == ""
    assert sorted(p.as_posix() for p in Path("data/maps").rglob("*.exr")) == [
        "data/maps/s0/visit.exr",
        "data/maps/s2/visit.exr",
    ]
    maps = read_maps("data/maps/s0/visit.exr")
    assert angles(maps.normal, scene.normal)[maps.mask & scene.mask].mean() < 2
    assert maps.attributes["session"] == "s0/visit"


@pytest.mark.parametrize("out", [".", "raw", "other"])
def test_maps_replace_maps_alone(workspace, capfd, out):
    """`--out raw` put them in the place of the photographs."""
    Path("other").mkdir()
    Path("other/notes.txt").touch()
    status, _, said = run(capfd, "reconstruct", "--jobs", 1, "--out", out)
    assert status == 2
    assert "choose another --out" in said
    assert Path("raw/s0/im0.png").is_file()
    assert Path("other/notes.txt").is_file()


def test_the_stage_on_a_device(workspace, capfd):
    """`cpu:0` is torch's processor."""
    depths = []
    for name in ("cpu", "cpu:0"):
        status, out, _ = run(capfd, "reconstruct", "--device", name)
        assert (status, out) == (0, "wrote data/maps, data/quality.parquet (2 sessions, 1 rejected)\n")
        depths.append(read_maps("data/maps/s2/visit.exr").depth)
    assert np.abs(depths[0] - depths[1]).max() < 1e-4 * np.ptp(depths[0])
    assert np.any(depths[0] != depths[1])


def test_the_same_bytes_whatever_the_number_of_jobs(workspace, capfd):
    contents = []
    for jobs in (1, 2):
        assert run(capfd, "reconstruct", "--jobs", jobs)[0] == 0
        contents.append([p.read_bytes() for p in sorted(Path("data").rglob("*")) if p.is_file()])
    assert contents[0] == contents[1]


def test_an_interrupted_run_goes_on(workspace, capfd, monkeypatch):
    done: list[str] = []
    real = stage.reconstruct

    def dying(photographs, settings, **options):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append("one")
        return real(photographs, settings, **options)

    monkeypatch.setattr(stage, "reconstruct", dying)
    assert run(capfd, "reconstruct", "--jobs", 1)[0] == 130
    assert not Path("data/maps").exists()

    def counted(photographs, settings, **options):
        done.append("more")
        return real(photographs, settings, **options)

    monkeypatch.setattr(stage, "reconstruct", counted)
    assert run(capfd, "reconstruct", "--jobs", 1)[0] == 0
    assert done == ["one", "more"]  # s0 was kept, s1 is no picture, s2 is done now


def test_nothing_usable_is_a_failure(workspace, capfd):
    for path in Path("raw").rglob("im2.png"):
        path.write_text("no picture")
    status, _, error = run(capfd, "reconstruct", "--jobs", 1)
    assert status == 1
    assert "none of 3 sessions could be reconstructed; the first: s0/visit: raw/s0/im2.png" in error
    assert error.count("\n") == 1


def test_a_second_run_beside_the_first_is_told(workspace, capfd):
    with StageWork("reconstruct", key=key_of("another")):
        status, _, error = run(capfd, "reconstruct", "--jobs", 1)
    assert status == 1
    assert "already running" in error


def test_maps_and_view(tmp_path, capfd, scene):
    frames = shoot(tmp_path / "shots", scene)
    for names in ([p.name for p in frames], frames):
        table = lights_csv(tmp_path / "lights.csv", list(names), scene.lights)
        status, out, error = run(capfd, "maps", *frames, "--lights", table, "-o", tmp_path / "s.exr")
        assert (status, error) == (0, "")
        assert out.splitlines()[1].startswith(f"wrote {tmp_path.as_posix()}/s.exr (residual ")
        maps = read_maps(tmp_path / "s.exr")
        assert angles(maps.normal, scene.normal)[maps.mask & scene.mask].mean() < 2
    status, out, _ = run(capfd, "view", tmp_path / "s.exr", "-o", tmp_path / "s.png")
    assert (status, out) == (0, f"wrote {tmp_path.as_posix()}/s.png\n")
    picture = cv2.imread(str(tmp_path / "s.png"))
    assert picture.shape[1] > 2 * picture.shape[0]
    assert picture.std() > 20


def test_maps_with_mask_and_ambient(tmp_path, capfd, scene):
    frames = shoot(tmp_path / "shots", scene)
    table = lights_csv(tmp_path / "lights.csv", [p.name for p in frames], scene.lights)
    mask = np.zeros((96, 96), np.uint8)
    mask[20:70, 25:75] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    cv2.imwrite(str(tmp_path / "dark.png"), np.zeros((96, 96), np.uint8))
    extra = ("--mask", tmp_path / "mask.png", "--ambient", tmp_path / "dark.png")
    assert run(capfd, "maps", *frames, "--lights", table, "-o", tmp_path / "s.exr", *extra)[0] == 0
    assert np.array_equal(read_maps(tmp_path / "s.exr").mask, mask > 0)


def test_mistakes_of_maps_and_view_end_in_one_line(tmp_path, capfd, scene):
    frames = shoot(tmp_path / "shots", scene)
    table = lights_csv(tmp_path / "lights.csv", [p.name for p in frames], scene.lights)
    flat = lights_csv(tmp_path / "flat.csv", [p.name for p in frames], scene.lights * [1, 0, 1])
    (tmp_path / "text.exr").write_text("text")
    cv2.imwrite(str(tmp_path / "im3.png"), np.zeros((10, 12), np.uint8))
    out = ("-o", tmp_path / "s.exr")
    for arguments, words in (
        (("maps", *frames[:2], "--lights", table, *out), "at least three"),
        (("maps", *frames, "--lights", flat, *out), "coplanar"),
        (("maps", *frames, tmp_path / "im9.png", "--lights", table, *out), "no row for frame"),
        (("maps", *frames, frames[0], "--lights", table, *out), "both take the row"),
        (("maps", *frames, "--lights", tmp_path / "none.csv", *out), "none.csv"),
        (("maps", *frames[:3], tmp_path / "im3.png", "--lights", table, *out), "12x10 pixels"),
        (("maps", *frames[:3], tmp_path / "x" / "im3.png", "--lights", table, *out), "no such file"),
        (("view", tmp_path / "text.exr", "-o", tmp_path / "p.png"), "not an OpenEXR file"),
        (("view", tmp_path / "none.exr", "-o", tmp_path / "p.png"), "cannot be read"),
    ):
        status, _, error = run(capfd, *arguments)
        assert status == 2, arguments
        assert words in error
        assert error.count("\n") == 1, error
    assert not (tmp_path / "s.exr").exists()


def test_help_says_the_frame():
    from stages.reconstruct.maps import command

    assert "z to the camera" in CliRunner().invoke(command, ["--help"]).output


def test_maps_are_written_as_exr_alone(workspace, capfd, scene):
    """An OpenEXR file under the name of a PNG was written without a word."""
    frames = shoot(Path("one"), scene)
    table = lights_csv(Path("lights.csv"), [p.name for p in frames], scene.lights)
    status, _, err = run(capfd, "maps", *frames, "--lights", table, "-o", "maps.png")
    assert status == 2
    assert "ends in .exr" in err
    assert not Path("maps.png").exists()


def test_the_key_follows_the_frames(workspace):
    frame = Path("raw/s0/im0.png")
    before = key_of(stamps_of([frame, "missing.png"]))
    assert key_of(stamps_of([frame, "missing.png"])) == before
    os.utime(frame, ns=(1, 1))
    assert key_of(stamps_of([frame, "missing.png"])) != before
