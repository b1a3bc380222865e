"""Photoface's layout: lenient files, strict sessions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.images import write_picture
from pipeline.lights import from_angles
from pipeline.maps import Maps, write_maps
from pipeline.params import Ingest
from pipeline.sessions import Session
from stages.ingest.photoface import parse_light_source, parse_metadata, read_photoface, read_session
from stages.ingest.readers import Refusal

ZENITH, AZIMUTH = [30.0, 35.0, 40.0, 32.0], [45.0, 135.0, -135.0, -45.0]
EXPECTED = from_angles(ZENITH, AZIMUTH)
RADIANS = [[math.radians(v) for v in row] for row in (ZENITH, AZIMUTH)]
SOURCE = "% rig near\nlights = [30 35 40 32; 45 135 -135 -45];\n"


@pytest.mark.parametrize(
    "text",
    [
        "[30 35 40 32; 45 135 -135 -45]",
        "% rig a\n% [1 2 3]\nLightSource = [30, 35, 40, 32 ; 45, 135, -135, -45];  % degrees [deg]\n",
        "L=[30 35 40 32\n   45 135 -135 -45];",
        "L=[30 45; 35 135; 40 -135; 32 -45];",
        "L = [\n30.0, 45\r\n35e0 135\n40 -135\n32,-45,\n];",
        "L = [30 35 ...  the first two\n 40 32; 45 135 -135 -45]",
        "n = [4]; L = [30 35 40 32; 45 135 225 315];",
        f"L = [{' '.join(map(str, RADIANS[0]))}; {' '.join(map(str, RADIANS[1]))}]",
    ],
)
def test_light_source_is_read_leniently(text: str) -> None:
    np.testing.assert_allclose(parse_light_source(text), EXPECTED, atol=1e-9)


@given(st.lists(st.tuples(st.floats(7, 80), st.floats(-180, 180)), min_size=3, max_size=9), st.booleans())
def test_light_source_holds_what_was_written(angles: list[tuple[float, float]], across: bool) -> None:
    table = np.array(angles).T if across else np.array(angles)
    text = "s = [" + ";\n".join(" ".join(f"{v:.9f}" for v in row) for row in table) + "];"
    np.testing.assert_allclose(parse_light_source(text), from_angles(*np.array(angles).T), atol=1e-8)


@pytest.mark.parametrize(
    "text", ["", "a = 3;", "[]", "[1 2 3; 4 5]", "[a b c; d e f]", "[1 2 3 4]", "[1 2 3;4 5 6;7 8 9]"]
)
def test_a_strange_light_source_is_rejected_by_name(text: str) -> None:
    with pytest.raises(Rejected, match=r"LightSource\.m"):
        parse_light_source(text)


def test_metadata_codes_follow_the_vocabulary() -> None:
    known = {"gender": 1, "spectacles": 1, "facial_hair": 4, "pose": 1, "expression": 2}
    line = "male, yes, both, 2, ok, -hand, negative, mouth ajar, \n"
    unmasked = {"mask": -1, "mask_design": ""}
    assert parse_metadata(line) == {**known, **unmasked, "quality": "ok", "occlusion": "-hand"}
    unknown = {"gender": -1, "spectacles": -1, "facial_hair": -1, "pose": -1, "expression": -1}
    assert parse_metadata("?, , goatee, 9, fine, none") == {**unknown, **unmasked, "quality": "", "occlusion": ""}
    assert parse_metadata("") == {**unknown, **unmasked, "quality": "", "occlusion": ""}


def make(
    folder: Path, *, frames: int = 4, source: str = SOURCE, labels: str = "female, no, none, 1, ok, , blankstare,"
) -> None:
    folder.mkdir(parents=True)
    for i in range(frames):
        write_picture(folder / f"im{i}.bmp", np.full((6, 5), 0.1 * i))
    (folder / "LightSource.m").write_text(source)
    (folder / "metadataII.txt").write_text(labels)


def test_a_session_is_read(workspace: Path) -> None:
    folder = Path("data/set/1001/2008-02-23_12-21-31")
    make(folder)
    write_picture(folder / "ambient.bmp", np.zeros((6, 5)))
    flat = np.zeros((6, 5), np.float32)
    write_maps(folder / "truth.exr", Maps(np.zeros((6, 5, 3), np.float32), flat, flat, flat > 0, {"age": "31.5"}))
    session = read_session(folder)
    assert (session.id, session.subject, session.rig) == ("1001/2008-02-23_12-21-31", "1001", "near")
    assert session.frames == tuple(f"data/set/1001/2008-02-23_12-21-31/im{i}.bmp" for i in range(4))
    assert session.ambient == "data/set/1001/2008-02-23_12-21-31/ambient.bmp"
    assert (session.gender, session.pose, session.expression, session.age) == (0, 0, 0, 31.5)
    np.testing.assert_allclose(session.lights, EXPECTED)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda f: (f / "im2.bmp").unlink(), "missing frame im2 "),
        (lambda f: (f / "im4.bmp").write_bytes((f / "im0.bmp").read_bytes()), "5 frames.* 4 lights"),
        (lambda f: (f / "LightSource.m").unlink(), r"LightSource\.m is missing"),
        (lambda f: (f / "LightSource.m").write_text("[30 30; 0 90]"), "2 lights"),
        (lambda f: (f / "LightSource.m").write_text("[30 10 30 60; 0 0 180 180]"), "coplanar"),
        (lambda f: (f / "LightSource.m").write_text("[30 100 30 60; 0 90 180 270]"), "behind"),
        (lambda f: (f / "LightSource.m").write_text("[30 nan 30 60; 0 90 180 270]"), "finite"),
    ],
)
def test_a_bad_session_is_refused_and_the_others_go_on(workspace: Path, harm, reason: str) -> None:
    for session in ("a", "b", "c"):
        make(Path("set/s1") / session)
    harm(Path("set/s1/b"))
    Path("set/README.txt").write_text("stray files are nobody's session")
    found = list(read_photoface(Path("set"), Ingest(source="photoface", root="set")))
    assert [item.id for item in found if isinstance(item, Session)] == ["s1/a", "s1/c"]
    (refusal,) = [item for item in found if isinstance(item, Refusal)]
    assert refusal.id == "s1/b"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(refusal.reason)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("", (-1, "")),
        (", ", (-1, "")),
        (", mask no", (0, "")),
        (", mask cloth/dots", (1, "cloth/dots")),
        (", Mask gas", (1, "gas")),
        (", mask veil", (-1, "")),
        (", no", (-1, "")),
    ],
)
def test_a_mask_and_its_design_have_a_field_of_their_own(extra: str, expected: tuple[int, str]) -> None:
    labels = parse_metadata("male, no, none, 1, ok, , blankstare, " + extra)
    assert (labels["mask"], labels["mask_design"]) == expected
