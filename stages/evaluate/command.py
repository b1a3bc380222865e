"""`psface evaluate RUN`: a run's numbers on the test subjects, which nothing else has looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from pipeline.attributes import ATTRIBUTES, classes
from pipeline.contract import Contract
from pipeline.params import Evaluate, section
from pipeline.progress import wrote
from pipeline.tables import write_atomic, write_csv, write_json
from pipeline.verification import resample
from pipeline.work import alone
from stages.evaluate.attributes import attribute_scores, class_counts
from stages.evaluate.curves import cmc_table, draw_cmc, draw_roc, draw_scores, roc_table
from stages.evaluate.scoring import Recognition, recognise, recognition_counts, recognition_metrics

if TYPE_CHECKING:
    from stages.evaluate.inputs import EvaluationSet

CODE = (
    "stages.evaluate",
    "models",
    "pipeline.attributes",
    "pipeline.contract",
    "pipeline.faces",
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
@click.option("--params", type=PATH, default="params.yaml", show_default=True, help="Section `evaluate`.")
@alone("evaluate", "run")
def command(
    run: str, weights: Path | None, output: Path | None, faces: Path, sessions: Path, splits: Path, params: Path
) -> None:
    """Score RUN on the test subjects: verification, identification, attributes, raw pixels beside them.

    RUN names a trained run: a modality or a fusion. A run trained in another workspace is scored on this one's faces by
    --weights: `psface evaluate normal --weights ../../runs/normal/train`.
    """
    # torch takes seconds to import: not for --help
    from stages.evaluate.inputs import raw_pixels, read_evaluation_set
    from stages.evaluate.network import embed_faces, load_network

    settings = section(params, "evaluate", Evaluate)
    contract, network = load_network(weights or Path("runs", run, "train"))
    data = read_evaluation_set(contract, faces=faces, sessions=sessions, splits=splits)
    embeddings, probabilities = embed_faces(network, data.inputs)
    found = recognise(embeddings, data.samples.subject, data.rigs)
    raw = recognise(raw_pixels(data.inputs), data.samples.subject, data.rigs)
    draws = resample(len(found.scores.subjects), settings.resamples, np.random.default_rng(settings.seed))
    metrics = {
        "run": {"name": contract.run, "modalities": "+".join(contract.modalities)},
        **recognition_metrics(found, settings.fars, draws),
        "attributes": _attributes(data, probabilities, draws),
        "raw_pixels": recognition_metrics(raw, settings.fars, draws),
        "counts": _counts(contract, data, found, settings.resamples),
    }
    folder = output or Path("runs", run, "evaluate")
    _write(folder, run, data, embeddings, metrics, (found, raw), draws)
    auc = metrics["verification"]["auc"]
    note = f"AUC {auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"
    wrote(folder, note=f"{note}, raw pixels {metrics['raw_pixels']['verification']['auc']['value']:.3f}")


def _attributes(data: EvaluationSet, probabilities: dict[str, np.ndarray], draws: np.ndarray) -> dict[str, Any]:
    return {
        name: attribute_scores(probabilities[name], data.samples.labels[name], data.samples.subject, draws)
        for name in ATTRIBUTES
        if name in probabilities
    }


def _counts(contract: Contract, data: EvaluationSet, found: Recognition, resamples: int) -> dict[str, Any]:
    rigs, sizes = np.unique(data.rigs, return_counts=True)
    return {
        "subjects": len(found.scores.subjects),
        "sessions": len(data.samples),
        "without_face": data.without_face,
        **recognition_counts(found),
        "rigs": {str(rig) or "unknown": int(size) for rig, size in zip(rigs, sizes, strict=True)},
        "attributes": {
            name: class_counts(data.samples.labels[name], data.samples.subject, classes(name, contract.vocabulary))
            for name in ATTRIBUTES
        },
        "resamples": resamples,
    }


def _write(
    folder: Path,
    run: str,
    data: EvaluationSet,
    embeddings: np.ndarray,
    metrics: dict[str, Any],
    pair: tuple[Recognition, Recognition],
    draws: np.ndarray,
) -> None:
    found, raw = pair
    rates, ranks = roc_table(found.scores, raw.scores), cmc_table(found, draws)
    write_json(folder / "metrics.json", metrics)
    write_csv(folder / "roc.csv", rates)
    write_csv(folder / "cmc.csv", ranks)
    draw_roc(folder / "roc.png", run, rates)
    draw_cmc(folder / "cmc.png", run, ranks, cmc_table(raw, draws))
    draw_scores(folder / "scores.png", run, found.scores)
    write_atomic(
        folder / "embeddings.npz",
        lambda p: np.savez(
            p, session=data.samples.session, subject=data.samples.subject, rig=data.rigs, embedding=embeddings
        ),
    )
