"""The sessions of a data set, for a command that takes one without a workspace, such as `psface calibrate`.

To read data sets is the work of the stage ingest. Other stages ask for it here, by its name, as the command line asks
for a verb: they know what they get, and nothing of that stage.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from pipeline.errors import UserError
from pipeline.sessions import Session, read_sessions

READERS = "stages.ingest.dataset"  # the module that holds `sessions_of`


def sessions_in(path: str | Path, source: str | None = None) -> list[Session]:
    """The sessions of a table (.parquet), or those of a data set that ingest would keep by its defaults.

    Parameters
    ----------
    source : how a data set is laid out (photoface, yaleb, folder); guessed where it is not given.

    Raises
    ------
    UserError : there is no such table or folder, no layout fits it, or none of its sessions can be used.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        if source is not None:
            raise UserError(f"{path}: --source goes with a data set's folder; a table is read as it is")
        return read_sessions(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give a data set, or a table of sessions (.parquet)")
    found: list[Session] = importlib.import_module(READERS).sessions_of(path, source)
    return found
