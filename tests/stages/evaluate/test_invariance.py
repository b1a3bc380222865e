"""Scores split by what changed, groups at one threshold, and probes on frozen embeddings: each against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.verification import matrix_pairs, rates, resample
from stages.evaluate import probes
from stages.evaluate.ages import age_group
from stages.evaluate.differentials import differentials, subject_groups
from stages.evaluate.groups import group_aucs, operating
from stages.evaluate.probes import probe_attributes
from stages.evaluate.splits import ByAge, ByClass, ages_apart, conditions, make_splits, split_scores


def population(seed: int = 0, subjects: int = 30, each: int = 6, shift: float = 0.0):
    """Embeddings whose sessions in spectacles are moved by `shift` along one axis."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"s{i:02d}" for i in range(subjects)], each)
    worn = rng.integers(0, 2, size=len(labels))
    vectors = rng.normal(size=(subjects, 12)).repeat(each, axis=0) + 0.6 * rng.normal(size=(len(labels), 12))
    vectors[:, 0] += shift * worn
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit, labels, worn


def scored(shift: float):
    unit, labels, worn = population(shift=shift)
    similarity = unit @ unit.T
    weights = resample(30, 100, np.random.default_rng(1))
    at = operating(matrix_pairs(similarity, labels), weights)
    return split_scores(at, similarity, labels, {"spectacles": ByClass(worn, ("no", "yes"))})["spectacles"], at, worn


def test_the_groups_are_those_of_a_loop():
    found, at, worn = scored(1.5)
    first, second = worn[at.scores.genuine_sessions]
    changed = first != second
    assert found["changed"]["counts"]["genuine"] == changed.sum()
    assert found["same"]["counts"]["genuine"] == (~changed).sum()
    assert found["changed"]["tmr"]["value"] == np.mean(at.scores.genuine[changed] > at.threshold)
    both = (worn[at.scores.impostor_sessions] == 1).all(axis=0)
    assert found["yes"]["fmr"]["value"] == np.mean(at.scores.impostor[both] > at.threshold)
    auc = rates(at.scores.subset(changed, np.ones(len(at.scores.impostor), bool)))["auc"][0]
    assert found["changed"]["auc"]["value"] == pytest.approx(auc, abs=1e-12)


def test_resampled_shares_are_those_of_copied_subjects():
    _, at, worn = scored(1.5)
    both = (worn[at.scores.impostor_sessions] == 1).all(axis=0)
    share = at.fmr(both)
    times = at.weights[3][at.scores.impostor_subjects[:, both]].prod(axis=0)
    taken = at.scores.impostor[both] > at.threshold
    assert share.draws[3] == pytest.approx((times * taken).sum() / times.sum())
    times = at.weights[3][at.scores.genuine_subject]
    taken = at.scores.genuine > at.threshold
    assert at.tmr(np.ones(len(taken), bool)).draws[3] == pytest.approx((times * taken).sum() / times.sum())


def test_what_changes_the_face_shows_as_a_gap_and_nothing_does_not():
    moved, still = scored(3.0)[0], scored(0.0)[0]
    assert moved["gap"]["rank1"]["high"] < -0.1
    assert moved["gap"]["tmr"]["high"] < -0.1
    assert moved["yes"]["fmr"]["value"] > 2 * moved["changed"]["fmr"]["value"]
    assert still["gap"]["rank1"]["low"] < 0.02
    assert still["gap"]["rank1"]["high"] > -0.02


def test_the_rank1_of_all_is_that_of_its_parts():
    unit, labels, worn = population()
    similarity = unit @ unit.T
    at = operating(matrix_pairs(similarity, labels), resample(30, 100, np.random.default_rng(1)))
    one = split_scores(at, similarity, labels, {"x": ByClass(np.zeros(len(worn), dtype=int), ("all",))})["x"]
    from pipeline.identification import protocols

    overall = protocols(similarity, labels, np.array(["a"] * len(labels)))["overall"].cmc()[0]
    assert one["same"]["rank1"]["value"] == pytest.approx(overall)
    assert one["same"]["counts"]["probes"] == 180 - 30  # of each subject's six sessions one is in the gallery
    assert one["changed"] == {"absent": "0 genuine pairs; 30 are needed"}


def test_probes_are_counted_with_the_chance_that_their_own_session_is_drawn():
    """Rates of rank 1 had no count: neither a group's nor the gap's."""
    found, at, worn = scored(1.5)
    pairs = at.scores.genuine_sessions  # each with either session for the probe, the other drawn one time of six
    for name, mask in conditions(worn, ("no", "yes"), pairs).items():
        assert found[name]["counts"]["probes"] == pytest.approx(2 * mask.sum() / 6)
    assert found["gap"]["counts"] == {"genuine": pairs.shape[1], "probes": pytest.approx(150)}


