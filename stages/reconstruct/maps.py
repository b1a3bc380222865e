"""`psface maps`: one session from frames and a table of lights, without a pipeline."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import Rejected, UserError
from pipeline.lights import check_lights, read_lights_csv
from pipeline.maps import write_maps
from pipeline.options import device_option
from pipeline.params import Reconstruct, load, section
from pipeline.params.base import Transfer
from pipeline.progress import wrote
from pipeline.rig import Camera, RigLights, read_rig
from stages.reconstruct.reading import read_photographs
from stages.reconstruct.session import reconstruct

if TYPE_CHECKING:
    import torch


@click.command("maps")
@click.argument("frames", nargs=-1, required=True, metavar="FRAME...")
@click.option("--lights", "lights_path", help="A table frame,x,y,z and optionally strength; estimated where not given.")
@click.option("--rig", "rig_path", help="A rig file instead, as `psface calibrate` writes it.")
@click.option("-o", "--out", required=True, help="The OpenEXR file to write.")
@click.option("--ambient", help="A frame without flash, to be subtracted.")
@click.option("--mask", help="A picture that is white on the face; found in the frames where it is not given.")
@click.option(
    "--transfer", metavar="CURVE", help="The frames' tone curve, to be undone: linear, srgb, or a gamma (2.2)."
)
@click.option(
    "--params", "params_path", help="Take `reconstruct` and `ingest.transfer` of this file, not the defaults."
)
@device_option()
def command(
    frames: tuple[str, ...],
    lights_path: str | None,
    rig_path: str | None,
    out: str,
    ambient: str | None,
    mask: str | None,
    transfer: str | None,
    params_path: str | None,
    device: torch.device | None,
) -> None:
    """Reconstruct one session from frames and a lights.csv or a rig file.

    A light is a vector from the face towards the flash: x to the right of the image, y up, z to the camera. Frames and
    rows are matched by path, else by file name, in any order.

    With neither of the two the lights are estimated from the frames of an upright face, four or better more: details of
    the normals then come from the frames, tilt and relief of the whole face from what is known of faces.
    """
    if Path(out).suffix.lower() != ".exr":
        raise UserError(f"{out}: maps are written as OpenEXR; give a name that ends in .exr")
    settings = section(params_path, "reconstruct", Reconstruct) if params_path else Reconstruct()
    lit = _lights(frames, lights_path, rig_path)
    curve = _transfer(transfer, lit, params_path)
    try:
        read = partial(read_photographs, frames, ambient=ambient, mask=mask, saturation=settings.saturation)
        if lit is None:
            photographs = read(None, np.ones(len(frames)), camera=Camera(transfer=curve))
            click.echo(
                "no --lights and no --rig: looking for the face, to estimate the lights, takes a while", err=True
            )
        else:
            camera = lit.camera.model_copy(update={"transfer": curve})
            photographs = read(lit.directions, lit.strengths, positions=lit.positions, camera=camera)
        maps, quality = reconstruct(photographs, settings, residuals=True, device=device)
    except Rejected as reason:
        raise UserError(str(reason)) from reason
    maps.attributes["frames"] = json.dumps([os.path.relpath(frame, Path(out).parent) for frame in frames])
    write_maps(out, maps)
    for note in filter(None, quality.notes.split("; ")):
        click.echo(f"note: {note}", err=True)
    click.echo(f"solver {maps.attributes['solver']} ({maps.attributes['solver.why']})")
    wrote(
        out,
        note=f"residual {quality.residual:.3f}, shadowed {quality.shadowed:.1%}, saturated {quality.saturated:.1%}, "
        f"largest shift {quality.shift:.2f} px",
    )


def _lights(frames: tuple[str, ...], table: str | None, rig: str | None) -> RigLights | None:
    """The frames' lights, from the one file that is given; none without one."""
    if table is not None and rig is not None:
        raise UserError("give the lights of the frames by one of --lights lights.csv and --rig rig.json, not by both")
    if rig is not None:
        return read_rig(rig).lights_for(frames, where=rig)
    if table is None:
        return None
    rows = read_lights_csv(table)
    chosen = rows.match(frames)
    return RigLights(check_lights(rows.lights[chosen], where=table, error=UserError), rows.strengths[chosen])


def _transfer(given: str | None, lit: RigLights | None, params_path: str | None) -> Transfer | None:
    """The frames' tone curve: as given, else the camera's of the rig, else the data set's of the parameters."""
    if given is not None:
        try:
            curve: Transfer = TypeAdapter(Transfer).validate_python(given)
        except ValidationError as error:
            raise UserError(f"--transfer {given}: give linear, srgb, or a gamma from 1 to 4, such as 2.2") from error
        return curve
    if lit is not None and lit.camera.transfer is not None:
        return lit.camera.transfer
    ingest = load(params_path).ingest if params_path else None
    return ingest.transfer if ingest else None
