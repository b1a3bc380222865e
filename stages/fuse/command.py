"""`psface fuse NAME`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import params as parameters

CODE = (
    "models",
    "stages.fuse",
    "pipeline.attributes",
    "pipeline.augment",
    "pipeline.contract",
    "pipeline.faces",
    "pipeline.fitting",
    "pipeline.flashes",
    "pipeline.lights",
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
@click.option(
    "--runs", type=click.Path(path_type=Path), default="runs", show_default=True, help="Folder of the trained runs."
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the fused run.  [default: RUNS/NAME/train]")
@click.option("--params", type=click.Path(path_type=Path), default="params.yaml", show_default=True, help="Parameters.")
def command(
    name: str, faces: Path, sessions: Path, splits: Path, runs: Path, output: Path | None, params: Path
) -> None:
    """Fuse the trained runs of two or three modalities, as `fuse.NAME` in the parameters lists them.

    Of the ways to join them that `candidates` lists (side by side, with gains, a layer, a projection, a gate for each
    face) the AUC over the pairs of validation sessions chooses. The branches stay as they were trained, unless
    `finetune` is listed and training the whole network on gains there too. A run that was killed goes on from the view
    or the epoch in hand.
    """
    settings = parameters.section(params, "fuse", parameters.Fuse, name)

    from pipeline.contract import load_run
    from pipeline.files import check_replaceable
    from pipeline.progress import wrote
    from pipeline.samples import read_to_fit
    from pipeline.work import StageWork, key_of, source
    from stages.fuse.fit import Fuser

    target = output or runs / name / "train"
    branches = [runs / modality / "train" for modality in settings.modalities]
    own, read = (target / "contract.json").is_file(), [faces, sessions, splits, *branches]
    check_replaceable(target, option="--output", what="run", is_own=own, made_from=read)
    trained = {modality: load_run(runs / modality / "train") for modality in settings.modalities}
    contract = trained[settings.modalities[0]][0]
    samples, stores = read_to_fit(
        settings.modalities,
        faces=faces,
        sessions=sessions,
        splits=splits,
        attributes=list(contract.attributes),
        vocabulary=contract.vocabulary,
    )
    key = key_of(name, settings, faces, sessions, splits, *branches, str(target), *source(*CODE))
    with StageWork(f"fuse/{name}", key=key) as work:
        fused = Fuser(name, settings, trained, *samples, stores, work.dir).fit()
        fused.save(work.dir / "result")
        work.publish(work.dir / "result", target)
    wrote(target, note=f"validation AUC {fused.validation['auc']:.4f}")
