"""`psface quality`: sessions by how far their maps can be trusted, worst first."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click
import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.images import read_frame
from pipeline.maps import Maps, read_maps
from pipeline.progress import track
from stages.reconstruct.trust import Trust, judge


@click.command("quality")
@click.argument("paths", nargs=-1, required=True, metavar="SESSION.EXR|FOLDER...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all numbers included, instead of a table.")
def command(paths: tuple[str, ...], as_json: bool) -> None:
    """Rank sessions by how far their maps can be trusted, worst first.

    Takes maps, or folders of maps. ERROR is the predicted mean error of the normals in degrees (of the simulated rig:
    it ranks, it does not measure), FLAT how likely a picture was held before the rig (0 to 1), WHY one word: comb
    (interlaced fields differ), hollow (an axis of the lights is wrong), flat (a print or a screen), tilt (forehead or
    chin too near), or what raises the error most: misfit, curl, condition, few, dark, shadowed, motion, blur; or good.
    A comb is looked for in the frames too, where they still are where the maps say. Maps that cannot be read are named,
    and the others go on; the exit status is then 2.
    """
    files = [file for path in paths for file in _files(Path(path))]
    judged, failed = [], 0
    for file in track(files, "quality"):
        try:
            judged.append((file.as_posix(), _judged(file)))
        except Rejected as reason:
            failed += 1
            click.echo(f"psface: {reason}", err=True)
    _print(ranked(judged), as_json)
    if failed:
        sys.exit(UserError.exit_code)


def _judged(file: Path) -> Trust:
    """How far the maps of a file can be trusted."""
    maps = read_maps(file)
    if not maps.mask.any():
        raise Rejected(f"{file}: the mask is empty, there is nothing to judge")
    return judge(maps, _frames(maps, file))


def _print(order: Sequence[tuple[str, Trust]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_row(name, one) for name, one in order], indent=2, allow_nan=False))
    elif order:
        click.echo(f"{'ERROR':>6} {'FLAT':>5}  {'WHY':<10} SESSION")
        for name, one in order:
            click.echo(f"{one.error:6.1f} {one.flat:5.2f}  {one.why:<10} {name}")


def ranked(trusts: Sequence[tuple[str, Trust]]) -> list[tuple[str, Trust]]:
    """Worst first: those with a finding, then by the predicted error."""
    return sorted(trusts, key=lambda one: (not one[1].findings, -one[1].error, one[0]))


def _files(path: Path) -> list[Path]:
    """The maps that a path names: itself, or all OpenEXR files below a folder but ground truth."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*.exr") if file.name != "truth.exr" and not file.name.startswith("."))
    if not found:
        raise UserError(f"{path}: no maps in it; `psface reconstruct` and `psface maps` write them as .exr")
    return found


def _frames(maps: Maps, file: Path) -> np.ndarray | None:
    """The session's frames (k, H, W), or none where any is not where the maps say.

    `psface maps` names them as they are seen from the folder of the maps, `psface reconstruct` from the workspace,
    which is a folder above that. What lies in the current folder is another session's as likely as not.
    """
    named = json.loads(maps.attributes.get("frames", "[]"))
    transfer = json.loads(maps.attributes.get("transfer", "null"))
    folder = file.absolute().parent
    for start in (folder, *(folder.parents if "session" in maps.attributes else ())):
        with suppress(Rejected):
            frames = [read_frame(start / name, transfer) for name in named]
            return np.stack(frames) if frames and all(frame.shape == maps.shape for frame in frames) else None
    return None


def _row(name: str, one: Trust) -> dict[str, object]:
    """A session as JSON has it; what is not known is null."""
    numbers = {key: None if math.isnan(value) else round(value, 4) for key, value in one.numbers.items()}
    flat = None if math.isnan(one.flat) else round(one.flat, 4)
    return {"session": name, "error": round(one.error, 2), "why": one.why, "findings": list(one.findings),
            "flat": flat, "numbers": numbers}  # fmt: skip
