"""Attribute metrics against scikit-learn, and the case that fooled the thesis."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, roc_auc_score

from pipeline.verification import resample
from stages.evaluate.attributes import attribute_scores, class_counts, confusion


def scored(seed: int, classes: int, sharpness: float):
    rng = np.random.default_rng(seed)
    truth = rng.integers(-1, classes, size=200)
    subjects = np.repeat(np.arange(40).astype(str), 5)
    logits = rng.normal(size=(200, classes)) + sharpness * (truth[:, None] == np.arange(classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, truth, subjects, resample(40, 200, rng)


@pytest.mark.parametrize("classes", [2, 5])
def test_agrees_with_sklearn(classes):
    probabilities, truth, subjects, weights = scored(0, classes, 1.0)
    found = attribute_scores(probabilities, truth, subjects, weights)
    known = truth >= 0
    score = probabilities[known, 1] if classes == 2 else probabilities[known]
    expected = roc_auc_score(truth[known], score, multi_class="ovr")
    assert found["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
    guess = probabilities[known].argmax(axis=1)
    assert found["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(truth[known], guess))
    assert found["f1"]["value"] == pytest.approx(f1_score(truth[known], guess, average="macro"))
    assert (confusion(probabilities.argmax(axis=1), truth, classes) == confusion_matrix(truth[known], guess)).all()
    for rate in found.values():
        assert rate["low"] < rate["value"] < rate["high"]


def test_resamples_agree_with_sklearns_weights():
    probabilities, truth, subjects, weights = scored(1, 2, 1.0)
    found = attribute_scores(probabilities, truth, subjects, weights[:1])["auroc"]
    known = truth >= 0
    times = weights[0][np.unique(subjects, return_inverse=True)[1]]
    expected = roc_auc_score(truth[known], probabilities[known, 1], sample_weight=times[known])
    assert found["low"] == found["high"] == pytest.approx(expected, abs=1e-12)


def test_a_random_predictor_is_at_one_half():
    """The thesis scored "was the prediction right" by the chance of the true class, and a random predictor got 1.0."""
    found = attribute_scores(*scored(2, 2, 0.0))
    assert found["auroc"]["value"] == pytest.approx(0.5, abs=0.1)
    assert found["auroc"]["low"] < 0.5 < found["auroc"]["high"]
    assert found["balanced_accuracy"]["value"] == pytest.approx(0.5, abs=0.1)


def test_a_constant_answer_earns_nothing():
    probabilities, truth, subjects, weights = scored(3, 2, 0.0)
    probabilities[:] = [0.9, 0.1]
    found = attribute_scores(probabilities, truth, subjects, weights)
    assert found["auroc"]["value"] == found["balanced_accuracy"]["value"] == 0.5


def test_one_class_or_no_label_says_so():
    probabilities, truth, subjects, weights = scored(0, 2, 1.0)
    assert attribute_scores(probabilities, np.full(200, -1), subjects, weights) == {
        "absent": "no session has the label"
    }
    one = np.where(truth == 1, 1, -1)
    reason = f"all {(truth == 1).sum()} labelled sessions are of one class"
    assert attribute_scores(probabilities, one, subjects, weights) == {"absent": reason}


def test_a_class_of_one_subject_has_an_interval_all_the_same():
    probabilities, _, subjects, weights = scored(0, 2, 1.0)
    found = attribute_scores(probabilities, (subjects == "7").astype(int), subjects, weights)
    assert np.isfinite(list(found["auroc"].values())).all()


def test_counts():
    counts = class_counts(np.array([0, 0, 1, -1]), np.array(list("aabb")), ("no", "yes"))
    assert counts == {
        "no": {"sessions": 2, "subjects": 1},
        "yes": {"sessions": 1, "subjects": 1},
        "missing": {"sessions": 1},
    }
