"""`psface age`: a face, or a session's maps, made older or younger."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.errors import Rejected, UserError
from pipeline.files import check_writable_beside
from pipeline.progress import wrote

PICTURES, MAPS, MESHES = (".png", ".jpg", ".jpeg"), (".exr",), (".ply", ".glb")


@click.command("age")
@click.argument("path", metavar="IMAGE|SESSION", type=click.Path(path_type=Path))
@click.option("--run", required=True, help="A run of `psface synthesise`: its name below runs/, or its folder.")
@click.option("--to", "wanted", help="Years, or a group of ages such as 41-50 or 61+.")
@click.option("--strip", is_flag=True, help="All groups in a row, the face itself first, as a picture.")
@click.option("-o", "--out", "outs", required=True, multiple=True, type=click.Path(path_type=Path),
              help="What to write: .png or .jpg; of maps also .exr, .ply, .glb. May repeat.")  # fmt: skip
@click.option("--maps", default="data/maps", show_default=True, type=click.Path(path_type=Path),
              help="Maps of a session that is given as a folder.")  # fmt: skip
def command(path: Path, run: str, wanted: str | None, strip: bool, outs: tuple[Path, ...], maps: Path) -> None:
    """Make a face older or younger.

    A run that sees frames or colours takes a photograph, or a session's folder of them. One that sees albedo, normals
    or depth takes maps (SESSION.EXR, or a session's folder, whose maps are looked for in --maps): these age together,
    and what the run does not see stays as it is. What comes out is the aligned face, of the size that the run sees.
    """
    if strip == (wanted is not None):
        raise UserError("give either --to YEARS|GROUP or --strip")
    kinds = PICTURES if strip else (*PICTURES, *MAPS, *MESHES)
    for out in outs:
        if out.suffix.lower() not in kinds:
            what = "a strip is a picture" if strip else "faces are written as pictures, maps or meshes"
            raise UserError(f"{out}: {what}; give a name that ends in {', '.join(kinds)}")
    from pipeline.ageing import ageing_folder
    from stages.crop.aged import Face, load_ager, read_subject  # and torch with it
    from stages.crop.judge import maps_of

    check_writable_beside(outs, read=[path, maps_of(path, maps)])
    folder = ageing_folder(run)
    contract, ager = load_ager(folder)
    groups = contract.groups if wanted is None else [contract.group(wanted)]
    try:
        face: Face = read_subject(contract, path, maps)
    except Rejected as reason:
        raise UserError(str(reason)) from reason
    face.check(outs)
    aged = [face.aged(ager, group, contract.names[group]) for group in groups]
    for out in outs:
        if strip:
            face.write_strip(out, aged, [contract.names[group] for group in groups])
        else:
            face.write(out, aged[0])
    wrote(*outs, note=", ".join(contract.names[group] for group in groups))
