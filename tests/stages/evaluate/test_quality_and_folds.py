"""Error versus discard, pairs in folds, and the examples that are shown."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.verification import matrix_pairs, resample
from stages.evaluate.folds import draw_pairs, fold_accuracy, read_pairs
from stages.evaluate.quality import error_versus_discard, qualities
from stages.evaluate.retrieval import choose_examples


def population(seed: int = 0, subjects: int = 40, each: int = 6):
    """Sessions of unequal noise, of which `good` knows."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"s{i:02d}" for i in range(subjects)], each)
    noise = rng.uniform(0.2, 1.6, size=len(labels))
    vectors = rng.normal(size=(subjects, 12)).repeat(each, axis=0) + noise[:, None] * rng.normal(size=(len(labels), 12))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T, labels, -noise, rng


def test_a_quality_that_knows_lowers_the_error_and_chance_does_not():
    similarity, labels, good, rng = population()
    weights = resample(40, 100, rng)
    quality = {"good": good, "chance": rng.normal(size=len(labels))}
    found, curves = error_versus_discard(matrix_pairs(similarity, labels), quality, weights)
    assert found["fmr"] == 0.01  # 28,080 impostor pairs are too few for 1e-3
    assert found["good"]["gain"]["low"] > 0
    assert found["chance"]["gain"]["low"] < 0 < found["chance"]["gain"]["high"] + 0.02
    assert curves["good"].iloc[0] == pytest.approx(found["start"]["value"])
    row = curves[curves["discard"] == 0.2].iloc[0]
    assert row["good"] == pytest.approx(found["good"]["fnmr@discard=0.2"]["value"])
    assert curves["good_fixed"].iloc[10] < curves["good_fixed"].iloc[0]


def test_the_pairs_dropped_are_those_of_the_lower_of_two_qualities():
    similarity, labels, good, _ = population()
    scores = matrix_pairs(similarity, labels)
    found, _ = error_versus_discard(scores, {"good": good}, np.ones((1, 40)))
    pooled = np.concatenate([good[rows].min(axis=0) for rows in (scores.genuine_sessions, scores.impostor_sessions)])
    left = sum(found["good"]["counts"].values())
    assert left == (pooled >= np.sort(pooled)[round(0.2 * len(pooled))]).sum()
    assert left / len(pooled) == pytest.approx(0.8, abs=0.01)  # pairs of one bad session are tied


def test_a_quality_that_is_unknown_or_constant_is_left_out():
    facts = {"residual": np.zeros(3), "integrability": np.array([1, np.nan, 2]), "detector": np.array([0.9, 1, 1])}
    found = qualities(np.array([[3.0, 4], [1, 0], [0, 2]]), facts)
    assert list(found) == ["norm", "detector"]
    assert found["norm"].tolist() == [5, 1, 2]


def test_drawn_folds_share_no_subject_and_balance():
    similarity, labels, *_ = population()
    pairs = draw_pairs(labels, np.random.default_rng(0))
    of = {fold: set(labels[pairs.rows[:, pairs.fold == fold]].ravel()) for fold in range(10)}
    assert sum(len(members) for members in of.values()) == len(set().union(*of.values()))
    assert pairs.same.mean() == 0.5
    found = fold_accuracy(similarity, pairs)
    assert 0.6 < found["accuracy"]["low"] < found["accuracy"]["value"] < 1
    assert draw_pairs(labels[:60], np.random.default_rng(0)) == "10 subjects; ten folds need at least 20"


def test_the_threshold_is_found_without_the_fold_it_is_tried_on():
    """Two folds whose best thresholds differ: .5 and .0; each is tried at the other's."""
    similarity = np.zeros((8, 8))
    for pair, score in zip(((0, 1), (2, 3), (4, 5), (6, 7)), (0.6, 0.4, 0.1, -0.1), strict=True):
        similarity[pair] = score
    from stages.evaluate.folds import Pairs

    rows, same, fold = np.array([[0, 2, 4, 6], [1, 3, 5, 7]]), np.array([True, False] * 2), np.array([0, 0, 1, 1])
    found = fold_accuracy(similarity, Pairs(rows, same, fold))["accuracy"]
    assert found["value"] == 0.5
    assert found["standard_error"] == 0


SESSIONS = np.array(["ann/1", "ann/2", "bob/x", "bob/y", "cid/1", "cid/2", "dan/1", "dan/2"])
LINES = ["2\t1", "ann\t1\t2", "ann\t1\tbob\ty", "cid\t1\t2", "cid\t2\tdan\t1"]


def test_reads_lfws_shape(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(LINES))
    found = read_pairs(path, SESSIONS)
    assert found.rows.tolist() == [[0, 0, 4, 5], [1, 3, 5, 6]]
    assert found.same.tolist() == [True, False, True, False]
    assert found.fold.tolist() == [0, 0, 1, 1]
    path.write_text("\n".join(LINES).replace("bob\ty", "bob\t2").replace("\t", " "))
    assert read_pairs(path, SESSIONS).rows.tolist() == found.rows.tolist()


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (0, "ten", "its first line is to hold two numbers"),
        (0, "3\t1", "4 pairs, not 3 folds of 1 genuine and 1 impostor ones"),
        (1, "ann\t1", "line 2: 2 fields"),
        (1, "eve\t1\t2", "line 2: no session 1 of subject eve is among those evaluated"),
        (2, "ann\t1\tcid\t2", "subject cid is in folds"),
        (1, "ann\t1\t1", "line 2: a session beside itself is no pair"),
        (2, "ann\t1\tann\t2", "fold 1 does not have 1 genuine pairs and as many impostor ones"),
    ],
)
def test_a_file_that_is_no_list_of_pairs_is_one_line(tmp_path, line, text, words):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join([*LINES[:line], text, *LINES[line + 1 :]]))
    with pytest.raises(UserError, match=words):
        read_pairs(path, SESSIONS)


