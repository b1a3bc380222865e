"""The numbers of a synthesis from what was measured of its faces, with intervals by resampling subjects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.verification import interval, resample
from stages.synthesise.judging import UNITS, Made, Truths

RESAMPLES, SEED = 1000, 7


class Means:
    """Means over faces or pairs with 95 % intervals, by resampling the subjects that they are of.

    Parameters
    ----------
    subjects : ndarray (T,) of str
        Of the truths.
    """

    def __init__(self, subjects: np.ndarray) -> None:
        names, self.code = np.unique(subjects, return_inverse=True)
        self.draws = resample(len(names), RESAMPLES, np.random.default_rng(SEED)).astype(np.float64)

    def of(self, values: np.ndarray, whose: np.ndarray) -> dict[str, Any]:
        """The mean of values (N,) that are of the truths ``whose`` (N,) by index."""
        weights = self.draws[:, self.code[whose]]
        with np.errstate(invalid="ignore"):  # a resample may hold none of them
            drawn = weights @ values / weights.sum(axis=1)
        return {**interval(float(values.mean()), drawn), "n": len(values)}


def verdict(truths: Truths, thresholds: Mapping[str, float], own: Mapping[str, np.ndarray], made: Made) -> dict:
    """What a synthesis reaches, and beside it the truth's own faces and the faces as they were.

    Parameters
    ----------
    thresholds
        By false accept rate, of the judge's cosines.
    own
        Of the pairs: ``cosine`` of the judge's embeddings of face and truth, ``distance`` by modality of these; and
        ``years`` (T,) that the judge reads off the truths.
    """
    means, source, target = Means(truths.subject), made.pairs[:, 0], made.pairs[:, 1]

    def of(values: np.ndarray) -> dict[str, Any]:
        return means.of(np.asarray(values, dtype=np.float64), source)

    everyone = np.arange(len(truths))
    wrong, right = made.years - truths.years[target], own["years"] - truths.years
    identity: dict[str, Any] = {"cosine": of(made.cosine), "cosine_of_truth": of(own["cosine"])}
    for far, threshold in thresholds.items():
        kept = {"kept": of(made.cosine > threshold), "kept_by_truth": of(own["cosine"] > threshold)}
        identity[far] = {**kept, "threshold": threshold}
    by_age = {str(age): of_part(means, np.abs(wrong), source, truths.years[target] == age) for age in _ages(truths)}
    return {
        "identity": identity,
        "age": {
            "error": of(np.abs(wrong)),
            "bias": of(wrong),
            "error_at": by_age,
            "error_of_truth": means.of(np.abs(right), everyone),
            "error_of_face": of(np.abs(own["years"][source] - truths.years[target])),
        },
        "distance": {
            name: {
                "made": of(values),
                "face": of(own["distance"][name]),
                "made - face": of(values - own["distance"][name]),
                "unit": UNITS.get(name, "of the mean brightness"),
            }
            for name, values in made.distance.items()
        },
        "way": {name: means.of(getattr(made, name), everyone) for name in ("step", "detour", "leap")},
        "counts": {"subjects": len(np.unique(truths.subject)), "faces": len(truths), "pairs": len(source)},
    }


def of_part(means: Means, values: np.ndarray, whose: np.ndarray, part: np.ndarray) -> dict[str, Any]:
    """The mean of some of the values."""
    return means.of(values[part], whose[part])


def differences(truths: Truths, thresholds: Mapping[str, float], one: Made, other: Made) -> dict[str, Any]:
    """One synthesis less another, of the same pairs."""
    means, source = Means(truths.subject), one.pairs[:, 0]
    truth = truths.years[one.pairs[:, 1]]
    gaps = {f"kept@{far}": (one.cosine > t).astype(float) - (other.cosine > t) for far, t in thresholds.items()}
    gaps |= {"cosine": one.cosine - other.cosine}
    gaps |= {"age_error": np.abs(one.years - truth) - np.abs(other.years - truth)}
    gaps |= {f"distance.{name}": values - other.distance[name] for name, values in one.distance.items()}
    found = {name: means.of(values, source) for name, values in gaps.items()}
    everyone = np.arange(len(truths))
    ways = ("step", "detour", "leap")
    return found | {name: means.of(getattr(one, name) - getattr(other, name), everyone) for name in ways}


def _ages(truths: Truths) -> list[int]:
    return [int(age) for age in np.unique(truths.years)]
