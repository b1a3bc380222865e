"""`psface synthesise NAME`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import params as parameters

CODE = (
    "models",
    "stages.synthesise",
    "pipeline.ageing",
    "pipeline.attributes",
    "pipeline.augment",
    "pipeline.contract",
    "pipeline.faces",
    "pipeline.fitting",
    "pipeline.flashes",
    "pipeline.images",
    "pipeline.lights",
    "pipeline.madefaces",
    "pipeline.maskdesigns",
    "pipeline.samples",
    "pipeline.strips",
    "pipeline.verification",
)
PATH = click.Path(path_type=Path)


@click.command()
@click.argument("name")
@click.option("--faces", type=PATH, default="data/faces", show_default=True, help="Packed faces.")
@click.option("--sessions", type=PATH, default="data/sessions.parquet", show_default=True, help="Labels.")
@click.option("--splits", type=PATH, default="data/splits.parquet", show_default=True, help="Splits.")
@click.option("--recogniser", type=PATH, help="Folder of the trained run.  [default: runs/RECOGNISER/train]")
@click.option("--output", type=PATH, help="Folder of the run.  [default: runs/NAME/synthesise]")
@click.option("--params", type=PATH, default="params.yaml", show_default=True, help="Parameters.")
def command(
    name: str, faces: Path, sessions: Path, splits: Path, recogniser: Path | None, output: Path | None, params: Path
) -> None:
    """Train the generator of faces at other ages that `synthesise.NAME` in the parameters describes.

    It starts from what a trained recogniser that tells the age sees in a face, and learns from the training split
    against a discriminator. A run that was killed goes on from the step in hand. `psface age` uses it.
    """
    settings = parameters.section(params, "synthesise", parameters.Synthesise, name)

    from pipeline.ageing import SEEING
    from pipeline.attributes import AGE
    from pipeline.files import check_replaceable
    from pipeline.fitting import make_fabric
    from pipeline.progress import wrote
    from pipeline.samples import read_to_fit
    from pipeline.work import StageWork, key_of, source
    from stages.synthesise.build import load_recogniser
    from stages.synthesise.fit import Synthesiser

    trained = recogniser or Path("runs") / settings.recogniser / "train"
    target = output or Path("runs") / name / "synthesise"
    own, read = (target / SEEING).is_file(), [faces, sessions, splits, trained]
    check_replaceable(target, option="--output", what="synthesis", is_own=own, made_from=read)
    key = key_of(name, settings, faces, sessions, splits, trained, str(target), *source(*CODE))
    with StageWork(f"synthesise/{name}", key=key) as work:
        seeing = load_recogniser(trained)
        samples, stores = read_to_fit(
            seeing[0].modalities,
            faces=faces,
            sessions=sessions,
            splits=splits,
            attributes=[AGE],
            vocabulary=seeing[0].vocabulary,
            redraw=True,
        )
        fitting = Synthesiser(name, settings, seeing, *samples, stores, work.dir, make_fabric(settings.precision))
        made = fitting.fit()
        made.save(work.dir / "result")
        fitting.draw(work.dir / "result" / "faces.png")
        work.publish(work.dir / "result", target)
    told = made.validation
    wrote(target, note=f"validation: cosine {told['identity']:.3f}, groups as meant {told['group']:.2f}")
