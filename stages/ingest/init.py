"""`psface init`: a workspace of one's own data, ready for `dvc repro`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from pipeline.errors import PsfaceError, UserError
from stages.ingest.check import SOURCES

if TYPE_CHECKING:
    from stages.ingest.check_inspect import Inspection

FRAMES = "data/frames"
PLAIN_PATH = re.compile(r"[\w ./@%+=,-]+")  # what dvc.yaml and a shell take for what it is
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")  # of a run, as params.yaml has it


class Trained(NamedTuple):
    """Recognisers that were trained elsewhere: their folder, runs, size of face, and what is to be said of them."""

    folder: Path
    runs: list[str]
    size: int
    notes: list[str]


@click.command("init")
@click.argument("folder", metavar="DIR")
@click.argument("path", metavar="PATH")
@click.option("--source", type=click.Choice(SOURCES), help="How PATH is laid out.  [default: guessed]")
@click.option("--uncalibrated", is_flag=True, help="Take sessions without lights: they are estimated from the frames.")
@click.option("--trained", metavar="RUNS", help="Train nothing: score the recognisers in this folder of runs.")
def command(folder: str, path: str, source: str | None, uncalibrated: bool, trained: str | None) -> None:
    """Make a workspace in the new folder DIR for the data set at PATH.

    DIR gets dvc.yaml, params.yaml and a README of its own, DVC is set up in it, and data/frames becomes a link to PATH,
    which stays as it is. Then `cd DIR && dvc repro`.
    """
    from pipeline.progress import wrote
    from stages.ingest.check_inspect import inspect
    from stages.ingest.check_warnings import warnings_of

    place = Path(folder)
    check_place(place, Path(path))
    found = inspect(path, source, uncalibrated=uncalibrated)
    if not found.sessions:
        hint = "; no lights are known: --uncalibrated has them estimated" if found.unlit and not uncalibrated else ""
        raise UserError(f"{path}: none of {len(found.refusals)} sessions can be used: see `psface check {path}`{hint}")
    given = find_trained(Path(trained), found) if trained else None
    notes = [*(given.notes if given else []), *warnings_of(found, training=given is None)]
    existed = place.is_dir()
    try:
        make(place, found, given, notes)
    except BaseException:
        clear(place, remove=not existed)
        raise
    for text in (*found.notes, *notes):
        click.echo(f"note: {text}", err=True)
    guessed = f" (guessed: {found.guess})" if found.guess else ""
    onward = f"next: cd {shlex.quote(str(place))} && dvc repro"
    wrote(place, note=f"{len(found.sessions)} sessions, source {found.source}{guessed}; {onward}")


def check_place(place: Path, data: Path) -> None:
    """Refuse a folder that holds anything but a git repository's own folder, or that lies in the data set."""
    if place.exists() and not place.is_dir():
        raise UserError(f"{place} is a file: give a new folder")
    inside = sorted(entry.name for entry in place.iterdir() if entry.name != ".git") if place.is_dir() else []
    if inside:
        raise UserError(f"{place} is not empty (it holds {inside[0]}): give a new folder")
    if place.resolve().is_relative_to(data.resolve()):
        raise UserError(f"{place} lies in the data set {data}: make the workspace outside it")


def find_trained(folder: Path, found: Inspection) -> Trained:
    """The recognisers of a folder of runs that can be scored on a data set.

    A run that was trained on another number of flashes than these sessions have cannot see their `frames`.

    Raises
    ------
    UserError
        The folder holds no trained run, or none that fits.
    """
    from pipeline.contract import read_contract

    if not PLAIN_PATH.fullmatch(str(folder.resolve())):
        raise UserError(f"{folder}: dvc.yaml cannot name this folder; give a link to it, of letters, digits and ._-")
    paths = [p for p in sorted(folder.glob("*/train/contract.json")) if PLAIN_NAME.fullmatch(p.parent.parent.name)]
    contracts = {path.parent.parent.name: read_contract(path) for path in paths}
    flashes = found.frame_counts.most_common(1)[0][0]
    seen = {name: contract.channels.get("frames", flashes) for name, contract in contracts.items()}
    runs = [name for name in sorted(contracts, key=_usual_order) if seen[name] == flashes]
    if not runs:
        raise UserError(
            f"{folder}: no trained run that fits; expected {folder}/normal/train/contract.json and its like"
        )
    notes = [
        f"the run {name} was trained on {seen[name]} frames a session, and these have {flashes}: it is left out"
        for name in contracts
        if name not in runs
    ]
    return Trained(folder, runs, contracts[runs[0]].size, notes)


def _usual_order(name: str) -> tuple[int, str]:
    from stages.ingest.init_files import RUNS

    return (RUNS.index(name) if name in RUNS else len(RUNS), name)


def make(place: Path, found: Inspection, trained: Trained | None, notes: list[str]) -> None:
    """Write the workspace's files, link the frames and set up DVC."""
    from pipeline.tables import write_text
    from stages.ingest.init_files import FACE_SIZE, RUNS, Choices, render
    from stages.ingest.oddities import ignored, oddities

    repository = next((p for p in (place.resolve(), *place.resolve().parents) if (p / ".git").exists()), None)
    choices = Choices(
        name=place.resolve().name,
        source=found.source,
        sessions=len(found.sessions),
        subjects=len(found.subjects),
        uncalibrated=found.uncalibrated,
        flashes=" or ".join(str(count) for count in sorted(found.frame_counts)),
        attributes=found.learnable(),
        trained=Path(os.path.relpath(trained.folder.resolve(), place.resolve())).as_posix() if trained else "",
        runs=trained.runs if trained else RUNS,
        size=trained.size if trained else FACE_SIZE,
        notes=notes,
        git=repository is not None,
        ignored=ignored(FRAMES, oddities(found.root)),
    )
    for name, text in render(choices).items():
        write_text(place / name, text)
    (place / FRAMES).parent.mkdir()
    (place / FRAMES).symlink_to(found.root.resolve())
    set_up_dvc(place, repository)


def set_up_dvc(place: Path, repository: Path | None) -> None:
    """`dvc init`, below the root of a git repository, at it, or without one; analytics off.

    Raises
    ------
    PsfaceError
        DVC refuses.
    """
    from pipeline.tables import write_text

    where = ["--no-scm"] if repository is None else [] if repository == place.resolve() else ["--subdir"]
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "init", *where],
        cwd=place,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["`dvc init` failed"]
        raise PsfaceError(f"{place}: {said[0].removeprefix('ERROR: ')}")
    ignore = place / ".dvc" / ".gitignore"
    if not ignore.exists():  # without git; whoever adds git later must not commit the cache
        write_text(ignore, "/config.local\n/tmp\n/cache\n")
    with (place / ".dvc" / "config").open("r+", encoding="utf-8", newline="\n") as config:
        text = config.read() or "[core]\n"
        config.seek(0)
        config.write(text + "    analytics = false\n    autostage = false\n")


def clear(place: Path, *, remove: bool) -> None:
    """Take back what was made in a folder that held nothing."""
    for entry in place.iterdir() if place.is_dir() else ():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if remove and place.is_dir():
        place.rmdir()
