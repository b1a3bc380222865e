"""`psface wear-mask` and `psface mask` as their users meet them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from models import create_model
from pipeline.cli import main
from pipeline.contract import Contract, Network, save_run
from pipeline.faces import PREPROCESSING, Faces
from pipeline.images import read_frame, read_levels, write_picture
from pipeline.maps import Maps, write_maps
from pipeline.maskdesigns import TYPES
from pipeline.sessions import read_sessions, write_sessions
from stages.crop.looks import Sighting

PARAMS = (
    "crop: {{seed: 7, size: 64}}\nwear_mask: {{seed: 1, share: {share}, designs: [n95, cloth/dots], twins: {twins}}}\n"
)
POINTS = {
    "left_eye": [109, 100],
    "right_eye": [151, 102],
    "nose": [129, 127],
    "mouth_left": [107, 139],
    "mouth_right": [150, 141],
}


def ends_with(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    return capsys.readouterr().err.strip()


@pytest.fixture
def astronaut(workspace: Path) -> np.ndarray:
    """A colour photograph, a.png."""
    picture = np.ascontiguousarray(data.astronaut()[0:260, 95:355])
    write_picture("a.png", picture)
    return picture


def changed(before: np.ndarray, path: str | Path) -> np.ndarray:
    after = cv2.imread(str(path))[..., ::-1].astype(int)
    return np.abs(after - before).max(axis=-1) > 3


@pytest.mark.parametrize("kind", TYPES)
def test_a_photograph_is_masked_in_colour(kind: str, astronaut: np.ndarray, capsys) -> None:
    main(["wear-mask", "a.png", "-o", "out", "--design", kind])
    assert f"wrote out/a.png ({kind}/" in capsys.readouterr().out
    worn = changed(astronaut, "out/a.png")
    for name, (x, y) in POINTS.items():
        around = worn[y - 2 : y + 3, x - 2 : x + 3]
        assert around.mean() > 0.8 if "eye" not in name else not around.any(), name
    assert worn[:40].sum() == 0
    first = Path("out/a.png").read_bytes()
    main(["wear-mask", "a.png", "-o", "out", "--design", kind])
    assert Path("out/a.png").read_bytes() == first


def test_points_that_are_given_are_believed(workspace: Path, capsys) -> None:
    """A picture in which nobody would find a face."""
    write_picture("grey.png", np.full((200, 240), 0.5, np.float32))
    assert "grey.png: " in ends_with(capsys, ["wear-mask", "grey.png", "-o", "out"], 2)
    Path("points.json").write_text(json.dumps({"grey.png": POINTS}))
    main(["wear-mask", "grey.png", "-o", "out", "--landmarks", "points.json"])
    after = cv2.imread("out/grey.png", cv2.IMREAD_UNCHANGED)
    assert after.shape == (200, 240)
    assert (after[85:100] == 128).mean() > 0.9
    assert (after[125:145, 115:145] != 128).mean() > 0.9


def test_a_picture_without_points_among_those_given_is_looked_at_aloud(astronaut: np.ndarray, capsys) -> None:
    Path("points.json").write_text(json.dumps({"A.png": POINTS}))
    main(["wear-mask", "a.png", "-o", "out", "--landmarks", "points.json"])
    assert "a.png: points.json has no points of `a.png`, so its face is looked for" in capsys.readouterr().err
    assert Path("out/a.png").is_file()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "expected JSON like"),
        ('{"grey.png": {"ear": [1, 2]}}', "no landmark `ear`"),
        ('{"grey.png": {"nose": [1, 2, 3]}}', "expected JSON like"),
        ('{"grey.png": {"nose": [NaN, 2]}}', "must be finite numbers"),
        ('{"grey.png": {"nose": [1' + 400 * "0" + ", 2]}}", "expected JSON like"),
        ('{"grey.png": {"nose": [1, 2]}}', "1 landmarks; expected four or more"),
    ],
)
def test_points_that_are_none_are_refused(content: str, said: str, workspace: Path, capsys) -> None:
    write_picture("grey.png", np.full((64, 64), 0.5, np.float32))
    Path("points.json").write_text(content)
    assert said in ends_with(capsys, ["wear-mask", "grey.png", "-o", "out", "--landmarks", "points.json"], 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "out"], "give either pictures or --sessions"),
        (["a.png", "-o", "out", "--design", "silk"], "--design: no mask `silk`"),
        (["a.png", "b/a.bmp", "-o", "out"], "two pictures would both be out/a.png"),
        (["a.png", "-o", "out", "--sessions", "t.parquet"], "give either pictures or --sessions"),
        (["-o", "out", "--sessions", "t.parquet", "--seed", "8"], "--design, --seed and --landmarks are for pictures"),
        (["a.png", "-o", "out", "--landmarks", "none.json"], "none.json: cannot be read (No such file or directory)"),
        (["none.png", "-o", "out"], "none.png: no such file"),
        (["a.png", "-o", "taken"], "'taken' is a file"),
    ],
)
def test_slips_end_in_one_line(arguments: list[str], said: str, workspace: Path, capsys) -> None:
    Path("taken").touch()
    assert said in ends_with(capsys, ["wear-mask", *arguments], 2)


def test_no_picture_is_written_over_and_the_others_go_on(astronaut: np.ndarray, capsys) -> None:
    """`-o .` put the masked picture in the place of the photograph."""
    before = Path("a.png").read_bytes()
    Path("here").symlink_to(".")
    for out in (".", "here"):
        said = ends_with(capsys, ["wear-mask", "a.png", "-o", out], 2)
        assert "a.png is a picture to be masked, and would be written over: choose another --out" in said
    assert Path("a.png").read_bytes() == before
    assert "none.png: no such file" in ends_with(capsys, ["wear-mask", "none.png", "a.png", "-o", "out"], 2)
    assert Path("out/a.png").is_file()


@pytest.mark.parametrize(
    "move", [lambda x, y: [x + 5000, y], lambda x, y: [-x, -y], lambda x, y: [1e150 * x, 1e150 * y]]
)
def test_points_outside_of_the_picture_are_refused(move, workspace: Path, capsys) -> None:
    """It said that a mask was worn, of which nothing was seen; the largest ended in OpenCV."""
    write_picture("grey.png", np.full((200, 240), 0.5, np.float32))
    Path("points.json").write_text(json.dumps({"grey.png": {name: move(*xy) for name, xy in POINTS.items()}}))
    said = ends_with(capsys, ["wear-mask", "grey.png", "-o", "out", "--landmarks", "points.json"], 2)
    assert "grey.png: the points of its face lie outside of it (240 x 200 px)" in said
    assert not Path("out").exists()


def test_a_chin_may_lie_below_the_picture(workspace: Path) -> None:
    write_picture("grey.png", np.full((150, 240), 0.5, np.float32))
    Path("points.json").write_text(json.dumps({"grey.png": POINTS | {"chin": [129, 168]}}))
    main(["wear-mask", "grey.png", "-o", "out", "--landmarks", "points.json"])
    assert (cv2.imread("out/grey.png", cv2.IMREAD_UNCHANGED)[125:145, 115:145] != 128).mean() > 0.9


@pytest.mark.parametrize("out", ["data", ".", "data/frames", "thesis", "tables", "dark"])
def test_a_folder_of_something_else_is_not_replaced(out: str, photographed, capsys) -> None:
    """`-o data` put the masked sessions in the place of the whole folder; so were folders of tables."""
    (session,) = photographed(1)
    for folder in ("tables", "dark/0/v"):
        Path(folder).mkdir(parents=True)
    for path in ("tables/sessions.parquet", "dark/sessions.parquet", "tables/labels.csv", "dark/0/v/landmarks.json"):
        Path(path).write_text("years of work")
    Path("dark/0/v/ambient.png").write_bytes(Path("data/frames/0/im0.png").read_bytes())
    write_sessions("data/sessions.parquet", [replace(session, ambient="dark/0/v/ambient.png")])
    Path("params.yaml").write_text(PARAMS.format(share=1, twins="false"))
    Path("thesis").mkdir()
    Path("thesis/sessions.parquet").write_text("years of work")
    Path("thesis/1/2").mkdir(parents=True)
    said = ends_with(capsys, ["wear-mask", "--sessions", "data/sessions.parquet", "-o", out, "--jobs", "1"], 2)
    assert said.endswith(": choose another --out")
    for path in ("data/frames/0/im0.png", "thesis/1", "tables/labels.csv", "dark/0/v/ambient.png"):
        assert Path(path).exists()


def test_a_session_whose_twin_is_there_gets_no_second(photographed, capsys) -> None:
    """Two sessions of one id were written, which no stage reads."""
    (session,) = photographed(1)
    twin = replace(session, id="s00/v-masked", session="v-masked", mask=1)
    write_sessions("data/sessions.parquet", [session, twin])
    Path("params.yaml").write_text(PARAMS.format(share=1, twins="true"))
    main(["wear-mask", "--sessions", "data/sessions.parquet", "-o", "data/masked", "--jobs", "1"])
    assert "(0 of 2 sessions masked)" in capsys.readouterr().out
    assert [s.id for s in read_sessions("data/masked/sessions.parquet")] == ["s00/v", "s00/v-masked"]


def test_sessions_are_masked_frame_by_frame_with_one_mask(photographed, capsys) -> None:
    sessions = photographed(3, blank=(1,))
    Path("params.yaml").write_text(PARAMS.format(share=1, twins="true"))
    main(["wear-mask", "--sessions", "data/sessions.parquet", "-o", "data/masked", "--jobs", "1"])
    said = capsys.readouterr().out
    assert "wrote data/masked (2 of 3 sessions masked; 1 stay bare, such as s01/v: " in said
    table = {s.id: s for s in read_sessions("data/masked/sessions.parquet")}
    assert set(table) == {"s00/v", "s00/v-masked", "s01/v", "s02/v", "s02/v-masked"}
    assert [table[i].mask for i in sorted(table)] == [0, 1, 0, 0, 1]
    worn, bare = table["s00/v-masked"], table["s00/v"]
    assert worn.mask_design.startswith(("n95/", "cloth/dots"))
    assert (bare.mask_design, worn.rig, worn.subject) == ("", bare.rig, bare.subject)
    assert bare.frames == sessions[0].frames
    before, after = (np.stack([read_frame(f) for f in s.frames]) for s in (bare, worn))
    assert read_levels(worn.frames[0]).dtype == np.uint8
    # the frames are one picture at four exposures, and so are the masked ones: the mask is lit as the face is
    found = worn.landmarks
    assert found.shape == (5, 2)
    assert bare.landmarks is None
    ratio = after[:, 70:100, 55:100].mean(axis=(1, 2)) / before[:, 70:100, 55:100].mean(axis=(1, 2))
    assert np.ptp(ratio) < 0.02
    assert np.abs(after - before)[:, 75:90, 60:90].mean() > 0.02
    assert np.array_equal(after[:, :30], before[:, :30])


def test_nobody_looks_for_a_face_whose_points_are_known(photographed, capsys) -> None:
    """Of painted Extended Yale B the detector found 2 of 18 faces."""
    sessions = photographed(3, blank=(0, 1, 2))
    points = np.array([[60, 60], [90, 60], [75, 78], [62, 95], [88, 95]], float)
    write_sessions("data/sessions.parquet", [replace(s, landmarks=points) for s in sessions[:2]] + sessions[2:])
    main(["crop", "--jobs", "1"])
    assert "2 faces of 3 sessions" in capsys.readouterr().out
    index = Faces().index
    assert index["row"].tolist() == [0, 1, -1]
    assert np.reshape(index["landmarks"][0], (5, 2)).tolist() == points.tolist()


def test_a_session_whose_points_are_of_no_face_stays_bare(photographed, capsys, monkeypatch) -> None:
    photographed(1)
    Path("params.yaml").write_text(PARAMS.format(share=1, twins="false"))
    mirrored = np.array([[90, 60], [60, 60], [75, 78], [88, 95], [62, 95]], np.float32)
    monkeypatch.setattr("stages.crop.masked.find_faces", lambda *_, **__: [Sighting(mirrored, 1.0, 1)])
    main(["wear-mask", "--sessions", "data/sessions.parquet", "-o", "data/masked", "--jobs", "1"])
    assert "(0 of 1 sessions masked; 1 stay bare, such as s00/v: the landmarks are left" in capsys.readouterr().out


def test_which_are_masked_follows_from_the_share_and_the_seed(photographed, capsys) -> None:
    photographed(8)
    Path("params.yaml").write_text(PARAMS.format(share=0.5, twins="false"))
    arguments = ["wear-mask", "--sessions", "data/sessions.parquet", "-o", "data/masked", "--jobs", "1"]
    main(arguments)
    first = read_sessions("data/masked/sessions.parquet")
    assert [s.id for s in first] == [f"s{i:02}/v" for i in range(8)]
    assert 0 < sum(s.mask for s in first) < 8
    assert all((s.mask == 1) == s.frames[0].startswith("data/masked/") for s in first)
    main(arguments)
    again = read_sessions("data/masked/sessions.parquet")
    assert [(s.mask, s.mask_design, s.frames) for s in again] == [(s.mask, s.mask_design, s.frames) for s in first]
    write_sessions("data/worn.parquet", first)  # who wears one already gets no second
    main(["wear-mask", "--sessions", "data/worn.parquet", "-o", "data/twice", "--jobs", "1"])
    assert "wrote data/twice (0 of 8 sessions masked)" in capsys.readouterr().out


@pytest.mark.parametrize("transfer", ["srgb", 2.2])
def test_masked_frames_have_the_tone_curve_of_their_session(transfer: str | float, photographed) -> None:
    """They were linear beside bare ones that were not: `frame`, whose levels are the file's, told a mask by that."""
    (session,) = photographed(1)
    camera = session.camera.model_copy(update={"transfer": transfer})
    write_sessions("data/sessions.parquet", [replace(session, camera=camera)])
    Path("params.yaml").write_text(PARAMS.format(share=1, twins="false"))
    main(["wear-mask", "--sessions", "data/sessions.parquet", "-o", "data/masked", "--jobs", "1"])
    (worn,) = read_sessions("data/masked/sessions.parquet")
    assert worn.camera.transfer == transfer
    before, after = (read_levels(s.frames[0]) for s in (session, worn))
    assert after.dtype == np.uint8
    assert np.array_equal(before[:30], after[:30])
    assert not np.array_equal(before[75:90], after[75:90])


