"""How far a run is from the age of a face: the error in years of the mean age under what it says of each year."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.age import GROUPS, bounds_of
from pipeline.attributes import MISSING
from pipeline.verification import interval


def age_group(years: np.ndarray) -> np.ndarray:
    """(N,) the published group of each age, from 0; -1 where it is missing (NaN, or below 0)."""
    known = np.nan_to_num(years, nan=MISSING)
    return np.where(known >= 0, np.digitize(known, bounds_of(GROUPS), right=True), MISSING)


def age_scores(probabilities: np.ndarray, age: np.ndarray, subjects: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """Mean absolute error and bias in years, with 95 % intervals by resampling subjects.

    Parameters
    ----------
    probabilities
        (N, 101) of each year from 0.
    age
        (N,) years; NaN where missing.
    subjects
        (N,) labels, as sorted by `numpy.unique` the columns of `weights`.
    weights
        (R, S) how often each subject counts in each resample.

    Returns
    -------
    ``{"mean_absolute_error": {"value", "low", "high"}, "bias": {...}, "constant": {"value"}, "counts": {...}}``, where
    ``bias`` is what is said less the truth, and ``constant`` the error of the best constant, the median age; or
    ``{"absent": reason}``.
    """
    known = np.isfinite(age)
    if not known.any():
        return {"absent": "no session's age is known"}
    wrong = probabilities[known].astype(np.float64) @ np.arange(probabilities.shape[1]) - age[known]
    draws = weights[:, np.unique(subjects, return_inverse=True)[1][known]].astype(np.float64)
    with np.errstate(invalid="ignore"):  # a resample may hold no face whose age is known
        shares = draws / draws.sum(axis=1, keepdims=True)
    return {
        "mean_absolute_error": interval(float(np.abs(wrong).mean()), shares @ np.abs(wrong)),
        "bias": interval(float(wrong.mean()), shares @ wrong),
        "constant": {"value": float(np.abs(age[known] - np.median(age[known])).mean())},
        "counts": {"sessions": int(known.sum()), "subjects": len(np.unique(subjects[known]))},
    }
