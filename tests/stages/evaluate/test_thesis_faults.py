"""The faults of the thesis's evaluation (nkt780426/3d_face_recognition_magface), each with the test that catches it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from pipeline.cli import main
from pipeline.errors import PsfaceError
from pipeline.identification import protocols, rank1_pairs
from pipeline.verification import pair_scores, rates, resample
from stages.evaluate import inputs
from stages.evaluate.attributes import attribute_scores
from stages.evaluate.command import command
from stages.evaluate.scoring import macro_metrics, recognise, recognition_counts, recognition_metrics


def evaluate(*arguments: str) -> dict:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(Path("runs", arguments[0], "evaluate", "metrics.json").read_text())


def test_fault_2_attributes_are_scored_against_the_true_label():
    """Labels were "the prediction is right" and scores P(true class): any predictor of two classes got 1.0."""
    rng = np.random.default_rng(0)
    truth, chance = rng.integers(0, 2, 400), rng.uniform(size=400)
    theirs = roc_auc_score((chance > 0.5) == truth, np.where(truth == 1, chance, 1 - chance))
    subjects = np.repeat(np.arange(80).astype(str), 5)
    said = np.stack([1 - chance, chance], axis=1)
    ours = attribute_scores(said, truth, subjects, resample(80, 100, rng))
    assert theirs == 1.0
    assert ours["auroc"]["low"] < 0.5 < ours["auroc"]["high"]
    assert ours["auroc"]["value"] == pytest.approx(roc_auc_score(truth, chance))


def test_fault_5_no_probe_is_its_own_gallery():
    """Rows to leave out of the probes were named by a reset index: 58 of 61 gallery sessions were probes too."""
    subjects = np.repeat(list("abcd"), 3)
    alone = np.eye(12)  # a session is like itself, and like nothing else
    ranks = protocols(alone, subjects, np.array(["r"] * 12))
    assert ranks["overall"].cmc()[0] == 0
    assert ranks["overall_full"].cmc()[0] == 0
    probe, own, *_ = rank1_pairs(alone, subjects)
    assert (probe != own).all()
    assert (subjects[probe] == subjects[own]).all()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_fault_6_a_test_subject_in_another_split_is_refused(fabricate, capsys, split):
    """Test and gallery shared 63 identities with each other; the model was chosen on test."""
    fabricate()
    splits = pd.read_parquet("data/splits.parquet")
    splits.assign(split=[split, *splits["split"][1:]]).to_parquet("data/splits.parquet", index=False)
    with pytest.raises(SystemExit):
        main(["evaluate", "normal"])
    assert f"subject 1001 is in test and {split}" in capsys.readouterr().err


def test_fault_8_tables_are_not_read_again_for_each_sample(fabricate, monkeypatch):
    """The CSV was read from disk and filtered for every sample."""
    fabricate()
    read: list[str] = []
    original = pd.read_parquet
    monkeypatch.setattr(pd, "read_parquet", lambda path, *a, **k: (read.append(str(path)), original(path, *a, **k))[1])
    evaluate("normal")
    assert len(read) < 12  # of 96 sessions


def test_fault_9_all_pairs_are_streamed():
    """Three N x N masks; the memory is held by test_allpairs.py::test_memory_is_not_quadratic, the rates here."""
    from pipeline.verification.allpairs import count_all_pairs

    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    subjects = np.repeat(np.arange(15), 4)
    expected = {name: value[0] for name, value in rates(pair_scores(vectors, subjects), [0.1]).items()}
    assert count_all_pairs(vectors, subjects).rates([0.1]) == pytest.approx(expected, abs=1e-5)


def test_fault_15_no_identity_loss_of_people_whom_no_class_stands_for(fabricate, make_run):
    """The identity loss on test was indexed with test classes, which the head does not have."""
    fabricate()
    from safetensors.numpy import load_file

    state = load_file("runs/normal/train/weights.safetensors")
    assert not [name for name in state if "margin" in name or "classes" in name]
    metrics = evaluate("normal")
    assert not [name for name in json.dumps(metrics).split('"') if "loss" in name]


def test_fault_16_one_image_a_subject_is_an_error_and_no_nan():
    """A gallery of one image an identity has no genuine pair; its AUC was printed as nan."""
    with pytest.raises(PsfaceError, match="no genuine pair among 5 sessions: some subject needs two of them"):
        pair_scores(np.eye(5), list("abcde"))


def test_fault_16_cosine_and_euclidean_are_told_apart():
    """The Euclidean figure was printed four times, under four names."""
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"s{i}" for i in range(20)], 4)
    vectors = rng.normal(size=(20, 8)).repeat(4, axis=0) + 0.5 * rng.normal(size=(80, 8))
    vectors *= rng.uniform(0.2, 5, size=(80, 1))  # lengths without meaning: cosines do not see them
    found = recognise(vectors, np.arange(80).astype(str), subjects, np.array(["r"] * 80))
    metrics = recognition_metrics(found, [0.1], resample(20, 50, rng))["verification"]
    pair = np.triu_indices(80, k=1)
    same, gaps = (subjects[:, None] == subjects)[pair], np.linalg.norm(vectors[:, None] - vectors, axis=2)[pair]
    assert metrics["auc_euclidean"]["value"] == pytest.approx(roc_auc_score(same, -gaps))
    assert metrics["auc"]["value"] > metrics["auc_euclidean"]["value"] + 0.1


def test_one_person_does_not_decide_the_macro_rates():
    """One person made 7,875 of the 9,568 genuine test pairs (82 %); the figure was his."""
    rng = np.random.default_rng(0)
    sizes = (60, *(3,) * 30)
    subjects = np.repeat([f"s{i:02d}" for i in range(31)], sizes)
    noise = np.where(subjects == "s00", 0.2, 1.5)[:, None] * rng.normal(size=(150, 12))
    found = recognise(
        rng.normal(size=(31, 12)).repeat(sizes, axis=0) + noise,
        np.arange(150).astype(str),
        subjects,
        np.array(["r"] * 150),
    )
    counts = recognition_counts(found)
    assert counts["most_genuine_of_one"] == {"subject": "s00", "genuine": 60 * 59 // 2}
    draws = resample(31, 50, rng)
    pooled, macro = (
        of(found, [0.1], draws)["verification"]["auc"]["value"] for of in (recognition_metrics, macro_metrics)
    )
    each = []
    for subject in found.scores.subjects:
        own = found.scores.subjects[found.scores.genuine_subject] == subject
        everyone = np.ones(len(found.scores.impostor), bool)
        each.append(rates(found.scores.subset(own, everyone))["auc"][0])
    assert pooled > 0.97
    assert macro < pooled - 0.05
    assert each[0] > np.mean(each[1:])


def test_what_the_whole_set_would_give_away_is_not_asked(fabricate):
    """Probes are fitted on training subjects alone: none is in the workspace here, and nothing is fitted on test."""
    fabricate()
    metrics = evaluate("normal")
    assert metrics["invariance"]["probe"] == {"absent": "no training sessions in this workspace to fit probes on"}
    assert inputs.MOST_PROBED == 2000
