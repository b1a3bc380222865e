"""The files of an evaluated run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.attributes import AGE
from pipeline.contract import Contract
from pipeline.faces import Faces
from pipeline.tables import write_atomic, write_csv, write_json, written_together
from stages.evaluate.curves import (
    cmc_table,
    draw_cmc,
    draw_confusions,
    draw_det,
    draw_discard,
    draw_roc,
    draw_scores,
    roc_table,
)
from stages.evaluate.inputs import EvaluationSet
from stages.evaluate.results import Results
from stages.evaluate.retrieval import choose_examples, draw_retrieval, face_pictures
from stages.evaluate.splits import ages_apart


def write_results(
    folder: Path,
    run: str,
    contract: Contract,
    data: EvaluationSet,
    results: Results,
    faces: Path,
    gates: np.ndarray | None = None,
) -> None:
    """Write metrics.json, tables, figures and embeddings into a folder, with the gates (N, M) of a gated fusion.

    All are of one evaluation, or metrics.json is missing.
    """
    with written_together(folder, last="metrics.json") as beside:
        found, raw = results.network, results.raw
        rates, ranks = roc_table(found.scores, raw.scores), cmc_table(found, results.draws)
        write_json(beside / "metrics.json", results.metrics)
        write_csv(beside / "roc.csv", rates)
        write_csv(beside / "cmc.csv", ranks)
        write_csv(beside / "discard.csv", results.discard.round(9))
        write_csv(beside / "confusion.csv", _confusion_table(results))
        draw_roc(beside / "roc.png", run, rates)
        draw_det(beside / "det.png", run, rates)
        draw_cmc(beside / "cmc.png", run, ranks, cmc_table(raw, results.draws))
        draw_scores(beside / "scores.png", run, found.scores)
        draw_discard(beside / "discard.png", run, results.discard, results.metrics["quality"].get("fmr"))
        draw_confusions(beside / "confusion.png", run, results.confusions)
        _write_retrieval(beside / "retrieval.png", run, contract, data, results, faces)
        tables: dict[str, Any] = {"session": data.samples.session, "subject": data.samples.subject, "rig": data.rigs}
        tables |= {"embedding": results.embeddings} | ({} if gates is None else {"gate": gates})
        if ages_apart(data.facts[AGE], data.samples.subject):
            tables |= {AGE: data.facts[AGE]}
        write_atomic(beside / "embeddings.npz", lambda p: np.savez(p, **tables))


def _confusion_table(results: Results) -> pd.DataFrame:
    rows = [
        (name, classes[true], classes[said], int(count))
        for name, (classes, counts) in results.confusions.items()
        for (true, said), count in np.ndenumerate(counts)
    ]
    return pd.DataFrame(rows, columns=["attribute", "true", "said", "sessions"])


def _write_retrieval(
    path: Path, run: str, contract: Contract, data: EvaluationSet, results: Results, faces: Path
) -> None:
    examples = choose_examples(results.network.similarity, data.samples.subject)
    shown = sorted({row for each in examples for row in (each.probe, *each.found.tolist())})
    pictures = face_pictures(Faces(faces), contract.modalities[0], data.samples.row[shown])
    draw_retrieval(
        path, run, examples, dict(zip(shown, pictures, strict=True)), data.samples.session, data.samples.subject
    )
