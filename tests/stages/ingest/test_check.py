"""`psface check`: what it sees, what it warns of, and that it leaves the data set alone."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from own_data import RING, dome, write_frame, write_lights, write_session, write_set

from pipeline.cli import main
from pipeline.images import read_frame, write_picture
from pipeline.lights import condition, from_angles
from pipeline.sessions import read_sessions
from stages.ingest import check_inspect
from stages.ingest.check_files import kind_of
from stages.ingest.check_inspect import inspect
from stages.ingest.check_sheet import written
from stages.ingest.check_warnings import GOOD_CONDITION, warnings_of
from stages.ingest.command import kind_of_reason

FORMATS = [
    (suffix, kind, rgb)
    for suffix, kinds in {
        ".bmp": ("8",),
        ".pgm": ("8", "16"),
        ".png": ("8", "16"),
        ".tif": ("8", "16", "float"),
        ".exr": ("half", "float"),
    }.items()
    for kind in kinds
    for rgb in (False, True)
    if not (suffix == ".pgm" and rgb)
]


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    try:
        main([*map(str, args)])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


def check_json(capsys: pytest.CaptureFixture[str], *args: object, status: int = 0) -> dict[str, Any]:
    found, out, _ = run(capsys, "check", *args, "--json")
    assert found == status
    values: dict[str, Any] = json.loads(out)
    return values


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(("suffix", "kind", "rgb"), FORMATS)
def test_every_format_goes_through_check_and_ingest(
    workspace: Path, capsys: pytest.CaptureFixture[str], suffix: str, kind: str, rgb: bool
) -> None:
    write_session(Path("own/ann/one"), suffix=suffix, kind=kind, rgb=rgb)
    found = check_json(capsys, "own")
    (image,) = found["images"]
    assert image["frames"] == 4
    assert (image["width"], image["height"]) == (48, 48)
    assert image["type"] == ("float" if kind in ("half", "float") else f"{kind}-bit")
    assert image["channels"] == ("RGB" if rgb else "grey")
    assert image["format"] == {".tif": "TIFF"}.get(suffix, suffix[1:].upper())
    Path("params.yaml").write_text("ingest: {source: folder, root: own}\n")
    assert run(capsys, "ingest")[0] == 0
    (session,) = read_sessions()
    read = np.stack([read_frame(path) for path in session.frames])
    np.testing.assert_allclose(
        read, dome(RING), atol={"8": 0.002, "16": 1e-5, "half": 5e-4, "float": 1e-6}[kind] + 1e-7
    )


@pytest.mark.parametrize("width", [16, 65535 // 3])
def test_a_row_of_sixteen_bytes_or_more_is_not_taken_for_sixteen_bits(tmp_path: Path, width: int) -> None:
    write_frame(tmp_path / "a.bmp", np.full((2, width), 0.5), rgb=True)
    assert kind_of(tmp_path / "a.bmp").type == "8-bit"


def test_a_curve_is_told_by_the_files_own_words(tmp_path: Path) -> None:
    from PIL import Image, PngImagePlugin

    picture = Image.fromarray(np.zeros((4, 5), np.uint8))
    words = PngImagePlugin.PngInfo()
    words.add(b"sRGB", b"\0")
    picture.save(tmp_path / "curve.png", pnginfo=words)
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "photo.jpg")
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", (45455).to_bytes(4, "big"))
    picture.save(tmp_path / "gamma.png", pnginfo=gamma)
    signs = {name: kind_of(tmp_path / name).encoded for name in ("curve.png", "plain.png", "photo.jpg", "gamma.png")}
    assert signs == {
        "curve.png": "a colour profile",
        "plain.png": "",
        "photo.jpg": "JPEG",
        "gamma.png": "a gamma of 1/2.2",
    }


def test_it_reports_and_changes_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(Path("own"), subjects=7)
    Path("own/labels.csv").write_text("subject,gender,spectacles,age\ns0,male,no,30\ns1,female,no,41\ns2,male,no,\n")
    write_session(Path("own/s6/v2"))
    Path("own/s6/v2/flash1.png").write_bytes(b"")
    before = contents(root)
    status, out, err = run(capsys, "check", "own", "-o", "sheet.jpg")
    assert (status, err) == (0, "")
    assert "source folder (guessed: s0/v0 holds lights.csv)" in out
    assert "14 usable of 15, of 7 subjects, 2 each" in out
    assert "56 of 48 x 48, 8-bit grey PNG" in out
    assert f"14 sessions, condition {condition(RING):.2f}" in out
    assert "gender      female 2, male 4; 8 missing" in out
    assert "1: a frame is empty (1)" in out
    assert "s6/v2: flash1.png is empty" in out
    assert "labels of spectacles, facial_hair, pose, expression" in out
    assert "hollow" not in out
    sheet = cv2.imread("sheet.jpg")
    assert sheet is not None
    assert sheet.shape == (12 * (128 + 18), 4 * 128, 3)
    assert contents(root) == before
    assert sorted(p.name for p in Path().iterdir()) == ["own", "sheet.jpg"]


def test_json_holds_all_of_it(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(Path("own"), subjects=2)
    found = check_json(capsys, "own", "--source", "folder")
    assert (found["source"], found["guessed"], found["sessions"], found["subjects"]) == ("folder", False, 4, 2)
    assert found["frames_by_session"] == {"4": 4}
    (rig,) = found["rigs"]
    assert rig["zenith"] == [35.0] * 4
    assert rig["azimuth"] == [45.0, 135.0, -135.0, -45.0]
    assert rig["condition"] == pytest.approx(condition(RING), abs=1e-3)
    assert found["labels"]["gender"] == {"female": 0, "male": 0, "missing": 4}
    assert all(min(look["bulge"]) > 0.8 for look in found["looked_at"])


@pytest.mark.parametrize(("axis", "other"), [("x", "y"), ("y", "x")])
def test_lights_in_a_wrong_frame_are_noticed(workspace: Path, axis: str, other: str) -> None:
    write_set(Path("own"))
    turned = RING * np.where(np.arange(3) == "xyz".index(axis), -1, 1)
    for folder in Path("own").glob("*/*"):
        write_lights(folder / "lights.csv", turned)
    said = " ".join(warnings_of(inspect("own")))
    assert f"hollow along {axis}" in said
    assert f"hollow along {other}" not in said


def test_what_is_wrong_is_said(workspace: Path) -> None:
    narrow = from_angles([8] * 4, [45, 135, 225, 315])
    assert condition(narrow) > GOOD_CONDITION
    write_set(Path("own"), lights=narrow)
    write_session(Path("own/s3/v0"), np.concatenate([RING, narrow[:1]]))
    for i, frame in enumerate(dome(RING)):
        write_frame(Path(f"own/s4/v0/flash{i}.png"), np.clip(3 * frame, 0, 1) if i else 0.02 * frame)
        write_frame(Path(f"own/s5/v0/flash{i}.png"), np.pad(0.05 * frame, 10))
    for subject in ("s4", "s5"):
        write_lights(Path(f"own/{subject}/v0/lights.csv"), RING)
    said = "\n".join(warnings_of(inspect("own")))
    for part in (
        "differ in their number of frames: most have 4, 1 do not (s3/v0)",
        "frames are of 2 sizes, from 48 x 48 to 68 x 68",
        f"condition up to {condition(narrow):.1f}",
        "3 subjects with two sessions or more: training needs 6",
        "saturated in 1 of 9 sessions looked at (s4/v0)",
        "stay below 10% of their scale in 1 of 9 sessions looked at (s5/v0)",
        "1 frame dark beside the others, as if the flash had not fired: s4/v0: flash0.png",
    ):
        assert part in said


def test_a_direction_given_twice_and_a_picture_without_a_row_are_told(workspace: Path) -> None:
    write_set(Path("own"), subjects=6)
    write_session(Path("own/s6/v0"), np.concatenate([RING[:3], RING[:1]]))
    write_session(Path("own/s7/v0"))
    write_frame(Path("own/s7/v0/flash9.png"), dome(RING)[0])
    write_frame(Path("own/s7/v0/ambient.png"), 0.02 * dome(RING)[0])
    said = "\n".join(warnings_of(inspect("own")))
    assert "two flashes have one direction in 1 session (s6/v0)" in said
    assert "1 picture that no row of lights.csv names, and nobody reads: s7/v0: flash9.png" in said


def test_a_good_set_has_no_warnings_but_of_labels(workspace: Path) -> None:
    write_set(Path("own"), subjects=6)
    assert [w.split(" ")[0] for w in warnings_of(inspect("own"))] == ["labels"]


def test_every_source_is_guessed(workspace: Path) -> None:
    write_session(Path("folder/ann/one"))
    write_session(Path("above/ann/one"))
    Path("above/ann/one/lights.csv").rename("above/lights.csv")
    for i in range(3):
        write_picture(f"photoface/1001/a/im{i}.bmp", np.full((4, 4), 0.3))
    Path("photoface/1001/a/LightSource.m").write_text("[30 30 30; 0 120 240]")
    for azimuth, elevation in ((0, 35), (-30, -20), (30, -20), (0, 0)):
        write_picture(f"yaleb/y1/y1_P00A{azimuth:+04d}E{elevation:+03d}.pgm", np.full((4, 4), 0.3))
    for name, source in {"folder": "folder", "above": "folder", "photoface": "photoface", "yaleb": "yaleb"}.items():
        found = inspect(name)
        assert (found.source, len(found.sessions)) == (source, 1)
        assert found.guess


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "empty: neither lights.csv"),
        (["bad"], "bad: none of 1 sessions can be used"),
        (["own", "-o", "own/s0/sheet.png"], "lies in the data set"),
        (["own", "--source", "yale"], "'yale' is not one of"),
    ],
)
def test_mistakes_end_in_one_line(
    workspace: Path, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    write_set(Path("own"), subjects=1, each=1)
    Path("empty").mkdir()
    write_session(Path("bad/ann/one"))
    Path("bad/ann/one/flash2.png").unlink()
    before = contents(Path("own"))
    status, _, err = run(capsys, "check", *args)
    assert status == 2
    assert says in err
    assert err.count("\n") == 1
    assert contents(Path("own")) == before


def test_lights_for_other_names_say_both(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It said `0 lights`, or named the first missing frame alone."""
    write_session(Path("own/ann/one"))
    write_session(Path("own/ann/two"))
    for names in ("a.png,0,1,2\nb.png,1,-1,2\nc.png,-1,-1,2\n", "bob/one/flash0.png,0,1,2\n"):
        Path("own/ann/one/lights.csv").write_text("frame,x,y,z\n" + names)
        (refusal,) = check_json(capsys, "own")["rejected"]
        assert refusal["reason"] == (
            f"own/ann/one/lights.csv names no frame of this folder: it has "
            f"{', '.join(row.split(',')[0] for row in names.split())}; "
            "the folder has flash0.png, flash1.png, flash2.png, flash3.png"
        )
        assert kind_of_reason(refusal["reason"]) == "lights.csv names no frame of this folder"


