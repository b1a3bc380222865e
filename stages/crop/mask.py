"""`psface mask`: whether faces wear a mask, and how good they are to recognise, as a trained run sees it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pipeline.errors import Rejected, UserError

MASKED = 0.5  # probability from which a face counts as masked


@click.command("mask")
@click.argument("paths", nargs=-1, required=True, metavar="IMAGE|SESSION...")
@click.option("--run", required=True, help="A trained run: its name below runs/, or its folder.")
@click.option("--maps", default="data/maps", show_default=True, type=click.Path(path_type=Path),
              help="Maps of the sessions that are given as folders.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(paths: tuple[str, ...], run: str, maps: Path, as_json: bool) -> None:
    """Tell whether faces wear a mask, and how good they are to recognise.

    Each is a photograph, a session's maps as .exr, or a session's folder of frames (<subject>/<session>, whose maps are
    looked for in --maps). The run must know the attribute `mask` and see what is given: `frame` is seen of photographs
    and folders, albedo, normal and depth of maps. Quality is the norm of the embedding. What cannot be read or shows
    no face is named, and the others go on; the exit status is then 2.
    """
    from stages.crop.judge import judge, load_judge  # and torch with it

    contract, network = load_judge(folder_of(run))
    report, failed = [], 0
    for path in paths:
        try:
            probability, quality = judge(contract, network, Path(path), maps)
        except (Rejected, UserError) as reason:
            failed += 1
            click.echo(f"psface: {reason}", err=True)
            continue
        entry = {
            "path": path,
            "mask": round(probability, 4),
            "masked": probability >= MASKED,
            "quality": round(quality, 3),
        }
        report.append(entry)
        if not as_json:
            verdict = "masked" if entry["masked"] else "no mask"
            click.echo(f"{path}: {verdict} (probability of a mask {probability:.3f}), quality {quality:.1f}")
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    if failed:
        sys.exit(UserError.exit_code)


def folder_of(run: str) -> Path:
    """The folder of a trained run, given by its name or itself."""
    named, given = Path("runs") / run / "train", Path(run)
    return given if (given / "contract.json").is_file() else given / "train" if (given / "train").is_dir() else named