def test_frames_of_sixteen_bits_keep_them(photographed) -> None:
    (session,) = photographed(1)
    for path in session.frames:
        cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_UNCHANGED) * np.uint16(257) - np.uint16(3))
    Path("params.yaml").write_text(PARAMS.format(share=1, twins="false"))
    main(["wear-mask", "--sessions", "data/sessions.parquet", "-o", "data/masked", "--jobs", "1"])
    (worn,) = read_sessions("data/masked/sessions.parquet")
    before, after = (read_levels(s.frames[0]) for s in (session, worn))
    assert after.dtype == np.uint16
    assert np.abs(before.astype(int) - after)[:30].max() <= 1


def make_run(folder: str, modality: str, attributes: dict[str, int], bias: float = 4.0, **kwargs: object) -> None:
    """A run that always says masked, with the probability of a logit of `bias`."""
    torch.manual_seed(3)
    channels = {modality: {"normal": 3, "colour": 3, "frames": 4}.get(modality, 1)}
    arguments = {"channels": channels, "size": 64, "attributes": attributes, "width": 8, "dimension": 16, **kwargs}
    network = create_model("iresnet18", **arguments)
    if "mask" in attributes:
        torch.nn.init.zeros_(network.heads["mask"].classify.weight)
        network.heads["mask"].classify.bias.data = torch.tensor([0.0, bias])
    contract = Contract(
        run="r", modalities=[modality], size=64, channels=arguments["channels"],
        normalisation={modality: PREPROCESSING[modality]},
        network=Network(name="iresnet18", kwargs=arguments), attributes=attributes,
    )  # fmt: skip
    save_run(Path(folder), contract, network.state_dict())


