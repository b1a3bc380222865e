"""The command line as its user meets it, and a data set that is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from healthy import shoot

from pipeline.cli import main


@pytest.fixture
def psface(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`psface(verb, ...)`: status, standard output, standard error; never a traceback, a warning or a second line."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            main([str(argument) for argument in arguments])
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert "Warning" not in out + err
        if status:
            assert err.startswith("psface: ")
            assert err.count("\n") == 1
        return status, out, err

    return run


@pytest.fixture
def data(workspace: Path) -> Path:
    """Three whole sessions of two subjects."""
    for place in ("1001/first", "1001/second", "1002/first"):
        shoot(Path("data/set") / place)
    Path("params.yaml").write_text(
        "ingest: {source: photoface, root: data/set}\nreconstruct: {}\ncrop: {seed: 1, size: 64}\n"
    )
    return workspace
