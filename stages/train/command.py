"""`psface train MODALITY`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import params as parameters
from pipeline.faces import MODALITIES


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

    from pipeline.contract import save_run
    from pipeline.faces import Faces
    from pipeline.progress import wrote
    from pipeline.samples import FaceStore, read_samples
    from pipeline.tables import write_json
    from pipeline.work import StageWork, key_of
    from stages.train.fit import Trainer

    packed = Faces(faces)
    train, validation = (
        read_samples(
            split,
            faces=packed,
            sessions=sessions,
            splits=splits,
            attributes=list(settings.attributes),
            vocabulary=settings.vocabulary,
        )
        for split in ("train", "validation")
    )
    stores = (FaceStore(packed, [modality], train.row), FaceStore(packed, [modality], validation.row))
    target = output or Path("runs") / modality / "train"
    with StageWork(f"train/{modality}", key=key_of(modality, settings, faces, sessions, splits, str(target))) as work:
        fitted = Trainer(modality, settings, train, validation, stores, work.dir).fit()
        result = work.dir / "result"
        save_run(result, fitted.contract, fitted.state)
        fitted.history.write(result / "history.csv")
        fitted.history.draw(result / "curves.png", modality)
        write_json(result / "validation.json", fitted.validation)
        work.publish(result, target)
    note = f"validation AUC {fitted.validation['auc']:.4f} at epoch {fitted.validation['epoch']}"
    wrote(target, note=note)