@pytest.mark.parametrize("labels", [("", "", "", "", ""), (" 1", " 0", " 1", " 0", " 0")])
def test_reads_a_list_without_folds_as_mfr2_has_it(tmp_path, labels):
    lines = ["ann 1 2", "ann 1 bob 2", "bob x y", "cid 1 dan 2", "ann 2 cid 1"]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(line + label for line, label in zip(lines, labels, strict=True)))
    found = read_pairs(path, SESSIONS)
    assert found.rows.tolist() == [[0, 0, 2, 4, 1], [1, 3, 3, 7, 4]]
    assert found.same.tolist() == [True, False, True, False, False]
    assert found.fold.tolist() == [0, 0, 1, 1, 0]  # as many as have a pair of either kind


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ann 1 2 0\nann 1 bob x", "line 1: its label is 0, and its names say otherwise"),
        ("ann 1 2\nann 1 bob x 1", "line 2: its label is 1, and its names say otherwise"),
        ("ann 1 2\nann 1 bob x yes", "line 2: expected `subject session session`"),
        ("ann 1 2\nann 1", "line 2: expected `subject session session`"),
        ("ann 1 2\nann 1 bob x\ncid 1 2", "2 genuine and 1 impostor pairs; it takes two of each"),
        ("ann 1 2\neve 1 bob x", "no session 1 of subject eve"),
        ("ann 1 1\neve 1 bob x", "line 1: a session beside itself"),
    ],
)
def test_a_list_without_folds_that_is_none_is_one_line(tmp_path, text, words):
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_pairs(path, SESSIONS)


def test_a_list_of_pairs_that_cannot_be_read_says_so(tmp_path):
    """It was said to lack its first line."""
    with pytest.raises(UserError, match="No such file or directory"):
        read_pairs(tmp_path / "none.txt", SESSIONS)
    (tmp_path / "pairs.txt").write_bytes(b"2\t1\n\xff\xfe")
    with pytest.raises(UserError, match="not a text in UTF-8"):
        read_pairs(tmp_path / "pairs.txt", SESSIONS)


def test_examples_are_chosen_by_their_margin():
    similarity, labels, *_ = population(each=4)
    found = {each.kind: each for each in choose_examples(similarity, labels)}
    assert list(found) == ["clearest hit", "median hit", "narrowest hit", "narrowest miss", "median miss", "worst miss"]
    margins = [each.margin for each in found.values()]
    assert margins == sorted(margins, reverse=True)
    for each in found.values():
        assert each.probe not in each.found
        assert len(each.found) == 5
        assert (labels[each.found[0]] == labels[each.probe]) == (each.margin > 0)
    worst = min((similarity[p, (labels == labels[p]) & (np.arange(160) != p)].max()
                 - similarity[p, labels != labels[p]].max()) for p in range(160))  # fmt: skip
    assert found["worst miss"].margin == pytest.approx(worst)


def test_without_misses_none_are_shown():
    labels = np.repeat(list("abc"), 2)
    found = choose_examples((labels[:, None] == labels).astype(float), labels)
    assert [each.kind for each in found] == ["clearest hit", "median hit", "narrowest hit"]


PHOTOGRAPHS = np.array([f"{name}/{name}_{i}" for name in ("ann", "bob", "cid") for i in range(4)])
FLAT = ["ann_0.jpg ann_1.jpg 1", "ann_2 bob_0 0", "bob_0 bob_1.png 1", "cid_3 bob_2 0"]
CALFW = [
    "ann_0.jpg 1",
    "ann_1.jpg 1",
    "bob_0.jpg 2",
    "bob_1.jpg 2",
    "ann_2.jpg 0",
    "bob_0.jpg 0",
    "cid_3.jpg 0",
    "bob_2.jpg 0",
]


def test_reads_protocols_that_name_photographs(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(FLAT))
    flat = read_pairs(path, PHOTOGRAPHS)
    assert flat.rows.tolist() == [[0, 2, 4, 11], [1, 4, 5, 6]]
    assert flat.same.tolist() == [True, False, True, False]
    assert flat.fold.tolist() == [0, 0, 5, 5]
    path.write_text("\n".join(CALFW))
    calfw = read_pairs(path, PHOTOGRAPHS)
    assert calfw.rows.tolist() == [[0, 4, 2, 11], [1, 5, 4, 6]]
    assert calfw.same.tolist() == [True, True, False, False]
    assert calfw.fold.tolist() == [0, 1, 0, 5]
    assert fold_accuracy(np.eye(12), flat)["counts"] == {"folds": 2, "genuine": 2, "impostor": 2}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*FLAT, "ann_0 ann_9 1"], "line 5: no session is named ann_9"),
        ([*FLAT, "ann_0 ann_1"], "line 5: expected `image image 1`"),
        ([*FLAT, "ann_0 ann_1 yes"], "line 5: expected `image image 1`"),
        (CALFW[:3], "3 lines; of two lines a pair"),
        ([*CALFW, "ann_0 1", "ann_1 2"], "line 9: expected `image fold` twice"),
        (FLAT[:1], "1 genuine and 0 impostor pairs"),
    ],
)
def test_a_protocol_that_is_not_whole_is_one_line(tmp_path, lines, words):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=words):
        read_pairs(path, PHOTOGRAPHS)
