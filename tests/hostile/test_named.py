"""Each kind of hostile input by its name, through the real commands: one session is set aside, the others go on."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import healthy
import numpy as np
import pandas as pd
import pytest
from healthy import LIGHTS, grey_exr, shoot

from pipeline.maps import read_maps
from pipeline.sessions import read_sessions
from pipeline.tables import read_parquet, write_parquet

SIDE = 20_000
Run = Callable[..., tuple[int, str, str]]


def webp() -> bytes:
    """A sound picture of a format that OpenCV would read."""
    return bytes(cv2.imencode(".webp", np.full((48, 48), 128, np.uint8))[1])


def reasons(psface: Run) -> dict[str, str]:
    """What ingest and reconstruct set aside of the data set, and why; all else has its maps."""
    status, _, err = psface("ingest")
    assert status == 0, err
    found = pd.read_csv("data/rejected.csv").set_index("session")["reason"].to_dict()
    status, _, err = psface("reconstruct", "--jobs", "1")
    assert status == 0, err
    quality = read_parquet("data/quality.parquet", made_by="reconstruct")
    found |= {row.session: row.rejected for row in quality.itertuples() if row.rejected}
    made = {path.relative_to("data/maps").with_suffix("").as_posix() for path in Path("data/maps").rglob("*.exr")}
    assert made == {session.id for session in read_sessions()} - set(found)
    assert {"1001/first", "1001/second", "1002/first"} <= made
    return found


def zeros_png(width: int, height: int) -> bytes:
    """A whole and valid black picture in a few kilobytes, however large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, rows = zlib.compressobj(1, wbits=-15), bytes(100 * (width + 1))
    block = packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)  # of a hundred rows, and may be repeated
    checksum = 1
    for _ in range(height // 100):
        checksum = zlib.adler32(rows, checksum)
    content = b"\x78\x01" + block * (height // 100) + packer.flush() + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def sparse_bmp(path: Path, side: int) -> None:
    """A valid black picture that takes no room on the disk."""
    shutil.copy(path.with_name("im1.bmp"), path)
    head = bytearray(path.read_bytes()[:1078])
    head[2:6], head[18:26] = struct.pack("<I", len(head) + side * side), struct.pack("<ii", side, side)
    path.write_bytes(bytes(head))
    os.truncate(path, len(head) + side * side)


def change(name: str) -> Callable[[Path], None]:
    """The harm to a session's folder, by its name."""

    def each_frame(write: Callable[[Path], object]) -> Callable[[Path], None]:
        return lambda folder: [write(path) for path in sorted(folder.glob("im*.bmp"))] and None

    def lights(text: str) -> Callable[[Path], object]:
        return lambda folder: (folder / "LightSource.m").write_text(text)

    def level(value: int) -> Callable[[Path], object]:
        return each_frame(lambda path: cv2.imwrite(str(path), np.full((64, 64), value, np.uint8)))

    def exr(value: float | None) -> Callable[[Path], object]:
        def write(folder: Path) -> None:
            for i, frame in enumerate(healthy.photographs(LIGHTS) / (255 if value is not None else 1)):
                (folder / f"im{i}.bmp").unlink()
                if i == 2 and value is not None:
                    frame[20, 20] = value
                grey_exr(folder / f"im{i}.exr", frame)

        return write

    return {
        "missing frame": lambda f: (f / "im2.bmp").unlink(),
        "zero bytes": lambda f: (f / "im2.bmp").write_bytes(b""),
        "wrong magic": lambda f: (f / "im2.bmp").write_bytes(b"XX" + (f / "im2.bmp").read_bytes()[2:]),
        "truncated": lambda f: (f / "im2.bmp").write_bytes((f / "im2.bmp").read_bytes()[:2000]),
        "another size": lambda f: cv2.imwrite(str(f / "im2.bmp"), np.zeros((64, 65), np.uint8)),
        "all black": level(0),
        "all saturated": level(255),
        "NaN": exr(np.nan),
        "huge values": exr(1e30),
        "negative values": exr(-1e30),
        "counts for levels": exr(None),
        "coplanar lights": lights("[35 10 10 35; 0 0 180 180]"),
        "repeated lights": lights("[35 35 35 35; 45 45 45 45]"),
        "lights behind": lights("[35 135 35 35; 45 135 225 315]"),
        "nan lights": lights("[35 nan 35 35; 45 135 225 315]"),
        "too few lights": lights("[35 35; 45 135]"),
        "no lights": lambda f: (f / "LightSource.m").unlink(),
        "lights of ten million dots": lights("..." * 3_000_000),
        "directory for a frame": lambda f: ((f / "im2.bmp").unlink(), (f / "im2.bmp").mkdir()),
        "symlink to itself": lambda f: ((f / "im2.bmp").unlink(), (f / "im2.bmp").symlink_to("im2.bmp")),
        "20,000 x 20,000 pixels": lambda f: sparse_bmp(f / "im2.bmp", SIDE),
        "2^31 pixels": each_frame(
            lambda p: p.write_bytes(p.read_bytes()[:18] + struct.pack("<ii", 2**16, 2**15) + p.read_bytes()[26:54])
        ),
        "a format whose size is not looked for": lambda f: (f / "im2.bmp").write_bytes(webp()),
        "a terabyte": lambda f: os.truncate(f / "im2.bmp", 1 << 40),
        "not UTF-8": lambda f: f.rename(os.fsdecode(os.fsencode(f) + b"\xff\xfe")),
    }[name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing frame", "missing frame im2"),
        ("zero bytes", "im2.bmp is empty"),
        ("wrong magic", "im2.bmp is not an image"),
        ("truncated", "im2.bmp cut short: 2000 bytes, and its header claims 5174; copy it again"),
        ("another size", "frames differ in size: im0.bmp 64 x 64, im2.bmp 65 x 64"),
        ("all black", "frames are lit by their flash"),
        ("all saturated", "overexposed"),
        ("NaN", "im2.exr: holds NaN"),
        ("huge values", "im2.exr: holds values from 0 to 1e+30"),
        ("counts for levels", "im0.exr: levels of 100 in the lit part, and white is 1 in a floating-point frame"),
        ("negative values", "im2.exr: holds values from -1e+30"),
        ("coplanar lights", "coplanar"),
        ("repeated lights", "coplanar or too close"),
        ("lights behind", "behind the face"),
        ("nan lights", "finite"),
        ("too few lights", "2 lights"),
        ("no lights", "LightSource.m is missing"),
        ("lights of ten million dots", "LightSource.m cannot be read (File too large)"),
        ("directory for a frame", "missing frame im2.bmp"),
        ("symlink to itself", "im2.bmp is a link to itself, not a file"),
        ("20,000 x 20,000 pixels", "im2.bmp 20000 x 20000 pixels, more than"),
        ("2^31 pixels", "im0.bmp 65536 x 32768 pixels, more than"),
        ("a format whose size is not looked for", "im2.bmp is not an image"),
        ("a terabyte", "im2.bmp a file of 1099.5 GB"),
        ("not UTF-8", "a name with characters that cannot be shown"),
    ],
)
def test_a_session_is_set_aside_with_its_reason_and_the_others_go_on(
    data: Path, psface: Run, name: str, reason: str
) -> None:
    shoot(Path("data/set/1002/harmed"))
    change(name)(Path("data/set/1002/harmed"))
    found = reasons(psface)
    assert [session.split("\\")[0] for session in found] == ["1002/harmed"]
    assert reason in next(iter(found.values()))
    assert all("\n" not in text for text in found.values())


@pytest.mark.parametrize(
    ("name", "words"), [("counts for levels", "levels of 100 in the lit part"), ("truncated", "cut short: 2000 bytes")]
)
def test_every_command_says_what_is_wrong_with_a_frame(data: Path, psface: Run, name: str, words: str) -> None:
    """Before any pixel is used: ingest by a note or a reason, check, maps, detect."""
    shutil.rmtree("data/set/1001")
    shutil.rmtree("data/set/1002")
    shoot(Path("data/set/1002/harmed"))
    change(name)(Path("data/set/1002/harmed"))
    frames = sorted(Path("data/set/1002/harmed").glob("im*"))
    harmed = frames[2] if name == "truncated" else frames[0]
    Path("lights.csv").write_text(
        "frame,x,y,z\n" + "".join(f"{f.name},{x},{y},{z}\n" for f, (x, y, z) in zip(frames, LIGHTS, strict=True))
    )
    status, _, err = psface("ingest")
    assert (status, words in err) == (0 if name == "counts for levels" else 2, True)
    status, out, _ = psface("check", "data/set")
    assert (status, words in out) == (2, True)
    status, _, err = psface("maps", *frames, "--lights", "lights.csv", "-o", "out.exr")
    assert (status, err.startswith(f"psface: {harmed}: {words}")) == (2, True)
    if name == "truncated":
        assert words in psface("detect", harmed)[2]
    assert not Path("out.exr").exists()


def test_a_whole_20000_pixel_picture_takes_no_memory(data: Path) -> None:
    """In a process of its own, whose memory can be measured: a bomb of 400 million pixels in two megabytes."""
    Path("large.png").write_bytes(zeros_png(SIDE, SIDE))
    Path("lights.csv").write_text(
        "frame,x,y,z\n" + "".join(f"im{i}.png,{x},{y},{z}\n" for i, (x, y, z) in enumerate(LIGHTS))
    )
    for i in range(4):
        Path(f"im{i}.png").symlink_to("large.png")
    code = (
        "import atexit; from pathlib import Path; from pipeline.cli import main\n"
        "own = lambda: [line for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "atexit.register(lambda: Path('peak').write_text(own()[0].split()[1])); main()"
    )
    command = [sys.executable, "-c", code, "maps", *(f"im{i}.png" for i in range(4)), "--lights", "lights.csv"]
    process = subprocess.Popen([*command, "-o", "out.exr"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait()
    process.stderr.close()
    assert process.returncode == 2
    assert err == (
        "psface: im0.png: 20000 x 20000 pixels, more than the 33.6 million that are read; make the pictures smaller\n"
    )
    assert int(Path("peak").read_text()) << 10 < 1 << 30  # (ru_maxrss of a child counts what its parent holds)
    assert not Path("out.exr").exists()


@pytest.mark.parametrize(("signs", "words"), [((-1, 1), "along x"), ((1, -1), "along y"), ((-1, -1), "x and y")])
def test_a_hollow_face_is_noticed(data: Path, psface: Run, signs: tuple[int, int], words: str) -> None:
    """Lights given with an axis flipped: everything fits, and the face comes out as its own mould."""
    shoot(Path("data/set/1002/harmed"))
    x, y = LIGHTS[:, :2].T
    zenith, azimuth = np.full(4, 35.0), np.rad2deg(np.arctan2(signs[1] * y, signs[0] * x))
    text = f"[{' '.join(map(str, zenith))}; {' '.join(map(str, azimuth))}]"
    Path("data/set/1002/harmed/LightSource.m").write_text(text)
    assert reasons(psface) == {}
    notes = read_parquet("data/quality.parquet", made_by="reconstruct").set_index("session")["notes"]
    assert "the face is hollow" in notes["1002/harmed"]
    assert words in notes["1002/harmed"]
    assert not notes.drop("1002/harmed").any()
    _, _, err = psface("reconstruct", "--jobs", "1")
    assert err.startswith("note: 1002/harmed: the face is hollow")
    assert err.count("\n") == 1


def test_duplicate_ids_are_set_aside(workspace: Path, psface: Run) -> None:
    names = [f"A{a:+04d}E{e:+03d}" for a in (-35, 0, 35) for e in (-20, 20)]
    for subject, prefixes in {"yaleB01": ("yaleB01", "copy"), "yaleB02": ("yaleB02",)}.items():
        Path("faces", subject).mkdir(parents=True)
        for prefix in prefixes:
            for name in names:
                cv2.imwrite(f"faces/{subject}/{prefix}_P00{name}.pgm", np.full((8, 8), 90, np.uint8))
    Path("params.yaml").write_text("ingest: {source: yaleb, root: faces, deal: {flashes: 3, max_condition: 50}}\n")
    status, _, err = psface("ingest")
    assert status == 0, err
    assert {session.subject for session in read_sessions()} == {"yaleB02"}
    rejected = pd.read_csv("data/rejected.csv")
    assert set(rejected["session"].str.split("/").str[0]) == {"yaleB01"}
    assert rejected["reason"].str.contains("two sessions share this name").all()


@pytest.mark.parametrize("name", ["../x", "..", "a/../../x", "/x", "", "."])
def test_a_subject_cannot_lead_out_of_the_workspace(data: Path, psface: Run, name: str) -> None:
    assert psface("ingest")[0] == 0
    table = pd.read_parquet("data/sessions.parquet")
    table.loc[0, "subject"] = name
    table.loc[0, "id"] = f"{name}/{table.loc[0, 'session']}"
    write_parquet("data/sessions.parquet", table)
    before = _files(data)
    for verb in ("reconstruct", "crop"):
        status, _, err = psface(verb, "--jobs", "1")
        assert status == 2
        assert "is not named <subject>/<session>: run `psface ingest` again" in err
    assert _files(data) == before


def _files(workspace: Path) -> list[Path]:
    """All of a workspace but its work in progress, and what lies beside and above it."""
    inside = [path for path in sorted(workspace.rglob("*")) if ".psface" not in path.parts]
    return [*inside, *sorted(workspace.parent.iterdir()), *sorted(Path("/").iterdir())]


def test_a_lights_csv_cannot_lead_out_of_the_session(workspace: Path, psface: Run) -> None:
    """Frames named by a path out of the folder are no frames of it."""
    shoot(Path("own/an/first"), "png")
    shoot(Path("elsewhere"), "png")
    rows = "".join(f"../../../elsewhere/im{i}.png,{x},{y},{z}\n" for i, (x, y, z) in enumerate(LIGHTS))
    Path("own/an/first/lights.csv").write_text("frame,x,y,z\n" + rows)
    Path("params.yaml").write_text("ingest: {source: folder, root: own}\n")
    status, _, err = psface("ingest")
    assert status == 2
    assert "none of 1 sessions can be used" in err
    assert not Path("data/sessions.parquet").exists()


def test_spaces_and_vietnamese_letters(workspace: Path, psface: Run) -> None:
    root = Path("dữ liệu của tôi/bộ ảnh khuôn mặt")
    for place in ("Nguyễn Thị Hương/lần một", "Đặng Văn Ước/ngày 3 tháng 2"):
        shoot(root / place, "png")
    lights = "".join(f"im{i}.png,{x},{y},{z}\n" for i, (x, y, z) in enumerate(LIGHTS))
    (root / "lights.csv").write_text("frame,x,y,z\n" + lights, encoding="utf-8")
    (root / "labels.csv").write_text("subject,gender\nNguyễn Thị Hương,female\n", encoding="utf-8")
    Path("params.yaml").write_text(f"ingest: {{source: folder, root: '{root}'}}\nreconstruct: {{}}\n", encoding="utf-8")
    assert psface("ingest")[0] == 0
    assert psface("reconstruct", "--jobs", "1")[0] == 0
    made = Path("data/maps/Nguyễn Thị Hương/lần một.exr")
    assert read_maps(made).mask.any()
    assert psface("view", made, "-o", "bức ảnh đẹp.png")[0] == 0
    frames = [root / "Đặng Văn Ước/ngày 3 tháng 2" / f"im{i}.png" for i in range(4)]
    assert psface("maps", *frames, "--lights", root / "lights.csv", "-o", "kết quả/mặt.exr")[0] == 0
    assert read_maps("kết quả/mặt.exr").attributes["frames"]
    grey = np.float32(np.mean([cv2.imdecode(np.fromfile(f, np.uint8), 0) for f in frames], axis=0) / 255)
    grey_exr(Path("ảnh.exr"), grey)
    status, _, err = psface("maps", "ảnh.exr", *frames[1:], "--lights", root / "lights.csv", "-o", "x.exr")
    assert status == 2
    assert "no row for frame ảnh.exr" in err


@pytest.mark.timeout(60)
def test_symlink_loops_end(data: Path, psface: Run) -> None:
    Path("data/set/loop").symlink_to("loop")
    Path("data/set/1003").mkdir()
    Path("data/set/1003/up").symlink_to("../..")
    Path("data/set/1003/self").symlink_to("self")
    Path("data/set/1002/first/around").symlink_to("..")
    _, _, err = psface("ingest")
    assert "around (a link to a folder around it), 1003/self (a link to itself), 1003/up (a link to a" in err
    found = reasons(psface)
    assert found == {}
    assert psface("crop", "--jobs", "1")[0] in (0, 1)  # a bulge may be a face or not: it ends


def test_messages_of_maps_name_what_the_user_gave(workspace: Path, psface: Run) -> None:
    shoot(Path("s"), "png")
    frames = [f"s/im{i}.png" for i in range(4)]
    Path("lights.csv").write_text(
        "frame,x,y,z\n" + "".join(f"im{i}.png,{x},{y},{z}\n" for i, (x, y, z) in enumerate(LIGHTS))
    )
    cv2.imwrite("black.png", np.zeros((64, 64), np.uint8))
    cv2.imwrite("small.png", np.full((8, 9), 255, np.uint8))
    Path("other").mkdir()
    cv2.imwrite("other/im1.png", np.full((64, 70), 90, np.uint8))
    Path("notes.exr").write_text("text")
    expected = {
        ("--lights", "missing.csv"): "missing.csv: no such file; it should be a table of lights",
        ("--lights", "lights.csv", "--mask", "small.png"): "small.png: the mask has 9x8 pixels, the frames have 64x64",
        ("--lights", "lights.csv", "--mask", "black.png"): "black.png: the mask is empty",
        ("--lights", "lights.csv", "--mask", "none.png"): "none.png: no such file",
        ("--lights", "lights.csv", "--ambient", "notes.exr"): "notes.exr: ",
        ("--lights", "lights.csv", "--ambient", "small.png"): (
            "small.png: the ambient frame has 9x8 pixels, the frames have 64x64"
        ),
        ("--rig", "lights.csv"): (
            "lights.csv: not JSON, in which `psface calibrate` writes a rig (Expecting value: line 1 column 1 (char 0))"
            "; a table frame,x,y,z is a lights.csv"
        ),
        ("--lights", "lights.csv", "--ambient", "other"): "other: a folder, not a picture; name the files in it",
        ("--lights", "s/im0.png"): "s/im0.png: not a text in UTF-8",
        ("--lights", "s"): "s: cannot be read (Is a directory)",
    }
    for options, words in expected.items():
        status, _, err = psface("maps", *frames, *options, "-o", "out.exr")
        assert (status, words in err) == (2, True), err
    status, _, err = psface("maps", frames[0], "other/im1.png", *frames[2:], "--lights", "lights.csv", "-o", "out.exr")
    assert status == 2
    assert "other/im1.png: 70x64 pixels, but s/im0.png has 64x64" in err
    assert not Path("out.exr").exists()


def test_commands_say_what_was_given_in_place_of_a_file(workspace: Path, psface: Run) -> None:
    """A folder of pictures was "no such file" to `detect` and one photograph to `calibrate --sphere`; `view -o picture`
    cut a blank out of its message."""
    shoot(Path("s"), "png")
    Path("lights.csv").write_text(
        "frame,x,y,z\n" + "".join(f"im{i}.png,{x},{y},{z}\n" for i, (x, y, z) in enumerate(LIGHTS))
    )
    status, out, _ = psface("maps", *[f"s/im{i}.png" for i in range(4)], "--lights", "lights.csv", "-o", "out.exr")
    assert status == 0
    solver, wrote = out.splitlines()
    assert re.fullmatch(r"solver marching \(4 flashes: .*\)", solver)
    assert re.fullmatch(r"wrote out.exr \(residual [^()]*, largest shift [\d.]+ px\)", wrote)
    expected = {
        ("detect", "s"): "psface: s: a folder, not a picture; name the files in it\n",
        ("calibrate", "s", "--sphere", "-o", "rig.json"): (
            "psface: s: a folder; --sphere takes the photographs of the ball themselves, one a flash\n"
        ),
        ("view", "out.exr", "-o", "picture"): (
            "psface: picture: give the picture a name that ends in its format, such as picture.png\n"
        ),
    }
    for arguments, words in expected.items():
        status, _, err = psface(*arguments)
        assert (status, err) == (2, words)
