"""`psface train MODALITY`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from pipeline import params as parameters
from pipeline.faces import MODALITIES

CODE = (
    "models",
    "stages.train",
    "pipeline.attributes",
    "pipeline.augment",
    "pipeline.contract",
    "pipeline.faces",
    "pipeline.fitting",
    "pipeline.samples",
    "pipeline.verification",
)


@click.command()
@click.argument("modality", type=click.Choice(MODALITIES))
@click.option("--faces", type=click.Path(path_type=Path), default="data/faces", show_default=True, help="Packed faces.")
@click.option(
    "--sessions", type=click.Path(path_type=Path), default="data/sessions.parquet", show_default=True, help="Labels."
)
@click.option(
    "--splits", type=click.Path(path_type=Path), default="data/splits.parquet", show_default=True, help="Splits."
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/MODALITY/train]")
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
    modality: str, faces: Path, sessions: Path, splits: Path, output: Path | None, params: Path, processes: int
) -> None:
    """Train the recogniser of one modality.

    Its state is chosen by the AUC over all pairs of validation sessions. A run that was killed goes on from the step in
    hand. Several processes give the losses of one.
    """
    settings = parameters.section(params, "train", parameters.Train, modality)

    from pipeline.progress import wrote
    from pipeline.samples import read_to_fit
    from pipeline.work import StageWork, key_of, source
    from stages.train.fit import train

    read = partial(
        read_to_fit,
        [modality],
        faces=faces,
        sessions=sessions,
        splits=splits,
        attributes=list(settings.attributes),
        vocabulary=settings.vocabulary,
        redraw=True,
    )
    target = output or Path("runs") / modality / "train"
    key = key_of(modality, settings, faces, sessions, splits, str(target), *source(*CODE))
    with StageWork(f"train/{modality}", key=key) as work:
        validation = train(modality, settings, read, work.dir, processes=processes)
        work.publish(work.dir / "result", target)
    wrote(target, note=f"validation AUC {validation['auc']:.4f} at epoch {validation['epoch']}")
