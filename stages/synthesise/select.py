"""`psface select NAME`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.errors import UserError

PATH = click.Path(path_type=Path)


@click.command("select")
@click.argument("name")
@click.option("--judge", "judge_run", required=True, type=PATH, help="Folder of a trained run that tells the age.")
@click.option(
    "--each",
    default=2,
    show_default=True,
    type=click.IntRange(1, 8),
    help="Made faces of each face, if there are as many other groups.",
)
@click.option("--seed", default=7, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Draws their ages.")
@click.option("--faces", type=PATH, default="data/faces", show_default=True, help="Packed faces.")
@click.option("--sessions", type=PATH, default="data/sessions.parquet", show_default=True, help="Table of sessions.")
@click.option("--splits", type=PATH, default="data/splits.parquet", show_default=True, help="Table of splits.")
@click.option("--run", type=PATH, help="Folder of the synthesis.  [default: runs/NAME/synthesise]")
@click.option("--output", type=PATH, default="data/made", show_default=True, help="Folder of the made faces.")
def command(
    name: str, judge_run: Path, each: int, seed: int, faces: Path, sessions: Path, splits: Path, run: Path | None,
    output: Path,
) -> None:  # fmt: skip
    """Make the training faces older and younger, and tell which of them a judge believes.

    A made face is kept where the judge, a recogniser that has made nothing, takes it for the face that it was made of
    and for nobody else of the training split, and reads an age off it that is in its group or within five years of it.
    `synthetic: all` or `selective` in an entry of `train:` puts them among its training faces.
    """
    from pipeline.ageing import load_ageing
    from pipeline.attributes import AGE
    from pipeline.faces import Faces
    from pipeline.files import check_replaceable
    from pipeline.madefaces import TABLE, write_made
    from pipeline.progress import wrote
    from pipeline.samples import FaceStore, read_samples, read_swaps
    from pipeline.work import StageWork, key_of
    from stages.synthesise.judging import FAR_KEPT
    from stages.synthesise.picking import pick
    from stages.synthesise.trial import load_ager, load_judge, thresholds_of

    folder = run or Path("runs", name, "synthesise")
    own, read = (output / TABLE).is_file(), [faces, sessions, splits, folder, judge_run]
    check_replaceable(output, option="--output", what="folder of made faces", is_own=own, made_from=read)
    synthesis = load_ageing(folder)
    if len(synthesis.contract.groups) < 2:
        raise UserError(f"{folder}: this run can make one group of ages alone: train it on people of more ages")
    judge = load_judge(synthesis, judge_run)
    tables = {"faces": faces, "sessions": sessions, "splits": splits}
    threshold = thresholds_of(judge, {"kept": FAR_KEPT}, **tables)["kept"]
    packed, modalities = Faces(faces), synthesis.contract.recogniser.modalities
    samples = read_samples(
        "train", faces=packed, sessions=sessions, splits=splits, attributes=[AGE], vocabulary=judge[0].vocabulary
    )
    swaps = read_swaps(modalities, faces=packed, sessions=sessions, names=samples.session)
    store = FaceStore(packed, modalities, samples.row, swaps=swaps)
    ager = load_ager(synthesis, folder)
    made, told = pick(ager, synthesis.contract, judge[1], threshold, samples, store, each=each, seed=seed)
    with StageWork(f"select/{name}", key=key_of(str(output), folder)) as work:
        write_made(work.dir / "result", made, **told)
        work.publish(work.dir / "result", output)
    wrote(output, note=f"{len(made.age)} made faces, {told['kept'].mean():.0%} of them kept")
