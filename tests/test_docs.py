"""The site of the guide holds every page, and its reference every module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def pages(nav: Any) -> Iterator[str]:
    """The files that a part of mkdocs' nav names."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from pages(part)


def test_the_site_has_every_page_of_the_guide_and_no_other(repository: Path) -> None:
    site = yaml.safe_load((repository / "mkdocs.yml").read_text())
    docs = repository / "docs"
    assert sorted(pages(site["nav"])) == sorted(p.relative_to(docs).as_posix() for p in docs.rglob("*.md"))


def test_the_reference_has_every_module(repository: Path) -> None:
    """A package brings its modules; those of pipeline/ are spread over several pages, one by one."""
    text = "\n".join(p.read_text() for p in (repository / "docs" / "reference").glob("*.md"))
    named = [line.removeprefix("::: ") for line in text.splitlines() if line.startswith("::: ")]
    modules = {f"pipeline.{p.stem}" for p in (repository / "pipeline").glob("[!_]*") if p.suffix in ("", ".py")}
    stages = {f"stages.{p.parent.name}" for p in (repository / "stages").glob("*/__init__.py")}
    assert sorted(named) == sorted(modules | stages | {"models"})


def test_no_command_names_a_file_outside_the_repository(repository: Path) -> None:
    """Data that everybody keeps elsewhere is an argument; nothing is looked for beside the repository by itself."""
    texts = [*(repository / "benchmarks").glob("*.py"), *(repository / "docs").glob("*.md"), repository / "README.md"]
    outside = {f"{path.name}: {line.strip()}" for path in texts for line in path.read_text().splitlines()
               if "../" in line and (path.suffix == ".py" or "python " in line)}  # fmt: skip
    assert not outside
