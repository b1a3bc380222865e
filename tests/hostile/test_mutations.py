"""Damaged files of every kind through every reader: each is read as something sound or refused in one line.

The files are read in a process of their own: a decoder in C that is killed by one takes no test down with it, and the
test says which file it was.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import healthy
import numpy as np
import pytest
from mutants import mutate

HERE = Path(__file__).resolve().parent
PATIENCE = 20  # seconds for one file: beyond it a reader hangs
TINY_BMP = b"BM" + bytes(60)


class Zoo:
    """A folder of damaged files, each among whole siblings, and the list of what reads each."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.tasks = folder, []
        self.rng = np.random.default_rng(seed)
        self.kept = folder / "kept"
        self.kept.mkdir(parents=True)

    def add(
        self, kinds: tuple[str, ...], name: str, data: bytes, count: int, siblings: dict[str, bytes], *, text: bool
    ):
        """`count` mutants of one file and the whole one, read in all of the ways `kinds`."""
        for number in range(-1, count):
            place = self.folder / ("whole" if number < 0 else f"{number}") / name.replace("/", "-")
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            for sibling, content in siblings.items():
                (place / sibling).parent.mkdir(parents=True, exist_ok=True)
                (place / sibling).write_bytes(content)
            (place / name).write_bytes(data if number < 0 else mutate(data, self.rng, text=text))
            self.tasks += [(kind, str(place / name)) for kind in kinds]


def fill(folder: Path, *, share: float, seed: int) -> Zoo:
    """Mutants of every kind, `share` times as many as the quick test takes."""
    zoo = Zoo(folder, seed)

    def count(usual: int) -> int:
        return round(usual * share)

    for name, data in healthy.frames().items():
        kinds = ("frame",) if name.startswith("float") else ("frame", "picture")  # a float file is no picture
        zoo.add(kinds, name, data, count(40), {}, text=name.startswith("text"))
    for name, data in healthy.exr_frames(zoo.kept).items():
        zoo.add(("frame",), name, data, count(40), {}, text=False)
    zoo.add(("maps",), "maps.exr", healthy.maps(zoo.kept), count(120), {}, text=False)
    session = {f"1001/2008-02-23_14-03-55/im{i}.bmp": TINY_BMP for i in range(4)}
    session |= {"1001/2008-02-23_14-03-55/LightSource.m": healthy.LIGHT_SOURCE}
    session |= {"1001/2008-02-23_14-03-55/metadata.txt": healthy.METADATA}
    session |= {"1001/2008-02-23_14-03-55/metadataII.txt": healthy.METADATA_II}
    for name in ("LightSource.m", "metadata.txt", "metadataII.txt"):
        path = f"1001/2008-02-23_14-03-55/{name}"
        zoo.add(("photoface",), path, session[path], count(10 if name == "metadata.txt" else 100), session, text=True)
    own = {f"{place}/{frame}.png": b"x" for place in ("an/first", "binh/later") for frame in "abcd"}
    own |= {"lights.csv": healthy.LIGHTS_CSV, "labels.csv": healthy.LABELS_CSV}
    for name in ("lights.csv", "labels.csv"):
        zoo.add(("folder",), name, own[name], count(100), own, text=True)
    zoo.add(("table",), "sessions.parquet", healthy.sessions(zoo.kept), count(60), {}, text=False)
    zoo.add(("rig",), "rig.json", healthy.RIG, count(80), {}, text=True)
    packed = healthy.faces(zoo.kept)
    for name in packed:
        zoo.add(("faces",), name, packed[name], count(40), packed, text=False)
    split = healthy.splits(zoo.kept)
    zoo.add(("splits",), "splits.parquet", split["splits.parquet"], count(40), split, text=False)
    zoo.add(("quality",), "quality.parquet", healthy.quality(zoo.kept), count(40), {}, text=False)
    zoo.add(("camera",), "K.txt", healthy.CAMERA, count(60), {}, text=True)
    for name, data in healthy.normals().items():
        zoo.add(("normals",), name, data, count(40), {}, text=False)
    for name, content in healthy.results(zoo.kept).items():
        zoo.add(("results",), name, content, count(60), {}, text=name.endswith("json"))
    described, weights = healthy.run(zoo.kept)
    run = {"contract.json": described, "weights.safetensors": weights}
    zoo.add(("run",), "contract.json", described, count(80), run, text=True)
    zoo.add(("run",), "weights.safetensors", weights, count(60), run, text=False)
    return zoo