def test_sessions_without_the_label_are_in_no_group():
    pairs = np.array([[0, 0, 1], [1, 2, 2]])
    found = conditions(np.array([0, 0, -1]), ("no", "yes"), pairs)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "no": [True, False, False],
        "yes": [False] * 3,
        "same": [True, False, False],
        "changed": [False] * 3,
    }


def test_group_aucs_with_resamples_are_the_rates_of_the_subset():
    unit, labels, _ = population()
    scores = matrix_pairs(unit @ unit.T, labels)
    weights = resample(30, 40, np.random.default_rng(0))
    mask = scores.genuine_sessions[0] % 2 == 0
    draws = rates(scores.subset(mask, np.ones(len(scores.impostor), bool)), weights=weights)["auc"]
    found = group_aucs(scores, {"even": mask}, weights)["even"]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


def test_too_few_pairs_for_the_threshold_say_so():
    unit, labels, _ = population(subjects=4)
    assert "needs at least 3000" in operating(matrix_pairs(unit @ unit.T, labels), np.ones((2, 4)))


def test_differentials_at_one_threshold():
    """Women's scores are noisier here: their FNMR is higher, and the ratio says by how much."""
    rng = np.random.default_rng(0)
    labels = np.repeat([f"s{i:02d}" for i in range(40)], 6)
    female = np.repeat(np.arange(40) % 2 == 0, 6)
    noise = np.where(female, 1.2, 0.4)[:, None] * rng.normal(size=(240, 12))
    vectors = rng.normal(size=(40, 12)).repeat(6, axis=0) + noise
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    at = operating(matrix_pairs(unit @ unit.T, labels), resample(40, 200, rng))
    facts = {"age": np.repeat(np.linspace(20, 60, 40), 6), "albedo": np.full(240, np.nan)}
    groups = subject_groups(labels, np.where(female, 0, 1), facts)
    found = differentials(at, groups)
    women = found["gender"]["female"]
    assert women["counts"]["subjects"] == 20
    assert women["counts"]["false_non_matches"] == round(women["fnmr"]["value"] * women["counts"]["genuine"])
    assert found["gender"]["ratio"]["fnmr"]["highest"] == "female"
    assert found["gender"]["ratio"]["fnmr"]["low"] > 1
    assert found["skin_tone"] == {"absent": "no group is known and large enough"}
    assert found["age"]["under_30"]["counts"]["subjects"] == (np.linspace(20, 60, 40) < 30).sum()


def test_the_ratio_to_a_rate_that_one_subject_makes_is_open_above():
    """All errors of one group are one subject's: a third of the resamples lack him, and the ratio has no upper end."""
    rng = np.random.default_rng(0)
    labels = np.repeat([f"s{i:02d}" for i in range(40)], 6)
    noise = np.where(np.repeat(np.arange(40) % 2 == 0, 6), 0.9, 0.05)
    noise[6:12] = 2.0  # the second subject, who is a man
    vectors = rng.normal(size=(40, 12)).repeat(6, axis=0) + noise[:, None] * rng.normal(size=(240, 12))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    at = operating(matrix_pairs(unit @ unit.T, labels), resample(40, 400, rng))
    gender = np.repeat(np.arange(40) % 2, 6)
    facts = {"age": np.full(240, np.nan), "albedo": np.full(240, np.nan)}
    found = differentials(at, subject_groups(labels, gender, facts))["gender"]
    ratio = found["ratio"]["fnmr"]
    assert (ratio["highest"], ratio["lowest"]) == ("female", "male")
    assert found["male"]["counts"]["false_non_matches"] > 0
    assert found["male"]["fnmr"]["low"] == 0
    assert ratio["low"] < ratio["value"]
    assert ratio["high"] is None


def test_a_gender_is_what_no_session_of_the_subject_contradicts():
    labels = np.repeat(list("abcd"), 3)
    facts = {"age": np.full(12, np.nan), "albedo": np.full(12, np.nan)}
    gender = np.array([-1, 1, 1, 0, 0, 0, 0, 1, 0, -1, -1, -1])
    assert subject_groups(labels, gender, facts)["gender"][0].tolist() == [1, 0, -1, -1]


def split(seed: int, subjects: int, leak: float, curved: bool = False):
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(subjects), 5)
    label = rng.integers(0, 2, size=len(people))
    vectors = rng.normal(size=(len(people), 16))
    signs = rng.choice([-1, 1], size=len(people)) if curved else 1
    vectors[:, 0] += leak * signs * (2 * label - 1)
    if curved:
        vectors[:, 1] += leak * signs
    return vectors, np.array([f"{seed}-{p}" for p in people]), {"spectacles": label}