def test_names_on_the_sheet_keep_their_letters() -> None:
    """Vietnamese letters came out as question marks."""
    name = "Nguyễn Văn Ấn/lần 1"
    line = written(name, 512)
    assert line.shape == (18, 512, 3)
    assert np.array_equal(line, written(unicodedata.normalize("NFD", name), 512))
    for other in ("Nguyen Van An/lan 1", "Nguy?n V?n ?n/l?n 1"):
        assert not np.array_equal(line, written(other, 512))
    unknown = written("\U0010ffff\U0010ffff", 64)  # what the font shows for a letter that it has not
    assert not np.array_equal(written("ễấ", 64), unknown)
    long = written("ă" * 200, 512)
    assert not long[:, -4:].any()


def spoil(path: Path) -> None:
    """Change the middle of a PNG's pixels: its header and the lengths of its parts stay true."""
    data = bytearray(path.read_bytes())
    middle = (data.index(b"IDAT") + data.index(b"IEND")) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)


def test_pixels_of_every_session_are_read_or_it_is_said(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read those of twelve sessions alone, and said so nowhere."""
    write_set(Path("own"), subjects=15, each=1)
    spoil(Path("own/s2/v0/flash1.png"))
    cut = Path("own/s8/v0/flash3.png")
    cut.write_bytes(cut.read_bytes()[:-300])
    status, out, _ = run(capsys, "check", "own")
    assert status == 0
    assert "13 usable of 15" in out
    assert "s2/v0: own/s2/v0/flash1.png: not an image that can be read" in out
    assert "s8/v0: flash3.png cut short" in out
    assert "pixels of all of them read" in out
    assert check_json(capsys, "own")["pixels_read"] == {"sessions": 14, "of": 14}
    monkeypatch.setattr(check_inspect, "ALL_PIXELS", 14 * 4 * 48 * 48 - 1)
    monkeypatch.setattr(check_inspect, "LOOKED_AT", 2)
    status, out, _ = run(capsys, "check", "own", "-o", "sheet.png")
    assert "14 usable of 15" in out
    assert "s8/v0: flash3.png cut short" in out
    assert "headers of all of them read, pixels of 2 of 14 sessions" in out


@pytest.mark.parametrize("suffix", [".exr", ".tif"])
def test_floating_point_frames_in_counts_are_told(
    workspace: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    for subject in ("ann", "bob"):
        write_session(Path(f"own/{subject}/one"), suffix=suffix, kind="float")
    for i, frame in enumerate(dome(RING)):
        write_frame(Path(f"own/bob/one/flash{i}{suffix}"), 255 * frame, kind="float")
    (refusal,) = check_json(capsys, "own")["rejected"]
    assert refusal["session"] == "bob/one"
    assert re.search(r"levels of \d+ in the lit part, and white is 1 .*; divide the frames", refusal["reason"])


@pytest.mark.data
def test_the_published_crops(data_root: Path) -> None:
    if not (data_root / "CroppedYale").is_dir():
        pytest.skip("no CroppedYale in the real data")
    found = inspect(data_root / "CroppedYale")
    assert (found.source, len(found.sessions), len(found.subjects), len(found.rigs)) == ("yaleb", 180, 30, 6)
    assert np.median([look.bulge for look in found.looks], axis=0).min() > 0.1
    assert [w.split(" ")[0] for w in warnings_of(found) if "saturated" not in w] == ["labels"]


def test_the_guide_s_table_of_layouts_is_what_the_code_gives(repository: Path) -> None:
    """Condition, median error of least squares at 1 % noise, normals turned away from a flash."""
    rng = np.random.default_rng(0)
    z = rng.uniform(np.cos(np.deg2rad(40)), 1, 20000)
    around = rng.uniform(-np.pi, np.pi, z.size)
    normals = np.stack([np.sqrt(1 - z**2) * np.cos(around), np.sqrt(1 - z**2) * np.sin(around), z])
    table = (repository / "docs" / "own-data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|[^|]+\| ([\d, ]+) \| ([\d, ]+) \| ([\d.]+) \| ([\d.]+)° \| (\d+) % \|$", table, re.MULTILINE)
    assert len(rows) == 12
    for zenith, azimuth, ratio, error, away in rows:
        lights = from_angles([float(v) for v in zenith.split(",")], [float(v) for v in azimuth.split(",")])
        assert condition(lights) == pytest.approx(float(ratio), abs=0.006)
        clean = 0.5 * np.clip(lights @ normals, 0, None)
        found = np.linalg.pinv(lights) @ (clean + rng.normal(0, 0.01, clean.shape))
        cosine = (found * normals).sum(axis=0) / np.linalg.norm(found, axis=0)
        assert np.median(np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))) == pytest.approx(float(error), abs=0.1)
        assert 100 * (clean <= 0).any(axis=0).mean() == pytest.approx(float(away), abs=1)


def test_sessions_without_lights_are_told_and_taken_when_asked(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were refused one by one, and a data set of nothing else was of no known layout."""
    write_set(Path("own"), subjects=2, each=2)
    for path in Path("own").rglob("lights.csv"):
        path.unlink()
    status, out, err = run(capsys, "check", "own")
    assert status == 2
    assert "source folder (guessed: s0/v0 holds pictures, and no file of lights)" in out
    assert "no lights known: 4 sessions; with ingest.uncalibrated: true they are estimated from the frames" in out
    assert "none of 4 sessions can be used" in err
    status, out, _ = run(capsys, "check", "own", "--uncalibrated", "-o", "sheet.jpg")
    assert status == 0
    assert "4 usable of 4" in out
    assert "no lights known: 4 sessions; they are estimated from the frames" in out
    assert "hollow" not in out
    write_lights(Path("own/s0/lights.csv"), RING)
    found = check_json(capsys, "own")
    assert found["no_lights"] == ["s1/v0", "s1/v1"]
    assert (found["sessions"], len(found["rigs"])) == (2, 1)


def test_a_rig_s_file_tells_the_layout(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(Path("own"), subjects=1, each=1)
    Path("own/s0/v0/lights.csv").unlink()
    Path("own/rig.json").write_text(json.dumps({"lights": [{"direction": light.tolist()} for light in RING]}))
    assert "source folder (guessed: it holds rig.json)" in run(capsys, "check", "own")[1]
