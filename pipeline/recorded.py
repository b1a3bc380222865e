"""Whether DVC has recorded what a stage finished, told by the stage's own entry of dvc.lock.

DVC writes the whole file for every stage, so that its time says nothing of one. Two small files beside the work tell:
`done`, what the entry was when the stage finished, and `recorded`, which entry belongs to which work.

DVC writes it in place, too: killed at that moment, it leaves a torn file and refuses to go on. So each stage that DVC
runs keeps a copy first, of a file that DVC has just read and leaves alone until the stage ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

LOCK = "dvc.lock"
DONE = "done"
RECORDED = "recorded"


def keep_lock(folder: Path) -> None:
    """Copy dvc.lock into a folder, where it lacks no more than the stage that DVC now runs; none where there is none.

    Outside DVC nobody knows whether the file is whole: the copy stays as it is.
    """
    if "DVC_STAGE" not in os.environ:
        return
    kept, beside = folder / LOCK, folder / f".{LOCK}.new"
    try:
        shutil.copyfile(LOCK, beside)
    except FileNotFoundError:  # the first stage of all
        kept.unlink(missing_ok=True)
        return
    os.replace(beside, kept)


def mark_done(home: Path, key: str) -> None:
    """Note that the stage that DVC runs here has finished the work of ``key``, and what dvc.lock says of it so far."""
    stage = os.environ["DVC_STAGE"].rpartition(":")[2]  # "recipes/yale/dvc.yaml:crop" where DVC was called elsewhere
    before = _entry(stage)
    again = before is not None and _read(home / RECORDED) == {"key": key, "entry": before}
    # once more, by force: the entry will be the same as before, and speaks of this work already
    (home / DONE).write_text(json.dumps({"stage": stage, "key": key, "before": None if again else before}))


def is_recorded(home: Path) -> bool:
    """Whether a stage finished under DVC, and its entry of dvc.lock is another since."""
    done = _read(home / DONE)
    entry = _entry(done["stage"]) if done else None
    return entry is not None and entry != done["before"]


def settle(home: Path) -> None:
    """Remember which work the entry of dvc.lock belongs to, in place of the mark that it was done."""
    done = _read(home / DONE)
    (home / RECORDED).write_text(json.dumps({"key": done["key"], "entry": _entry(done["stage"])}))
    (home / DONE).unlink()


def _entry(stage: str) -> str | None:
    """A hash of a stage's entry of dvc.lock; None without one, or where a kill tore the file."""
    import yaml  # here: few commands come to it

    try:
        with open(LOCK, encoding="utf-8") as lock:
            entry = yaml.load(lock, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"][stage]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):
        return None
    return hashlib.sha256(json.dumps(entry, sort_keys=True, default=str).encode()).hexdigest()


def _read(mark: Path) -> dict[str, Any]:
    """The content of a mark, nothing where there is none or a kill tore it."""
    try:
        content = json.loads(mark.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
