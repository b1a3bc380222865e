"""`psface evaluate RUN`: a run's numbers on the test subjects, which nothing else has looked at."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.params import Evaluate, section
from pipeline.progress import wrote
from pipeline.work import alone

CODE = (
    "stages.evaluate",
    "models",
    "pipeline.attributes",
    "pipeline.contract",
    "pipeline.faces",
    "pipeline.flashes",
    "pipeline.identification",
    "pipeline.lights",
    "pipeline.maskdesigns",
    "pipeline.openset",
    "pipeline.samples",
    "pipeline.verification",
)
PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run")
@click.option("--weights", type=PATH, help="Folder of the trained run.  [default: runs/RUN/train]")
@click.option("--output", type=PATH, help="Folder of the results.  [default: runs/RUN/evaluate]")
@click.option("--faces", type=PATH, default="data/faces", show_default=True, help="Packed faces.")
@click.option("--sessions", type=PATH, default="data/sessions.parquet", show_default=True, help="Table of sessions.")
@click.option("--splits", type=PATH, default="data/splits.parquet", show_default=True, help="Table of splits.")
@click.option(
    "--quality", type=PATH, default="data/quality.parquet", show_default=True, help="Table of photometric quality."
)
@click.option("--pairs", type=PATH, help="Pairs in folds, in LFW's shape.  [default: drawn]")
@click.option("--params", type=PATH, default="params.yaml", show_default=True, help="Section `evaluate`.")
@alone("evaluate", "run")
def command(
    run: str,
    weights: Path | None,
    output: Path | None,
    faces: Path,
    sessions: Path,
    splits: Path,
    quality: Path,
    pairs: Path | None,
    params: Path,
) -> None:
    """Score RUN on the test subjects: verification, identification, attributes, invariance, raw pixels beside them.

    RUN names a trained run: a modality or a fusion. A run trained in another workspace is scored on this one's faces by
    --weights: `psface evaluate normal --weights ../../runs/normal/train`.
    """
    # torch takes seconds to import: not for --help
    from pipeline.verification import check_finite
    from stages.evaluate.inputs import read_evaluation_set, read_probed_set
    from stages.evaluate.network import embed_faces, embed_store, load_network
    from stages.evaluate.results import Results, evaluate_run
    from stages.evaluate.written import write_results

    settings = section(params, "evaluate", Evaluate)
    contract, network = load_network(weights or Path("runs", run, "train"))
    data = read_evaluation_set(contract, faces=faces, sessions=sessions, splits=splits, quality=quality)
    probed = read_probed_set(contract, faces=faces, sessions=sessions, splits=splits, seed=settings.seed)
    said = embed_faces(network, data.inputs, data.swap)
    check_finite(said.embeddings, f"{'fuse' if contract.network.name == 'fusion' else 'train'}.{contract.run}.lr")
    fitted_on = None if probed is None else (embed_store(network, probed.faces), probed.subject, probed.labels)
    results: Results = evaluate_run(contract, settings, data, said.embeddings, said.probabilities, fitted_on, pairs)
    folder = output or Path("runs", run, "evaluate")
    write_results(folder, run, contract, data, results, faces, said.gates)
    auc = results.metrics["verification"]["auc"]
    note = f"AUC {auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"
    wrote(folder, note=f"{note}, raw pixels {results.metrics['raw_pixels']['verification']['auc']['value']:.3f}")