def outcomes(tasks: list[tuple[str, str]], folder: Path) -> tuple[dict[str, str], list[str], int]:
    """What became of each file by its path, whatever was printed beside, and the memory taken at most, in bytes."""
    found: dict[str, str] = {}
    printed: list[str] = []
    memory = 0
    whole = [task for task in tasks if "/whole/" in task[1]]
    waiting = tasks
    while waiting:
        listing = folder / "listing.txt"
        listing.write_text("".join(f"{kind}\t{path}\n" for kind, path in [*whole, *waiting]))
        command = [sys.executable, str(HERE / "probe.py"), str(listing), str(len(whole))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
        environment.pop("PYTHONUNBUFFERED", None)  # buffered, as a user's: what C libraries print comes late
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
        )
        try:
            out, err = process.communicate(timeout=PATIENCE + 0.2 * len(waiting))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        said = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        printed += err.splitlines() + [line for line in out.splitlines() if not line.startswith("{")]
        done = [line for line in said if "outcome" in line]
        found |= {f"{line['kind']} {line['file']}": line["outcome"] for line in done}
        assert done or process.returncode < 0, err  # what cannot even begin would else look like a file that kills
        memory = max([memory, *(line["memory"] for line in said if "memory" in line)])
        waiting = waiting[len(done) :]
        if waiting:
            kind, path = waiting.pop(0)
            found[f"{kind} {path}"] = f"FAULT killed by it (exit status {process.returncode})"
    return found, printed, memory


def check(folder: Path, *, share: float, seed: int, least: int) -> None:
    zoo = fill(folder, share=share, seed=seed)
    before = sorted(path for path in folder.rglob("*"))
    found, printed, memory = outcomes(zoo.tasks, folder)
    faults = [f"{name}: {outcome}" for name, outcome in found.items() if outcome.startswith("FAULT")]
    assert not faults, "\n".join(faults[:20])
    assert not printed, "\n".join(printed[:20])
    assert len(found) == len(zoo.tasks) >= least
    refused = sum(outcome != "read" for outcome in found.values())
    assert 0.3 < refused / len(found) < 0.9, "the damage is either none or all there is"
    assert memory < 1 << 30
    assert sorted(path for path in folder.rglob("*") if path.name != "listing.txt") == before


def test_a_thousand_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    check(tmp_path, share=0.8, seed=11, least=1500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_more_damaged_files(tmp_path: Path, seed: int) -> None:
    check(tmp_path, share=6, seed=100 + seed, least=11000)


def test_no_reader_of_weights_can_run_code(repository: Path) -> None:
    """Weights are safetensors; what else is unpickled is this machine's own checkpoint, with `weights_only`."""
    allowed = {"stages/crop/weights.py": "joblib.load"}  # the detector's weights, out of an installed package
    calls = re.compile(
        r"(?<![.\w])(pickle\.\w+|joblib\.load|torch\.load|eval\(|exec\(|yaml\.load\(|os\.system|allow_pickle=True)[^\n]*"
    )
    found = []
    for folder in ("pipeline", "stages", "models"):
        for path in sorted((repository / folder).rglob("*.py")):
            name = path.relative_to(repository).as_posix()
            for match in calls.finditer(path.read_text()):
                safe = "weights_only=True" in match[0] or "SafeLoader" in match[0] or match[1] == allowed.get(name)
                if not safe:
                    found.append(f"{name}: {match[0]}")
    assert not found
