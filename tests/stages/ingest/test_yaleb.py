"""Extended Yale B: lights from names, disjoint sessions, what is published but cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.images import write_picture
from pipeline.lights import condition
from pipeline.params import Deal, Ingest
from pipeline.sessions import Session
from stages.ingest.command import ingest
from stages.ingest.yaleb import light_of, read_yaleb

ANGLES = [(a, e) for a in (-40, -20, 0, 20, 40) for e in (-35, 0, 35)] + [(-110, 40), (0, 90)]


def make(root: Path, subject: str, angles: list[tuple[int, int]] = ANGLES) -> None:
    (root / subject).mkdir(parents=True)
    for azimuth, elevation in angles:
        write_picture(root / subject / f"{subject}_P00A{azimuth:+04d}E{elevation:+03d}.pgm", np.full((8, 7), 0.5))


def test_azimuth_is_positive_to_the_left_of_the_image() -> None:
    np.testing.assert_allclose(light_of("A+000E+00"), [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(light_of("A+090E+00"), [-1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(light_of("A-030E+00"), [0.5, 0, np.sqrt(0.75)], atol=1e-12)
    np.testing.assert_allclose(light_of("A+000E+90"), [0, 1, 0], atol=1e-12)


def test_flashes_are_dealt_into_disjoint_sessions(workspace: Path) -> None:
    make(Path("faces"), "yaleB01")
    make(Path("faces"), "yaleB02", ANGLES[1:])
    Path("faces/yaleB02/yaleB02_P00A-040E-35.pgm.bad").write_bytes(b"P5")
    write_picture("faces/yaleB01/yaleB01_P00_Ambient.pgm", np.zeros((8, 7)))
    write_picture("faces/yaleB02/yaleB02_P00_Ambient.pgm", np.zeros((48, 64)))
    sessions, refusals, notes = ingest(Ingest(source="yaleb", root="faces", deal=Deal(flashes=4, cap=60)), jobs=1)
    assert not refusals
    assert len(notes) == 1
    assert "ambient" in notes[0]
    assert len({s.rig for s in sessions}) == 3  # both are dealt what they have in common
    for subject, fits in (("yaleB01", True), ("yaleB02", False)):
        own = [s for s in sessions if s.subject == subject]
        assert [s.session for s in own] == ["P00-set1", "P00-set2", "P00-set3"]
        frames = [f for s in own for f in s.frames]
        assert len(frames) == len(set(frames)) == 12
        assert len({s.rig for s in own}) == 3
        assert all((s.ambient is not None) == fits for s in own)
        assert all(condition(s.lights) <= 6 for s in own)
        assert all(s.lights[:, 2].min() >= 0.5 - 1e-9 for s in own)
        assert all(s.gender == s.pose == s.expression == -1 for s in own)
        for s in own:
            np.testing.assert_allclose(s.lights, [light_of(Path(f).stem[-9:]) for f in s.frames])


def test_one_who_lacks_flashes_narrows_nobody_else_down(workspace: Path) -> None:
    make(Path("faces"), "yaleB01", ANGLES[2:11])
    make(Path("faces"), "yaleB02")
    make(Path("faces"), "yaleB03")
    sessions, refusals, _ = ingest(Ingest(source="yaleb", root="faces", deal=Deal(cap=60)), jobs=1)
    assert not refusals
    of = {name: [s for s in sessions if s.subject == name] for name in ("yaleB01", "yaleB02", "yaleB03")}
    assert [len(own) for own in of.values()] == [2, 3, 3]
    assert [s.rig for s in of["yaleB02"]] == [s.rig for s in of["yaleB03"]]


def test_too_few_flashes_are_refused_with_the_reason(workspace: Path) -> None:
    make(Path("faces"), "yaleB01", ANGLES[:3])
    make(Path("faces"), "yaleB02")
    sessions, refusals, _ = ingest(Ingest(source="yaleb", root="faces", deal=Deal(cap=60)), jobs=1)
    assert {s.subject for s in sessions} == {"yaleB02"}
    assert [(r.id, "3 flashes" in r.reason) for r in refusals] == [("yaleB01/P00-set1", True)]


@pytest.mark.data
def test_the_published_crops(data_root: Path, workspace: Path) -> None:
    """All 30 subjects: six sessions of four lights each, through a symlink, without a path of this machine."""
    if not (data_root / "CroppedYale").is_dir():
        pytest.skip("no CroppedYale in the real data")
    Path("data").mkdir()
    Path("data/frames").symlink_to((data_root / "CroppedYale").resolve())
    params = Ingest(source="yaleb", root="data/frames")
    found = [item for item in read_yaleb(Path(params.root), params) if isinstance(item, Session)]
    assert len({s.subject for s in found}) == 30
    assert len(found) == 180
    assert len({s.rig for s in found}) == 6
    assert max(condition(s.lights) for s in found) < 4
    frames = [f for s in found for f in s.frames]
    assert len(set(frames)) == len(frames) == 720
    assert all(f.startswith("data/frames/yaleB") for f in frames)


def test_two_sessions_of_one_name_are_set_aside(workspace: Path) -> None:
    """The second session silently took the first one's place downstream."""
    make(Path("faces"), "yaleB01")
    for path in sorted(Path("faces/yaleB01").iterdir()):
        path.with_name(path.name.replace("yaleB01_", "copy_")).write_bytes(path.read_bytes())
    make(Path("faces"), "yaleB02")
    sessions, refusals, _ = ingest(Ingest(source="yaleb", root="faces", deal=Deal(flashes=4, cap=60)), jobs=1)
    assert {s.subject for s in sessions} == {"yaleB02"}
    assert ("yaleB01/P00-set1", "two sessions share this name; rename the files of one") in refusals
