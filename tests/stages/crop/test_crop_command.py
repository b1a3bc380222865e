"""`psface crop` and `psface detect` as their users meet them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from pipeline.cli import main
from pipeline.errors import UserError
from pipeline.faces import MODALITIES, Faces
from pipeline.geometry import LANDMARKS
from pipeline.images import write_picture
from pipeline.sessions import read_sessions
from pipeline.tables import read_parquet
from stages.crop import detect, packing
from stages.crop.align import drawn_frame


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def ends_with(capsys, arguments: list[str], code: int) -> str:
    """The one line that a failing command leaves on standard error."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == code
    return capsys.readouterr().err.strip()


def test_crop_packs_every_session_that_shows_a_face(photographed, capsys):
    sessions = photographed(4, blank=(1,))
    Path(f"data/maps/{sessions[2].id}.exr").unlink()
    main(["crop", "--jobs", "1"])
    assert "2 faces of 4 sessions; " in capsys.readouterr().out
    faces = Faces()
    index = faces.index.set_index("session")
    assert index["row"].tolist() == [0, -1, -1, 1]
    assert "no face" in index.loc["s01/v", "reason"]
    assert index.loc["s02/v", "reason"] == packing.NO_MAPS
    shapes = {name: faces.array(name).shape for name in MODALITIES}
    assert shapes == {m: (2, 64, 64, {"normal": 3, "frames": 4}.get(m, 1)) for m in MODALITIES}
    first = index.loc["s00/v"]
    assert (first["n_faces"], len(first["landmarks"]), len(first["matrix"])) == (1, 10, 6)
    assert first["eye_distance"] > 20
    assert first["frame"] == drawn_frame("s00/v", 4, 7)
    # the frames are lit at 135, 45, 225 and 315 degrees and ever brighter: from below, the last comes first
    means = faces.array("frames")[0].astype(float).mean(axis=(0, 1))
    assert means.argsort().tolist() == [2, 1, 3, 0]
    np.testing.assert_array_equal(
        faces.array("frame")[0, ..., 0], faces.array("frames")[0, ..., [2, 1, 3, 0][first["frame"]]]
    )
    assert not Path(".psface/crop").is_dir() or not any(p.is_dir() for p in Path(".psface/crop").iterdir())


def test_the_bytes_do_not_depend_on_the_number_of_processes(photographed, monkeypatch):
    monkeypatch.setattr(packing, "BATCH", 2)
    photographed(4)
    main(["crop", "--jobs", "1"])
    alone = contents(Path("data/faces"))
    main(["crop", "--jobs", "2"])
    assert contents(Path("data/faces")) == alone
    assert sorted(alone) == sorted([*(f"{m}.npy" for m in MODALITIES), "mask.npy", "index.parquet", "contact.png"])


def test_an_interrupted_run_goes_on_where_it_was(photographed, monkeypatch):
    """A kill while faces are cut, and a line of the sightings cut short: what was seen is not looked at again."""
    monkeypatch.setattr(packing, "BATCH", 1)
    photographed(3)
    main(["crop", "--jobs", "1"])
    whole = contents(Path("data/faces"))

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(packing, "cut_face", killed)
        with pytest.raises(SystemExit):
            main(["crop", "--jobs", "1"])
    assert contents(Path("data/faces")) == whole  # the old result is still in place
    (sightings,) = Path(".psface/crop").glob("*/sightings.jsonl")
    lines = sightings.read_text().splitlines(keepends=True)
    sightings.write_text("".join(lines[:2]) + lines[2][:9])
    looked = []
    look = packing.find_faces
    monkeypatch.setattr(packing, "find_faces", lambda images, **o: looked.append(len(images)) or look(images, **o))
    main(["crop", "--jobs", "1"])
    assert looked == [1]
    assert contents(Path("data/faces")) == whole