def _of_width(width: int):
    vectors, people, labels = split(0, 80, 0.0)
    return np.random.default_rng(1).normal(size=(len(vectors), width)), people, labels


def test_a_probe_finds_what_is_there_and_nothing_where_nothing_is():
    weights = resample(40, 100, np.random.default_rng(0))
    leaking = probe_attributes(split(0, 80, 2.0), split(1, 40, 2.0), weights, seed=7)["spectacles"]
    silent = probe_attributes(split(2, 80, 0.0), split(4, 40, 0.0), weights, seed=7)["spectacles"]
    for kind in ("linear", "mlp", "crossed"):
        assert leaking[kind]["value"] > 0.85
        assert leaking[f"{kind}_auroc"]["value"] > 0.9
        assert silent[kind]["low"] < 0.5 < silent[kind]["high"]
    assert leaking["chance"] == {"value": 0.5}


def test_the_crossed_probe_finds_what_was_erased_by_the_look_of_training_subjects_alone():
    """Its line is fitted on strangers to the training, so a line that is only silent there does not deceive it."""
    train, test = split(0, 80, 0.0), split(1, 60, 2.0)
    found = probe_attributes(train, test, resample(60, 100, np.random.default_rng(0)), seed=7)["spectacles"]
    assert found["linear"]["value"] < 0.7
    assert found["crossed"]["value"] > 0.9


def test_the_crossed_probe_is_never_tried_on_a_subject_that_it_has_seen():
    """Each subject has a class and a place of its own: told again it is known, told first it is a guess."""
    rng = np.random.default_rng(5)
    people = np.repeat(np.arange(60), 5)
    label = rng.integers(0, 2, size=60)[people]
    vectors = rng.normal(size=(60, 200))[people] + 0.1 * rng.normal(size=(300, 200))
    test = vectors, np.array([f"t{p}" for p in people]), {"spectacles": label}
    found = probe_attributes(_of_width(200), test, resample(60, 100, rng), seed=7)["spectacles"]
    assert found["crossed"]["low"] < 0.5 < found["crossed"]["high"]


def classed(shares: tuple[int, ...]):
    """Ten sessions each of subjects of one class, which shows plainly; the shares are subjects by class."""
    rng = np.random.default_rng(4)
    label = np.repeat(np.repeat(np.arange(len(shares)), shares), 10)
    vectors = rng.normal(size=(len(label), 8))
    vectors[np.arange(len(label)), label] += 8
    return vectors, label, np.repeat([f"s{i:02d}" for i in range(sum(shares))], 10)


def test_a_half_that_lacks_a_class_says_nothing_of_it_and_the_others_keep_their_places():
    """Columns were taken for classes: of a half without the class 1, the class 2 was read as 1, or nothing fitted."""
    vectors, label, people = classed((8, 1, 8))
    said = probes._crossed(vectors, label, people, 7, 3)
    assert said.shape == (170, 3)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert (said.argmax(axis=1) == label)[label != 1].mean() > 0.95
    assert (said[label == 1, 1] == 0).all()  # the half that it was tried by has never seen it
    alone = probes._crossed(vectors[label == 2], label[label == 2], people[label == 2], 7, 3)
    assert (alone == [0, 0, 1]).all()


def test_a_line_is_chosen_though_those_that_it_is_fitted_on_lack_a_class(monkeypatch: pytest.MonkeyPatch):
    """The strength was chosen by columns that were other classes."""
    vectors, label, people = classed((8, 4, 8))
    monkeypatch.setattr(probes, "_held_out", lambda labels, *_: labels == 0)
    scored = []
    balanced = probes._balanced
    monkeypatch.setattr(probes, "_balanced", lambda *given: scored.append(given[0]) or balanced(*given))
    read = probes._linear(vectors, label, people, 7, 3)
    assert len(scored) == len(probes.STRENGTHS)
    assert all((said[:, 0] == 0).all() for said in scored)
    assert (read(vectors).argmax(axis=1) == label).mean() > 0.95


def test_the_mlp_finds_what_a_line_cannot():
    weights = resample(40, 100, np.random.default_rng(0))
    found = probe_attributes(split(0, 200, 3.0, curved=True), split(1, 40, 3.0, curved=True), weights, seed=7)
    assert found["spectacles"]["linear"]["value"] < 0.65
    assert found["spectacles"]["mlp"]["value"] > found["spectacles"]["linear"]["value"] + 0.15


