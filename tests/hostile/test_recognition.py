"""Damaged inputs and small disks of balance, train, fuse, evaluate and report: one line, and nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from recognition import READ, WRITTEN, build, harms
from test_disks import disk, fill_up

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that has run through."""
    folder = tmp_path_factory.mktemp("finished")
    with chdir(folder):
        build()
    return folder


def content(place: str) -> dict[str, bytes]:
    """What a stage has written, by path; half-written files beside it too."""
    path = Path(place)
    beside = path.parent.glob(f".{path.stem}*") if path.parent.is_dir() else ()
    below = path.rglob("*") if path.is_dir() else [path]
    return {str(p): p.read_bytes() for p in [*below, *beside] if p.is_file()}


@pytest.mark.parametrize("verb", READ, ids=lambda verb: verb[0])
def test_a_damaged_input_ends_in_one_line_that_names_it(
    finished: Path, workspace: Path, psface: Run, verb: tuple[str, ...]
) -> None:
    """Missing columns, words for numbers, short arrays, other shapes: 140 of these were tracebacks."""
    passed, tried = [], 0
    for place, parts in READ[verb].items():
        for number, (name, harm) in enumerate(harms(finished / place, parts)):
            shutil.copytree(finished, f"{number}")
            with chdir(f"{number}"):
                harm(Path(place))
                before = content(WRITTEN[verb[0]])
                status, _, err = psface(*verb)
                tried += 1
                if status == 0:
                    passed.append(f"{place}: {name}")
                else:
                    assert status in (1, 2), (place, name)
                    known = (
                        Path(place).name,
                        place,
                        str(Path(place).parent),
                        "run of",
                        "run `",
                        "contract",
                        "not finite",
                    )
                    assert any(words in err for words in known), (place, name, err)
                    assert content(WRITTEN[verb[0]]) == before, (place, name)
            shutil.rmtree(f"{number}")
    assert len(passed) <= tried / 2, passed


@pytest.mark.parametrize(
    ("verb", "share"),
    [(("train", "normal"), 0), (("train", "normal"), 0.5), (("fuse", "both"), 0), (("fuse", "both"), 0.5),
     (("evaluate", "both"), 0), (("report",), 0)],
)  # fmt: skip
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, finished: Path, psface: Run, verb: tuple[str, ...], share: float
) -> None:
    """And room mends it."""
    written = WRITTEN[verb[0]]
    with disk(tmp_path / "disk", "40m") as small, chdir(small):
        on_disk(small, finished, written)
        before = content(written)
        size = sum(map(len, before.values()))
        fill_up(small / "ballast", leave=round(share * size))
        status, _, err = psface(*verb)
        assert (status, "No space left on device" in err) == (1, True), err
        assert content(written) == before
        (small / "ballast").unlink()
        status, _, err = psface(*verb)
        assert status == 0, err
        assert content(written).keys() >= before.keys()


@pytest.mark.parametrize("verb", READ, ids=lambda verb: verb[0])
def test_a_read_only_disk_ends_in_one_line(tmp_path: Path, finished: Path, psface: Run, verb: tuple[str, ...]) -> None:

    written = WRITTEN[verb[0]]
    with disk(tmp_path / "disk", "40m") as small, chdir(small):
        on_disk(small, finished, written)
        before = content(written)
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        status, _, err = psface(*verb)
        assert (status, "Read-only file system" in err) == (1, True), err
        assert content(written) == before


def on_disk(small: Path, finished: Path, written: str) -> None:
    """A workspace on a disk of its own: what the stage writes lies on it, all else may be a link."""
    shutil.copy(finished / "params.yaml", small)
    shutil.copytree(finished / "runs", small / "runs")
    (small / "data").mkdir()
    for entry in (finished / "data").iterdir():
        if f"data/{entry.name}" == written:
            shutil.copy(entry, small / "data")
        else:
            (small / "data" / entry.name).symlink_to(entry)