@pytest.mark.parametrize("moment", ["while faces are cut", "while gaps are closed"])
def test_faces_that_were_cut_before_a_kill_are_not_cut_again(photographed, monkeypatch, moment):
    sessions = photographed(5)
    Path(f"data/maps/{sessions[1].id}.exr").write_bytes(b"junk")
    main(["crop", "--jobs", "1"])
    whole = contents(Path("data/faces"))
    cut, open_new, done, opened = packing.cut_face, packing._open_new, [], []

    def cut_three(*arguments, **options):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return cut(*arguments, **options)

    def close_two(path, *arguments):
        opened.append(path.name)
        if len([name for name in opened if name.startswith(".")]) == 3:
            raise KeyboardInterrupt
        return open_new(path, *arguments)

    name, killed = ("cut_face", cut_three) if moment == "while faces are cut" else ("_open_new", close_two)
    with monkeypatch.context() as patch:
        patch.setattr(packing, name, killed)
        with pytest.raises(SystemExit):
            main(["crop", "--jobs", "1"])
    again = []
    monkeypatch.setattr(packing, "cut_face", lambda *a, **o: again.append(1) or cut(*a, **o))
    main(["crop", "--jobs", "1"])
    assert len(again) == (1 if moment == "while faces are cut" else 0)
    assert contents(Path("data/faces")) == whole


def test_cuts_into_arrays_that_are_gone_are_made_again(photographed, monkeypatch):
    """A kill between the arrays' move into place and the end of the work in progress."""
    photographed(2)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.work.shutil.rmtree", lambda *a, **o: None)
        main(["crop", "--jobs", "1"])
    whole = contents(Path("data/faces"))
    assert [p.name for p in Path(".psface/crop").glob("*/cuts.jsonl")] == ["cuts.jsonl"]
    main(["crop", "--jobs", "1"])
    assert contents(Path("data/faces")) == whole


def test_damaged_maps_and_frames_do_not_stop_the_others(photographed):
    """The arrays close the gap that a face which could not be cut has left."""
    sessions = photographed(4)
    Path(f"data/maps/{sessions[0].id}.exr").write_bytes(b"junk")
    Path(sessions[2].frames[1]).write_bytes(b"junk")
    main(["crop", "--jobs", "1"])
    index = Faces().index.set_index("session")
    assert index["row"].tolist() == [-1, 0, -1, 1]
    assert "not an OpenEXR file" in index.loc["s00/v", "reason"]
    assert sessions[2].frames[1] in index.loc["s02/v", "reason"]
    array = Faces().array("normal")
    assert len(array) == len(Faces().mask()) == 2
    np.testing.assert_array_equal(array[0], array[1])  # the same portrait twice
    assert array[0].any()


def test_a_session_of_another_length_is_set_aside(photographed, capsys):
    """It stopped the stage for all."""
    photographed(3, frames=[4, 3, 4])
    main(["crop", "--jobs", "1"])
    assert "2 faces of 3 sessions; 1 3 frames, the others have 4" in capsys.readouterr().out
    index = Faces().index.set_index("session")
    assert index["row"].tolist() == [0, -1, 1]
    assert index.loc["s01/v", "reason"] == "3 frames, the others have 4"
    assert Faces().array("frames").shape == (2, 64, 64, 4)


def test_no_face_at_all_is_a_failure(photographed, capsys):
    photographed(2, blank=(0, 1))
    assert "no face in any of 2 sessions" in ends_with(capsys, ["crop", "--jobs", "1"], 1)
    assert not Path("data/faces").exists()


@pytest.mark.parametrize("out", [".", "data", "data/frames"])
def test_faces_replace_faces_alone(photographed, capsys, out):
    """`--out data` put them in the place of the whole folder."""
    photographed(1)
    assert "choose another --out" in ends_with(capsys, ["crop", "--jobs", "1", "--out", out], 2)
    assert Path("data/frames/0/im0.png").is_file()


def test_crop_before_reconstruct_says_so(photographed, capsys):
    photographed(1)
    Path("data/maps/s00/v.exr").unlink()
    assert "run `psface reconstruct` first" in ends_with(capsys, ["crop"], 2)


