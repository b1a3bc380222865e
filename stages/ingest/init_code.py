"""`psface code`: what the code of each stage is, for workspaces that lie outside psface's own repository.

The repository's dvc.yaml names source files as dependencies. A workspace elsewhere cannot: their path is another on
every machine, and an installed psface has no repository. Its dvc.yaml runs this command first, always, and its stages
depend on their key of the small file that it writes: another version of psface re-runs the stages whose code, or whose
defaults in params.yaml, changed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pipeline.cli import STAGES
from pipeline.params import Balance, Crop, Evaluate, Fuse, Ingest, Reconstruct, Report, Synthesise, Train
from pipeline.progress import wrote
from pipeline.tables import write_text

SECTIONS: dict[str, type[BaseModel]] = {
    "ingest": Ingest, "reconstruct": Reconstruct, "crop": Crop, "balance": Balance, "train": Train, "fuse": Fuse,
    "synthesise": Synthesise, "evaluate": Evaluate, "report": Report,
}  # fmt: skip


@click.command("code")
@click.option("--out", default="code.yaml", show_default=True, help="The file to write.")
def command(out: str) -> None:
    """Write a hash of each stage's code, which the dvc.yaml of a workspace depends on.

    `dvc repro` runs it in the workspaces that `psface init` makes; the same code gives the same file on every machine.
    """
    header = "# Written by `psface code`: the code of psface that each stage ran with, as a hash.\n"
    hashes = {stage: code_of(*names, defaults_of(stage)) for stage, names in code_by_stage().items()}
    write_text(out, header + yaml.safe_dump(hashes, sort_keys=False))
    wrote(out)


def code_by_stage() -> dict[str, tuple[str, ...]]:
    """The modules and packages that each stage's results come from, as its command lists them (`CODE`)."""
    modules = {stage: place for stage, (place, _) in STAGES.items() if stage != "simulate"}
    return {stage: importlib.import_module(place).CODE for stage, place in modules.items()}


def defaults_of(stage: str) -> dict[str, Any]:
    """What the keys mean that a params.yaml does not name: the default of each key of a stage's section.

    A changed default changes results, and a workspace's params.yaml names few keys.
    """
    return _defaults(SECTIONS[stage])


def _defaults(schema: type[BaseModel]) -> dict[str, Any]:
    return {
        name: to_jsonable_python(None if field.is_required() else field.get_default(call_default_factory=True))
        for name, field in schema.model_fields.items()
    }


def code_of(*parts: str | dict[str, Any]) -> str:
    """A hash of modules and packages by their dotted names (of their files' names and content), and of values."""
    digest = hashlib.sha256()
    for name in parts:
        if isinstance(name, dict):
            digest.update(json.dumps(name, sort_keys=True).encode())
            continue
        for label, path in _files(name):
            digest.update(f"{label}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _files(name: str) -> list[tuple[str, Path]]:
    """The files of a module or a package with names that no machine changes; compiled and hidden ones are left out."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {name}")
    origin = Path(spec.origin)
    if not spec.submodule_search_locations:
        return [(name, origin)]
    inside = sorted(path.relative_to(origin.parent) for path in origin.parent.rglob("*") if path.is_file())
    wanted = [p for p in inside if p.suffix != ".pyc" and not any(part.startswith(".") for part in p.parts)]
    return [(f"{name}/{path.as_posix()}", origin.parent / path) for path in wanted]
