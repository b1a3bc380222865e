"""What :mod:`pipeline.datasets` gives to other stages: a data set's sessions by the defaults of ingest."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UserError
from pipeline.params import Ingest
from pipeline.sessions import Session
from stages.ingest.check_inspect import guess_source
from stages.ingest.command import ingest


def sessions_of(root: Path, source: str | None) -> list[Session]:
    """As :func:`pipeline.datasets.sessions_in`, of a folder."""
    name = source or guess_source(root)[0]
    sessions, refusals, _ = ingest(Ingest.model_validate({"source": name, "root": root.as_posix()}), jobs=1)
    if not sessions:
        raise UserError(f"{root}: none of {len(refusals)} sessions can be used; `psface check {root}` says why")
    return sessions