def test_detect_prints_json(workspace, capsys):
    write_picture("portrait.png", data.astronaut())
    write_picture("wall.png", data.brick())
    main(["detect", "portrait.png", "wall.png", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [entry["image"] for entry in found] == ["portrait.png", "wall.png"]
    assert found[1]["faces"] == []
    (face,) = found[0]["faces"]
    assert list(face) == ["box", "confidence", "landmarks"]
    assert list(face["landmarks"]) == list(LANDMARKS)
    reference = json.loads((Path(__file__).parents[2] / "data" / "mtcnn_reference.json").read_text())["portrait"][
        "faces"
    ][0]
    x, y, width, height = face["box"]
    np.testing.assert_allclose([x, y, x + width, y + height], reference["box"], atol=0.05)
    np.testing.assert_allclose(list(face["landmarks"].values()), reference["landmarks"], atol=0.05)


def test_detect_prints_a_table_and_draws_a_picture(workspace, capsys):
    write_picture("portrait.png", data.astronaut())
    main(["detect", "portrait.png", "-o", "drawn.png"])
    out = capsys.readouterr().out
    assert "portrait.png: 1 face" in out
    assert "left_eye" in out
    assert Path("drawn.png").is_file()


@pytest.mark.parametrize("name", ["absent.png", "text.png", "empty.png", "folder"])
def test_detect_names_what_it_cannot_read(workspace, capsys, name):
    Path("text.png").write_text("no image")
    Path("empty.png").touch()
    Path("folder").mkdir()
    line = ends_with(capsys, ["detect", name, "--json"], 2)
    assert name in line
    assert "\n" not in line


def test_detect_goes_on_after_what_it_cannot_read(workspace, capsys):
    """One bad picture ended the work of all, and what had been found was not printed."""
    write_picture("wall.png", data.brick())
    Path("text.png").write_text("no image")
    with pytest.raises(SystemExit) as exit_:
        main(["detect", "text.png", "wall.png", "absent.png", "--json"])
    shown = capsys.readouterr()
    assert exit_.value.code == 2
    assert json.loads(shown.out) == [{"image": "wall.png", "faces": []}]
    first, second = shown.err.splitlines()
    assert "text.png" in first
    assert "absent.png" in second


def test_pictures_are_read_a_few_at_a_time(workspace, monkeypatch):
    write_picture("wall.png", np.zeros((20, 30)))
    monkeypatch.setattr(detect, "BATCH", 3)
    batches = list(detect.in_batches(["wall.png"] * 4 + ["absent.png"] * 4))
    assert [(len(names), len(pictures), len(reasons)) for names, pictures, reasons in batches] == [
        (3, 3, 0),
        (1, 1, 2),
        (0, 0, 2),
    ]
    monkeypatch.setattr(detect, "BATCH_VALUES", 1)
    assert [len(names) for names, *_ in detect.in_batches(["wall.png"] * 2)] == [1, 1]


def test_pictures_of_floats_have_white_at_one(workspace):
    picture = np.array([[0, 0.5], [1, 2]], np.float32)
    cv2.imwrite("floats.tiff", picture)
    np.testing.assert_allclose(detect.read_picture("floats.tiff"), [[0, 127.5], [255, 255]])
    cv2.imwrite("nan.tiff", np.full((2, 2), np.nan, np.float32))
    with pytest.raises(UserError, match=r"nan\.tiff: holds NaN"):
        detect.read_picture("nan.tiff")


def test_the_index_reads_back(photographed):
    photographed(1)
    main(["crop", "--jobs", "1"])
    index = read_parquet("data/faces/index.parquet", made_by="crop")
    assert index["subject"].tolist() == ["s00"]
    assert Faces().rows_for(["s00/v", "other/v"]).tolist() == [0, -1]


@pytest.mark.parametrize("device", ["nonsense", "meta:x"])
def test_a_device_that_is_not_there_is_the_users_mistake(workspace, capsys, device):
    """It was a traceback of torch's."""
    write_picture("portrait.png", np.zeros((32, 32)))
    line = ends_with(capsys, ["detect", "portrait.png", "--device", device], 2)
    assert f"device `{device}` cannot be used here" in line


def test_frames_that_have_changed_are_looked_at_again(photographed, monkeypatch):
    """The key of the work in progress did not know the frames, so that stale sightings were taken up."""
    keys = []

    class Stop(Exception):
        pass

    def stop(name, *, key):
        keys.append(key)
        raise Stop

    monkeypatch.setattr("stages.crop.command.StageWork", stop)
    photographed(1)
    frame = Path(read_sessions()[0].frames[0])
    for _ in range(2):
        with pytest.raises(Stop):
            main(["crop", "--jobs", "1"])
        os.utime(frame, ns=(1, 1))
    assert keys[0] != keys[1]
