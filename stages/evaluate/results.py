"""metrics.json of a run, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.attributes import AGE, ATTRIBUTES, classes
from pipeline.contract import Contract
from pipeline.params import Evaluate
from pipeline.verification import resample
from stages.evaluate.ages import age_group, age_scores
from stages.evaluate.attributes import attribute_scores, class_counts, confusion
from stages.evaluate.differentials import differentials, subject_groups
from stages.evaluate.folds import draw_pairs, fold_accuracy
from stages.evaluate.groups import operating
from stages.evaluate.inputs import EvaluationSet, raw_pixels
from stages.evaluate.pairs import read_pairs
from stages.evaluate.probes import probe_attributes
from stages.evaluate.quality import error_versus_discard, qualities
from stages.evaluate.scoring import (
    Recognition,
    macro_metrics,
    recognise,
    recognition_counts,
    recognition_gain,
    recognition_metrics,
)
from stages.evaluate.splits import ages_apart, make_splits, split_scores

FittedOn = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Results:
    """What a run's files are written from.

    Attributes
    ----------
    metrics
        Content of metrics.json.
    embeddings
        (N, D) float32.
    network, raw
        Scores and ranks, of the run and of raw pixels.
    draws
        (R, S) resampled subjects.
    discard
        Error versus discard, a column a quality.
    confusions
        By attribute the classes and the (n, n) counts.
    """

    metrics: dict[str, Any]
    embeddings: np.ndarray
    network: Recognition
    raw: Recognition
    draws: np.ndarray
    discard: pd.DataFrame
    confusions: dict[str, tuple[tuple[str, ...], np.ndarray]]


def evaluate_run(
    contract: Contract,
    settings: Evaluate,
    data: EvaluationSet,
    embeddings: np.ndarray,
    probabilities: dict[str, np.ndarray],
    fitted_on: FittedOn | None,
    pairs: Path | None,
) -> Results:
    """All numbers of a run.

    Parameters
    ----------
    embeddings, probabilities
        Of the test sessions: (N, D), and by attribute (N, classes).
    fitted_on
        Embeddings, subjects and labels of training sessions for the probes; None where there are none.
    pairs
        A file of pairs in folds; drawn where None.
    """
    found, raw = (
        recognise(vectors, data.samples.session, data.samples.subject, data.rigs)
        for vectors in (embeddings, raw_pixels(data.inputs))
    )
    draws = resample(len(found.scores.subjects), settings.resamples, np.random.default_rng(settings.seed))
    discard, curves = error_versus_discard(found.scores, qualities(embeddings, data.facts), draws)
    recognition = recognition_metrics(found, settings.fars, draws)
    recognition["verification"]["folds"] = _folds(found, data, pairs, settings.seed)
    metrics = {
        "run": {"name": contract.run, "modalities": "+".join(contract.modalities)},
        **recognition,
        "macro": macro_metrics(found, settings.fars, draws),
        "attributes": _attributes(data, probabilities, draws),
        **_age(data, probabilities, draws),
        "invariance": _invariance(found, data, embeddings, fitted_on, draws, settings.seed),
        "quality": discard,
        "differentials": _differentials(found, data, draws),
        "raw_pixels": recognition_metrics(raw, settings.fars, draws),
        "over_raw_pixels": recognition_gain(found, raw, draws),
        "counts": _counts(contract, data, found, settings.resamples),
    }
    return Results(metrics, embeddings, found, raw, draws, curves, _confusions(contract, data, probabilities))


def _confusions(
    contract: Contract, data: EvaluationSet, probabilities: dict[str, np.ndarray]
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """By attribute the classes and the (n, n) counts."""
    named = {name: classes(name, contract.vocabulary) for name in probabilities if name in ATTRIBUTES}
    return {
        name: (names, confusion(probabilities[name].argmax(axis=1), data.samples.labels[name], len(names)))
        for name, names in named.items()
    }


def _folds(found: Recognition, data: EvaluationSet, path: Path | None, seed: int) -> dict[str, Any]:
    if path is not None:
        return fold_accuracy(found.similarity, read_pairs(path, data.samples.session))
    pairs = draw_pairs(data.samples.subject, np.random.default_rng(seed))
    return {"absent": pairs} if isinstance(pairs, str) else fold_accuracy(found.similarity, pairs)


def _attributes(data: EvaluationSet, probabilities: dict[str, np.ndarray], draws: np.ndarray) -> dict[str, Any]:
    return {
        name: attribute_scores(probabilities[name], data.samples.labels[name], data.samples.subject, draws)
        for name in ATTRIBUTES
        if name in probabilities
    }


def _age(data: EvaluationSet, probabilities: dict[str, np.ndarray], draws: np.ndarray) -> dict[str, Any]:
    """The age's errors, of a run that tells it."""
    if AGE not in probabilities:
        return {}
    return {AGE: age_scores(probabilities[AGE], data.facts[AGE], data.samples.subject, draws)}


def _invariance(
    found: Recognition,
    data: EvaluationSet,
    embeddings: np.ndarray,
    fitted_on: FittedOn | None,
    draws: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    at = operating(found.scores, draws)
    subjects, years = data.samples.subject, data.facts[AGE]
    splits = make_splits(data.binary, data.rigs, years, subjects)
    split = {"absent": at} if isinstance(at, str) else split_scores(at, found.similarity, subjects, splits)
    if fitted_on is None:
        return {"split": split, "probe": {"absent": "no training sessions in this workspace to fit probes on"}}
    read = data.binary | ({AGE: age_group(years)} if ages_apart(years, subjects) else {})
    tried = embeddings, subjects, read
    return {"split": split, "probe": probe_attributes(fitted_on, tried, draws, seed=seed)}


def _differentials(found: Recognition, data: EvaluationSet, draws: np.ndarray) -> dict[str, Any]:
    at = operating(found.scores, draws)
    if isinstance(at, str):
        return {"absent": at}
    return differentials(at, subject_groups(data.samples.subject, data.binary["gender"], data.facts))


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
            for name in data.binary
        },
        "resamples": resamples,
    }
