"""`psface train NAME`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from pipeline import params as parameters

CODE = (
    "models",
    "stages.train",
    "pipeline.attributes",
    "pipeline.augment",
    "pipeline.contract",
    "pipeline.faces",
    "pipeline.fitting",
    "pipeline.flashes",
    "pipeline.lights",
    "pipeline.madefaces",
    "pipeline.maskdesigns",
    "pipeline.samples",
    "pipeline.verification",
)


@click.command()
@click.argument("name")
@click.option("--faces", type=click.Path(path_type=Path), default="data/faces", show_default=True, help="Packed faces.")
@click.option(
    "--sessions", type=click.Path(path_type=Path), default="data/sessions.parquet", show_default=True, help="Labels."
)
@click.option(
    "--splits", type=click.Path(path_type=Path), default="data/splits.parquet", show_default=True, help="Splits."
)
@click.option("--start", type=click.Path(path_type=Path), help="Folder of `start`.  [default: runs/START/train]")
@click.option(
    "--made", type=click.Path(path_type=Path), default="data/made", show_default=True, help="Faces of `synthetic`."
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/NAME/train]")
@click.option("--params", type=click.Path(path_type=Path), default="params.yaml", show_default=True, help="Parameters.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    envvar="PSFACE_PROCESSES",
    show_default=True,
    show_envvar=True,
    help="Each takes a GPU, where there are any, and its part of every batch.",
)
def command(
    name: str,
    faces: Path,
    sessions: Path,
    splits: Path,
    start: Path | None,
    made: Path,
    output: Path | None,
    params: Path,
    processes: int,
) -> None:
    """Train the recogniser that `train.NAME` in the parameters describes.

    It sees the modality of that name (albedo, normal, depth, frame, frames), or those that the entry lists as
    `modalities`, stacked as the channels of one network. Its state is chosen by the AUC over all pairs of validation
    sessions. A run that was killed goes on from the step in hand. Several processes give the losses of one.
    """
    settings = parameters.section(params, "train", parameters.Train, name)

    from pipeline.files import check_replaceable
    from pipeline.progress import wrote
    from pipeline.samples import read_to_fit
    from pipeline.work import StageWork, key_of, source
    from stages.train.fit import train
    from stages.train.mixing import made_of, read_mixed

    read = partial(
        read_to_fit,
        list(settings.modalities or ()),
        faces=faces,
        sessions=sessions,
        splits=splits,
        attributes=list(settings.labelled),
        vocabulary=settings.vocabulary,
        redraw=True,
    )
    read = read if settings.synthetic == "none" else partial(read_mixed, read, made, settings)
    begun = (start or Path("runs") / settings.start / "train") if settings.start else None
    target = output or Path("runs") / name / "train"
    check_replaceable(
        target,
        option="--output",
        what="run",
        is_own=(target / "contract.json").is_file(),
        made_from=[faces, sessions, splits, *made_of(settings, made), *filter(None, [begun])],
    )
    key = key_of(name, settings, faces, sessions, splits, str(target), begun, *source(*CODE), *made_of(settings, made))
    with StageWork(f"train/{name}", key=key) as work:
        validation = train(name, settings, read, work.dir, start=begun, processes=processes)
        work.publish(work.dir / "result", target)
    wrote(target, note=f"validation AUC {validation['auc']:.4f} at epoch {validation['epoch']}")
