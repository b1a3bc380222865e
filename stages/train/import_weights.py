"""`psface import-weights FILE...`: official weights of MTLFace as a run."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("-o", "--output", type=PATH, default="runs/mtlface/train", show_default=True, help="Folder of the run.")
@click.option("--colour", is_flag=True, help="For faces in colour (RGB); otherwise for grey ones.")
def command(files: tuple[Path, ...], output: Path, colour: bool) -> None:
    """Take over the recogniser of MTLFace's official weights, as a run that `psface evaluate mtlface` scores.

    FILE is the journal version's one file, or the CVPR version's `backbone-<iteration>`; its
    `estimation_network-<iteration>` beside it tells ages. What else they hold is named and left.
    """
    from pipeline.contract import save_run
    from pipeline.files import check_replaceable
    from pipeline.progress import wrote
    from pipeline.work import StageWork, key_of
    from stages.train.official import VERSIONS, convert, read_official

    own = (output / "contract.json").is_file()
    check_replaceable(output, option="--output", what="run", is_own=own, made_from=files)
    found = read_official(files)
    contract, state = convert(found, files[0], colour=colour)
    with StageWork("import-weights", key=key_of(str(output))) as work:
        save_run(work.dir / "result", contract, state)
        work.publish(work.dir / "result", output)
    for what, count in sorted(found.left.items()):
        click.echo(f"not taken over: {what} ({count} tensor{'s' if count > 1 else ''})")
    if not found.ages:
        click.echo("no age network among the files: the run tells no ages")
    version = next(
        name for name, attention, _ in VERSIONS.values() if attention == contract.network.kwargs["attention"]
    )
    wrote(output, note=f"{version} version, {len(state)} tensors, {'colour' if colour else 'grey'} faces of 112 px")
