"""`psface code`: what the code of each stage is, for workspaces that lie outside psface's own repository.

The repository's dvc.yaml names source files as dependencies. A workspace elsewhere cannot: their path is another on
every machine, and an installed psface has no repository. Its dvc.yaml runs this command first, always, and its stages
depend on their key of the small file that it writes: another version of psface re-runs the stages whose code changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import click
import yaml

from pipeline.progress import wrote
from pipeline.tables import write_text

# the code that dvc.yaml of the repository names for each stage
CODE = {
    "ingest": (
        "stages.ingest", "pipeline.attributes", "pipeline.images", "pipeline.lights", "pipeline.maps",
        "pipeline.sessions",
    ),
    "reconstruct": ("stages.reconstruct", "pipeline.images", "pipeline.lights", "pipeline.maps"),
    "crop": (
        "stages.crop", "models.mtcnn", "pipeline.faces", "pipeline.geometry", "pipeline.images", "pipeline.lights",
        "pipeline.maps",
    ),
    "balance": ("stages.balance", "pipeline.attributes"),
    "train": (
        "stages.train", "models", "pipeline.attributes", "pipeline.augment", "pipeline.contract", "pipeline.faces",
        "pipeline.fitting", "pipeline.samples", "pipeline.verification",
    ),
    "fuse": (
        "stages.fuse", "models", "pipeline.attributes", "pipeline.augment", "pipeline.contract", "pipeline.faces",
        "pipeline.fitting", "pipeline.samples", "pipeline.verification",
    ),
    "evaluate": (
        "stages.evaluate", "models", "pipeline.attributes", "pipeline.contract", "pipeline.faces", "pipeline.samples",
        "pipeline.verification",
    ),
    "report": ("stages.report", "pipeline.images", "pipeline.maps", "pipeline.verification"),
}  # fmt: skip


@click.command("code")
@click.option("--out", default="code.yaml", show_default=True, help="The file to write.")
def command(out: str) -> None:
    """Write a hash of each stage's code, which the dvc.yaml of a workspace depends on.

    `dvc repro` runs it in the workspaces that `psface init` makes; the same code gives the same file on every machine.
    """
    header = "# Written by `psface code`: the code of psface that each stage ran with, as a hash.\n"
    write_text(out, header + yaml.safe_dump({stage: code_of(*names) for stage, names in CODE.items()}, sort_keys=False))
    wrote(out)


def code_of(*names: str) -> str:
    """A hash of modules and packages by their dotted names: of their files' names below them and content."""
    digest = hashlib.sha256()
    for name in names:
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
