"""Whatever happens to a params.yaml, it is taken, or refused in one line that names the file and the place."""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import params
from pipeline.errors import LONGEST, UserError
from pipeline.yamlfile import read_yaml

HOSTILE: list[Any] = [
    float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), 1e308, 5e-324, -1, 0, 2**63, "", "no", "x" * 5000,
    "\x85\x1b[2J",
    None, True, [], {}, [[[[1]]]], {"a": {"b": []}}, [None, None], b"\xff\x00", {1: 2, "1": 3}, [float("nan")] * 3,
]  # fmt: skip


def outcome(path: Path, content: bytes) -> str | None:
    """The message of a refusal; None where the file is taken."""
    path.write_bytes(content)
    try:
        params.load(path)
    except UserError as error:
        message = str(error)
    else:
        return None
    assert message.startswith(str(path)), message
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) <= LONGEST + 5
    # the place is a line, a byte, a key, or the whole file
    rest = message[len(str(path)) :]
    assert re.match(r":\d+|: `?unknown key|: `?[\w.<-]+`?( = |: | is missing)|: `.*` is | is | must ", rest), message
    return message


@pytest.fixture(scope="module")
def original(repository: Path) -> Any:
    return read_yaml(repository / "params.yaml")


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_and_moved_lines(tmp_path: Path, repository: Path, seed: int) -> None:
    rng, refused, original = random.Random(seed), 0, (repository / "params.yaml").read_bytes()
    for _ in range(15):
        flipped = bytearray(original)
        for place in rng.sample(range(len(flipped)), rng.choice([1, 3, 20])):
            flipped[place] ^= 1 << rng.randrange(8)
        refused += outcome(tmp_path / "params.yaml", bytes(flipped)) is not None
        lines = original.splitlines(keepends=True)
        at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
        moved = rng.choice(["drop", "double", "move", "cut"])
        if moved == "cut":
            lines[at:] = [lines[at][: rng.randrange(len(lines[at]))]]
        else:
            line = lines[at] if moved == "double" else lines.pop(at)
            lines[to:to] = [] if moved == "drop" else [line]
        refused += outcome(tmp_path / "params.yaml", b"".join(lines)) is not None
    assert refused > 5


def places(values: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value below the top."""
    parts = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [way for key, part in parts for way in [(*at, key), *places(part, (*at, key))]]


@pytest.mark.parametrize("hostile", range(len(HOSTILE)))
def test_hostile_values(tmp_path: Path, original: dict[str, Any], hostile: int) -> None:
    rng, refused = random.Random(hostile), 0
    for way in rng.sample(places(original), 4):
        values = parent = copy.deepcopy(original)
        for key in way[:-1]:
            parent = parent[key]
        parent[way[-1]] = HOSTILE[hostile]
        message = outcome(tmp_path / "params.yaml", yaml.safe_dump(values).encode())
        refused += message is not None
        section = ".".join(map(str, way[:-1])) or str(way[0])
        assert message is None or section in message
    assert refused > 0 or HOSTILE[hostile] in (0, True, 5e-324)