def test_a_photograph_is_judged(astronaut: np.ndarray, capsys) -> None:
    make_run("runs/r/train", "frame", {"mask": 2}, beside=["mask"], attention="none")
    main(["mask", "a.png", "--run", "r"])
    assert "a.png: masked (probability of a mask 0.982), quality " in capsys.readouterr().out
    for run in ("runs/r", "runs/r/train"):
        main(["mask", "a.png", "--run", run, "--json"])
        (entry,) = json.loads(capsys.readouterr().out)
        assert entry["path"] == "a.png"
        assert entry["mask"] == pytest.approx(0.982, abs=1e-3)
        assert entry["masked"] is True
        assert entry["quality"] > 0
    write_picture("blank.png", np.full((120, 120), 0.4, np.float32))
    with pytest.raises(SystemExit) as ended:
        main(["mask", "blank.png", "a.png", "none.png", "--run", "r", "--json"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert [entry["path"] for entry in json.loads(said.out)] == ["a.png"]
    assert "psface: blank.png: " in said.err
    assert "psface: none.png: no such file" in said.err


def test_what_differs_is_told_apart(astronaut: np.ndarray, capsys) -> None:
    """The number comes from the network: another face, another embedding."""
    make_run("runs/r/train", "frame", {"mask": 2}, beside=["mask"], attention="none")
    write_picture("b.png", np.ascontiguousarray(astronaut[:, ::-1]))
    main(["wear-mask", "a.png", "-o", "out", "--design", "gas"])
    capsys.readouterr()
    main(["mask", "a.png", "b.png", "out/a.png", "--run", "r", "--json"])
    a, mirrored, worn = (entry["quality"] for entry in json.loads(capsys.readouterr().out))
    assert a == pytest.approx(mirrored, rel=0.02)  # each view is averaged with its mirror image
    assert a != worn


def test_a_session_is_judged_by_its_frames_and_by_its_maps(photographed, portrait: np.ndarray, capsys) -> None:
    photographed(1)
    Path("data/frames/0").rename("data/frames/v")
    Path("data/frames").rename("data/s00")
    make_run("runs/f/train", "frame", {"mask": 2}, bias=-4.0)
    make_run("runs/n/train", "normal", {"gender": 2, "mask": 2})
    main(["mask", "data/s00/v", "--run", "f"])
    assert "data/s00/v: no mask (probability of a mask 0.018)" in capsys.readouterr().out
    main(["mask", "data/s00/v", "data/maps/s00/v.exr", "--run", "n", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [entry["masked"] for entry in found] == [True, True]
    assert found[0]["quality"] > 0
    assert "the run sees normal, and there are no maps in elsewhere" in ends_with(
        capsys, ["mask", "data/s00/v", "--run", "n", "--maps", "elsewhere"], 2
    )
    write_picture("data/s00/v/im0.png", portrait[:-1])
    for name in ("im1.png", "im2.png", "im3.png"):
        Path("data/s00/v", name).unlink()
    said = ends_with(capsys, ["mask", "data/s00/v", "--run", "n"], 2)
    assert said.startswith("psface: data/s00/v: frames are (159, 160) px, maps (160, 160) px")
    assert "the run sees frame: give the photograph" in ends_with(
        capsys, ["mask", "data/maps/s00/v.exr", "--run", "f"], 2
    )


def test_runs_that_cannot_tell_masks_are_refused(astronaut: np.ndarray, capsys) -> None:
    make_run("runs/g/train", "frame", {"gender": 2})
    said = ends_with(capsys, ["mask", "a.png", "--run", "g"], 2)
    assert "runs/g/train: this run cannot tell masks (its attributes: gender): train one with `mask`" in said
    make_run("runs/k/train", "frames", {"mask": 2})
    assert "sees `frames`, photographs in the order of" in ends_with(capsys, ["mask", "a.png", "--run", "k"], 2)
    make_run("runs/c/train", "colour", {"mask": 2})
    assert "sees `colour`, photographs in colour: use" in ends_with(capsys, ["mask", "a.png", "--run", "c"], 2)
    make_run("runs/rgb/train", "frame", {"mask": 2}, channels={"frame": 3})
    assert "sees `frame` in colour, and" in ends_with(capsys, ["mask", "a.png", "--run", "rgb"], 2)
    make_run("runs/n/train", "normal", {"mask": 2})
    said = ends_with(capsys, ["mask", "a.png", "--run", "n"], 2)
    assert "a.png: the run sees normal, and there are no maps (an .exr of `psface reconstruct`)" in said
    assert "runs/x/train/contract.json is missing" in ends_with(capsys, ["mask", "a.png", "--run", "x"], 2)


def test_an_exr_that_is_no_map_says_so(workspace: Path, capsys) -> None:
    make_run("runs/n/train", "normal", {"mask": 2})
    Path("bad.exr").write_bytes(b"nothing")
    assert "bad.exr" in ends_with(capsys, ["mask", "bad.exr", "--run", "n"], 2)
    shape = (64, 64)
    empty = Maps(
        np.zeros((*shape, 3), np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, bool),
    )
    write_maps("empty.exr", empty)
    assert "empty.exr: " in ends_with(capsys, ["mask", "empty.exr", "--run", "n"], 2)
