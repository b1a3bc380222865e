"""`psface train MODALITY`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import params as parameters
from pipeline.faces import MODALITIES

CODE = (
    "models",
    "stages.train",
    "pipeline.attributes",
    "pipeline.augment",
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
def command(modality: str, faces: Path, sessions: Path, splits: Path, output: Path | None, params: Path) -> None:
    """Train the recogniser of one modality.

    Its state is chosen by the AUC over all pairs of validation sessions. A run that was killed goes on where its last
    epoch ended.
    """
    settings = parameters.section(params, "train", parameters.Train, modality)

    from pipeline.progress import wrote
    from pipeline.samples import read_to_fit
    from pipeline.work import StageWork, key_of, source
    from stages.train.fit import Trainer

    samples, stores = read_to_fit(
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
        fitted = Trainer(modality, settings, *samples, stores, work.dir).fit()
        fitted.save(work.dir / "result")
        work.publish(work.dir / "result", target)
    note = f"validation AUC {fitted.validation['auc']:.4f} at epoch {fitted.validation['epoch']}"
    wrote(target, note=note)
