"""One list of code a stage, its command's: it keys work in progress; dvc.yaml and `psface code` name the same."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli import STAGES
from stages.ingest.init_code import code_by_stage
from stages.ingest.readers import MODULES

# what carries results and makes none: its faults end in a message, or in a table that the next stage refuses
NEUTRAL = {
    f"pipeline.{name}" for name in (
        "attributes", "cli", "cluster", "contract", "devices", "errors", "faces", "faults", "files", "options",
        "parallel", "params", "progress", "sessions", "tables", "work", "yamlfile",
    )
}  # fmt: skip


def file_of(module: str, repository: Path) -> Path | None:
    place = repository / module.replace(".", "/")
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def reached(stage: str, repository: Path) -> set[str]:
    """Modules of ours that a stage's command imports, here or in what it imports."""
    readers = [f"stages.ingest.{name}" for name in MODULES] if stage == "ingest" else []  # imported by name
    waiting, seen = [f"stages.{stage}.command", *readers], set()
    while waiting:
        module = waiting.pop()
        path = file_of(module, repository)
        if (
            path is None
            or "." not in module
            or module in seen
            or any(module == n or module.startswith(f"{n}.") for n in NEUTRAL)
        ):
            continue
        seen.add(module)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.split(".")[0] in ("pipeline", "stages", "models")
            ):
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return seen


@pytest.fixture(scope="module")
def deps(repository: Path) -> dict[str, set[str]]:
    """The code that dvc.yaml names, by stage, as modules."""
    stages: dict[str, Any] = yaml.safe_load((repository / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    found = {name: stage.get("do", stage)["deps"] for name, stage in stages.items()}
    return {
        name: {
            d.removesuffix(".py").replace("/", ".") for d in of if d.split("/")[0] in ("stages", "pipeline", "models")
        }
        for name, of in found.items()
    }


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_dvc_and_code_yaml_name_the_same_code(stage: str, deps: dict[str, set[str]]) -> None:
    code = import_module(STAGES[stage][0]).CODE
    assert len(set(code)) == len(code)
    assert set(code) == deps[stage]
    assert stage == "simulate" or code_by_stage()[stage] == code


@pytest.mark.parametrize("stage", STAGES)
def test_it_names_all_that_its_results_come_from(stage: str, repository: Path) -> None:
    code = import_module(STAGES[stage][0]).CODE
    missing = {m for m in reached(stage, repository) if not any(m == c or m.startswith(f"{c}.") for c in code)}
    assert missing == set()
    assert f"stages.{stage}" in code
