"""Single photographs of ageing faces: SCAF's text, ECAF's folders and JSON, FG-NET's names; sound and hostile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.errors import UserError
from pipeline.faces import Faces
from pipeline.images import read_frame, write_picture
from pipeline.params import Ingest
from pipeline.sessions import read_sessions
from stages.ingest.command import ingest
from stages.ingest.faceplusplus import read_faces


@pytest.fixture
def pictures(workspace: Path):
    """Writes small colour pictures at paths below data/set."""
    rng = np.random.default_rng(7)

    def write(*names: str) -> Path:
        for name in names:
            path = Path("data/set") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_picture(path, rng.integers(0, 255, (24, 20, 3)).astype(np.uint8))
        return Path("data/set")

    return write


def read(annotations: str, text: str = "annotations.txt"):
    """(sessions, refusals, notes) of data/set."""
    chosen = {"annotations": annotations, "text": text}
    return ingest(Ingest(source="photographs", root="data/set", photographs=chosen), jobs=1)


def labels(sessions) -> list[tuple[str, float, int]]:
    return [(s.id, s.age, s.gender) for s in sessions]


def test_scafs_lines_are_sessions_of_one_frame(pictures) -> None:
    root = pictures("scaf/1/a.png", "scaf/1/b.png", "scaf/2/a b.png")
    (root / "scaf.txt").write_text("1 scaf/1/a.png 8 1\n1\tscaf/1/b.png\t61.5\t1\n\n2 scaf/2/a b.png 30 0\n")
    sessions, refusals, notes = read("scaf", "scaf.txt")
    assert labels(sessions) == [("1/scaf_1_a", 8, 1), ("1/scaf_1_b", 61.5, 1), ("2/scaf_2_a b", 30, 0)]
    assert sessions[0].frames == ("data/set/scaf/1/a.png",)
    assert sessions[0].known_lights is None
    assert (refusals, notes) == ([], [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 a.png 8", "3 words; expected `id filename age gender`"),
        ("\x00\x01", "1 words"),
        ("1 ../../etc/passwd.png 8 1", "leads out of the data set"),
        ("1 /etc/passwd.png 8 1", "leads out of the data set"),
        ("../1 a.png 8 1", "leads out of the data set"),
        ("1 . 8 1", "1 .: names no photograph"),
        (f"1 {'x' * 300}.png 8 1", "cannot be read (File name too long)"),
        ("1 gone.png 8 1", "missing frame gone.png"),
        ("1 empty.png 8 1", "empty.png is empty"),
        ("1 torn.png 8 1", "torn.png is not an image"),
    ],
)
def test_a_bad_line_is_set_aside_and_the_others_go_on(pictures, line: str, reason: str) -> None:
    root = pictures("a.png")
    (root / "empty.png").touch()
    (root / "torn.png").write_bytes(b"no picture" * 9)
    (root / "annotations.txt").write_text(f"{line}\n1 a.png 8 1\n")
    sessions, refusals, _ = read("scaf")
    assert labels(sessions) == [("1/a", 8, 1)]
    assert len(refusals) == 1
    assert reason in refusals[0].reason
    assert "\n" not in refusals[0].id + refusals[0].reason


@pytest.mark.parametrize(
    ("age", "gender", "known"),
    [("-3", "1", (-1, 1)), ("nan", "0", (-1, 0)), ("1e9", "1", (-1, 1)), ("old", "1", (-1, 1)), ("40", "2", (40, -1)),
     ("40", "m", (40, -1)), ("40", "Female", (40, 0)), ("inf", "?", (-1, -1))],
)  # fmt: skip
def test_labels_that_mean_nothing_are_missing_and_told(pictures, age: str, gender: str, known) -> None:
    root = pictures("a.png")
    (root / "annotations.txt").write_text(f"1 a.png {age} {gender}\n")
    sessions, _, notes = read("scaf")
    assert (sessions[0].age, sessions[0].gender) == known
    assert bool(notes) == (-1 in known)
    assert all("1 photographs have an age or a gender that means nothing, such as" in note for note in notes)


def test_a_text_that_is_not_there_or_no_text_is_one_line(pictures) -> None:
    root = pictures("a.png")
    with pytest.raises(UserError, match=r"annotations.txt: cannot be read \(No such file.*ingest.photographs.text"):
        read("scaf")
    (root / "annotations.txt").write_bytes(b"\xff\xfe\x00\x81" * 9)
    with pytest.raises(UserError, match=r"annotations.txt: cannot be read"):
        read("scaf")


def test_two_pictures_of_one_name_are_both_left_out(pictures) -> None:
    root = pictures("a.png", "a.bmp", "b.png")
    (root / "annotations.txt").write_text("1 a.png 8 1\n1 a.bmp 9 1\n1 b.png 9 1\n")
    sessions, refusals, _ = read("scaf")
    assert labels(sessions) == [("1/b", 9, 1)]
    assert "two sessions share this name" in refusals[0].reason


FACES = {
    "Ann_Lee": {"child": {"url": "http://x/Ann_Lee_child_001.png", "attributes": {"age": {"value": 7}}}},
    "images": [
        {
            "file": "img_ffhq/Ann_Lee_adult_001.png",
            "faces": [{"attributes": {"gender": {"value": "Female"}}}],
            "age": 41,
        },
        {"Bo_adult_002": {"age": 33, "gender": "male"}},
    ],
}


def test_ecaf_as_published(pictures) -> None:
    names = ("Ann_Lee_child_001", "Ann_Lee_adult_001", "Bo_adult_002", "Bo_child_001")
    root = pictures(*(f"image_data/img_mtcnn/{name}.png" for name in names), "image_data/img_mtcnn/logo.png",
                    "image_data/img_ffhq/Bo_adult_002.png")  # fmt: skip
    (root / "data.json").write_text(json.dumps(FACES))
    sessions, refusals, notes = read("ecaf")
    assert labels(sessions) == [
        ("Ann_Lee/Ann_Lee_adult_001", 41, 0), ("Ann_Lee/Ann_Lee_child_001", 7, -1),
        ("Bo/Bo_adult_002", 33, 1), ("Bo/Bo_child_001", -1, -1),
    ]  # fmt: skip
    assert [r.id for r in refusals] == ["image_data/img_mtcnn/logo.png"]
    assert notes == ["data/set/data.json tells nothing of 2 of 5 photographs"]
    (root / "data.json").unlink()
    sessions, _, notes = read("ecaf")
    assert [s.age for s in sessions] == [-1] * 4
    assert notes == ["data/set/data.json is missing, so that no age and no gender is known of 5 of 5 photographs"]


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, '{"a": 1} x', "\x00"])
def test_a_damaged_json_is_one_line(pictures, text: str) -> None:
    root = pictures("image_data/img_mtcnn/Bo_adult_002.png")
    (root / "data.json").write_text(text)
    with pytest.raises(UserError, match=r"data.json: cannot be read as JSON"):
        read("ecaf")


@pytest.mark.parametrize(
    "values", [[], None, 3, {"Bo": None}, {"Bo": {"age": [], "gender": {"value": {}}}}, {"age": 3}]
)
def test_a_json_of_something_else_tells_nothing(workspace: Path, values: object) -> None:
    Path("data.json").write_text(json.dumps(values))
    found = read_faces(Path("data.json"), {"Bo"})
    assert found in ({}, {"Bo": ("[]", "{}")})


def test_fgnets_names_tell_subject_and_age(pictures) -> None:
    pictures("images/001A43a.JPG", "images/001A02.jpg", "images/082A18.JPG", "images/notes.jpg",
             "images/٠٠٢A٤٣.png")  # fmt: skip
    sessions, refusals, _ = read("fgnet")
    assert labels(sessions) == [("001/001A02", 2, -1), ("001/001A43a", 43, -1), ("082/082A18", 18, -1)]
    assert [r.reason for r in refusals] == ["not named as FG-NET's are, 001A43a.JPG"] * 2


@pytest.mark.parametrize("annotations", ["ecaf", "fgnet"])
def test_another_data_set_is_refused(pictures, annotations: str) -> None:
    pictures("x.png")
    with pytest.raises(UserError, match="data/set: no "):
        read(annotations)


PARAMS = """
ingest: {source: photographs, root: data/set, photographs: {annotations: fgnet}}
crop: {seed: 7, size: 64, colour: true}
balance: {seed: 7, validation: 0.2, test: 0.2, method: none}
"""


def test_photographs_are_cropped_without_maps_and_in_colour(workspace: Path, repository: Path, capsys) -> None:
    folder = Path("data/set")
    folder.mkdir(parents=True)
    frames = (repository / "tests/data/session").glob("*/*/im?.bmp")
    mean = np.mean([read_frame(path) for path in frames], axis=0)
    for number in range(4):
        tinted = np.clip((1.5 + 0.1 * number) * mean[..., None] * np.array([1.0, 0.7, 0.5]), 0, 1)
        write_picture(folder / f"00{number % 3}A{10 + number}.png", tinted)
    grey = folder / "003A30.png"
    write_picture(grey, np.zeros((80, 80), np.uint8))
    Path("params.yaml").write_text(PARAMS)
    main(["ingest"])
    assert [s.age for s in read_sessions()] == [10, 13, 11, 12, 30]
    main(["crop", "--jobs", "1"])
    assert "4 faces of 5 sessions; 1 no face" in capsys.readouterr().out
    faces = Faces()
    assert faces.array("frame").shape == (4, 64, 64, 1)
    assert faces.array("frames").shape == (4, 64, 64, 1)
    assert faces.array("colour").shape == (4, 64, 64, 3)
    assert faces.mask().mean() > 0.9
    weights = np.array([0.2126, 0.7152, 0.0722])
    np.testing.assert_allclose(faces.array("colour") @ weights, faces.array("frame")[..., 0], atol=2e-3)
    with pytest.raises(UserError, match=r"albedo.npy is missing"):
        faces.array("albedo")
    main(["balance"])
    assert pd.read_parquet("data/splits.parquet")["subject"].tolist() == ["000", "000", "001", "002"]


def masks(sessions) -> list[tuple[str, int]]:
    return [(s.id, s.mask) for s in sessions]


def test_mfr2s_folders_are_people_and_its_text_tells_who_wears_a_mask(pictures) -> None:
    root = pictures("Ann_Lee/Ann_Lee_0001.png", "Ann_Lee/Ann_Lee_0012.png", "Bo/Bo_0001.png", "Bo/notes_x.png")
    (root / "mfr2_labels.txt").write_text(
        "Ann_Lee, 1, no-mask\nAnn_Lee,12,surgical-white\n\nBo, 1, No Mask\nBo, 9, cloth\n"
    )
    (root / "pairs.txt").write_text("Ann_Lee 1 12\n")
    sessions, refusals, notes = read("mfr2")
    assert masks(sessions) == [("Ann_Lee/Ann_Lee_0001", 0), ("Ann_Lee/Ann_Lee_0012", 1), ("Bo/Bo_0001", 0),
                               ("Bo/notes_x", -1)]  # fmt: skip
    assert {s.mask_design for s in sessions} == {""}
    assert {(s.age, s.gender) for s in sessions} == {(-1, -1)}
    assert refusals == []
    assert [note.partition("txt ")[2] for note in notes] == [
        "tells nothing of 1 of 4 photographs", "tells of 1 photographs that are not there",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["Ann 1 no-mask", "Ann, one, no-mask", "Ann, 1", "Ann, 1, ", ", 1, cloth", "Ann, -1, cloth", "Ann, 1, a, b",
     "Ann, 99999999999999999999, cloth", "\x00\x01", "Ann, ¹, cloth"],
)  # fmt: skip
def test_a_bad_line_of_mfr2_is_set_aside(pictures, line: str) -> None:
    root = pictures("Ann/Ann_0001.png", "Ann/Ann_0002.png")
    (root / "mfr2_labels.txt").write_text(f"{line}\nAnn, 2, cloth\n")
    sessions, refusals, _ = read("mfr2")
    assert masks(sessions) == [("Ann/Ann_0001", -1), ("Ann/Ann_0002", 1)]
    assert [(r.id, r.reason) for r in refusals] == [("mfr2_labels.txt line 1", "expected `person, number, mask`")]


def test_lines_of_mfr2_that_contradict_each_other_are_no_label(pictures) -> None:
    root = pictures("Ann/Ann_0001.png")
    (root / "mfr2_labels.txt").write_text("Ann, 1, cloth\nAnn, 1, no-mask\n")
    sessions, _, notes = read("mfr2")
    assert masks(sessions) == [("Ann/Ann_0001", -1)]
    assert "1 photographs are masked and bare at once, such as Ann 1: not known" in notes[0]


def test_mfr2_without_its_text_or_its_pictures_is_one_line(pictures, tmp_path: Path) -> None:
    root = pictures("Ann/Ann_0001.png", "Ann/Ann_0002.png")
    (root / "Ann/loop").symlink_to(root.resolve(), target_is_directory=True)
    (root / "loop").symlink_to(root.resolve(), target_is_directory=True)
    with pytest.raises(UserError, match=r"mfr2_labels.txt: cannot be read \(No such file.*person, number, mask"):
        read("mfr2")
    (root / "mfr2_labels.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match=r"mfr2_labels.txt: cannot be read"):
        read("mfr2")
    (root / "mfr2_labels.txt").write_text("Ann, 1, cloth\n")
    (root / "Ann/Ann_0002.png").write_bytes(b"no picture" * 9)
    sessions, refusals, _ = read("mfr2")
    assert masks(sessions) == [("Ann/Ann_0001", 1)]
    assert "is not an image" in refusals[0].reason
    for name in ("Ann_0001", "Ann_0002"):
        (root / f"Ann/{name}.png").unlink()
    with pytest.raises(UserError, match=r"no photograph such as person/person_0001.png in it"):
        read("mfr2")
