"""`psface mesh`: a session's depth as a surface of triangles with its albedo as colour."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from pipeline.errors import Rejected, UserError
from pipeline.maps import read_maps
from pipeline.meshes import SUFFIXES, write_mesh
from pipeline.progress import wrote


@click.command("mesh")
@click.argument("session", metavar="SESSION.EXR")
@click.option("-o", "--out", required=True, help="The mesh to write (.ply or .glb).")
@click.option("--pitch", type=float, help="Width of a pixel on the face, in mm.  [default: the session's camera's]")
def command(session: str, out: str, pitch: float | None) -> None:
    """Turn a session's depth into a mesh with its albedo as colour.

    x to the right, y up, z towards the camera, around the middle of the face; in mm, or in pixels where neither --pitch
    nor the session's camera tells the width of a pixel.
    """
    if Path(out).suffix.lower() not in SUFFIXES:
        raise UserError(f"{out}: meshes are written as .ply or .glb; give a name that ends so")
    if pitch is not None and not (np.isfinite(pitch) and pitch > 0):
        raise UserError(f"--pitch {pitch}: the width of a pixel is a positive number")
    try:
        maps = read_maps(session)
    except Rejected as reason:
        raise UserError(str(reason)) from reason
    wrote(out, note=write_mesh(out, maps, session, pitch=pitch))