def test_a_probe_never_meets_a_test_subject_and_wants_both_classes():
    data = split(0, 40, 1.0)
    with pytest.raises(ValueError, match="other subjects"):
        probe_attributes(data, data, np.ones((1, 40)), seed=7)
    vectors, people, labels = split(1, 40, 1.0)
    one = {"spectacles": np.zeros_like(labels["spectacles"])}
    found = probe_attributes(data, (vectors, people, one), np.ones((1, 40)), seed=7)
    assert found["spectacles"] == {"absent": "0 test sessions of 0 subjects have the class 1"}


def aged(drift: float):
    """30 people at six ages each: embeddings move with the age, each person's in a direction of its own."""
    rng = np.random.default_rng(2)
    labels = np.repeat([f"s{i:02d}" for i in range(30)], 6)
    years = rng.uniform(5, 75, size=len(labels))
    years[0] = np.nan
    moves = rng.normal(size=(30, 12)).repeat(6, axis=0) * (np.nan_to_num(years, nan=40)[:, None] - 40) / 35
    vectors = rng.normal(size=(30, 12)).repeat(6, axis=0) + 0.4 * rng.normal(size=(len(labels), 12)) + drift * moves
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    at = operating(matrix_pairs(unit @ unit.T, labels), resample(30, 100, np.random.default_rng(1)))
    return split_scores(at, unit @ unit.T, labels, {"age": ByAge(years)})["age"], at, years


def test_pairs_by_the_years_between_them_are_those_of_a_loop_at_the_thresholds_of_all():
    found, at, years = aged(1.0)
    gap = np.abs(np.subtract(*years[at.scores.genuine_sessions]))
    masks = {"0_to_10": gap <= 10, "10_to_30": (gap > 10) & (gap <= 30), "over_30": gap > 30}
    for name, mask in masks.items():
        assert found[name]["counts"]["genuine"] == mask.sum()
        missed = np.mean(at.scores.genuine[mask] <= at.threshold)
        assert found[name]["fnmr@fmr=1e-2"]["value"] == pytest.approx(missed)
        assert found[name]["fnmr@fmr=1e-2"]["low"] < found[name]["fnmr@fmr=1e-2"]["high"]
        eer = rates(at.scores.subset(mask, np.ones(len(at.scores.impostor), bool)))["eer"][0]
        assert found[name]["eer"]["value"] == pytest.approx(eer)
        assert "needs at least" in found[name]["fnmr@fmr=1e-3"]["absent"]
    assert sum(mask.sum() for mask in masks.values()) == len(gap) - 5  # one session's age is not known


def test_years_cost_where_faces_move_with_them_and_nothing_where_not():
    moved, still = aged(1.5)[0], aged(0.0)[0]
    assert moved["gap"]["tmr"]["high"] < -0.2
    assert still["gap"]["tmr"]["low"] < 0.02
    assert still["gap"]["tmr"]["high"] > -0.02


def test_pairs_are_split_by_age_only_where_somebody_comes_at_several():
    subjects = np.array(["a", "a", "b", "b"])
    assert not ages_apart(np.array([20.0, 30, 50, 50]), subjects)
    assert ages_apart(np.array([20.0, 30.5, 50, 50]), subjects)
    assert not ages_apart(np.array([20.0, np.nan, 50, np.nan]), subjects)
    rigs = np.array(["x"] * 4)
    assert list(make_splits({}, rigs, np.full(4, np.nan), subjects)) == ["rig"]
    assert list(make_splits({}, rigs, np.array([1.0, 70, 5, 5]), subjects)) == ["rig", "age"]


def test_ages_are_probed_by_their_published_group():
    ages = np.array([np.nan, -1, 0, 10, 10.5, 20, 60, 60.1, 99])
    assert age_group(ages).tolist() == [-1, -1, 0, 0, 1, 1, 5, 6, 6]


def grouped(seed: int, subjects: int, leak: float):
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(subjects), 7)
    group = rng.integers(0, 7, size=len(people))
    vectors = rng.normal(size=(len(people), 16))
    vectors[:, :2] += leak * np.stack([np.cos(group / 2), np.sin(group / 2)], axis=1)
    return vectors.astype(np.float32), np.array([f"{seed}-{p}" for p in people]), {"age": group}


def test_probes_read_one_of_several_classes_and_chance_is_one_of_as_many():
    weights = resample(60, 100, np.random.default_rng(0))
    leaking = probe_attributes(grouped(0, 120, 12.0), grouped(1, 60, 12.0), weights, seed=7)["age"]
    silent = probe_attributes(grouped(4, 120, 0.0), grouped(5, 60, 0.0), weights, seed=7)["age"]
    for kind in ("linear", "mlp", "crossed"):
        assert leaking[kind]["value"] > 0.6
        assert leaking[f"{kind}_auroc"]["value"] > 0.9
        assert abs(silent[kind]["value"] - 1 / 7) < 0.06
    assert leaking["chance"] == {"value": 1 / 7}
