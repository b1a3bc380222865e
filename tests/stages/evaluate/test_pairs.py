"""Lists of pairs in the four shapes that protocols are published in: sound ones, and those that are none."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import UserError
from stages.evaluate.folds import fold_accuracy
from stages.evaluate.pairs import read_pairs

HUGE = "9" * 5000  # more digits than Python makes a number of

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
        (0, "ann,1,2", "with tabs or spaces between its fields"),
        (0, "3\t1", "4 pairs, not 3 folds of 1 genuine and 1 impostor ones"),
        (1, "ann\t1", "line 2: 2 fields"),
        (1, "eve\t1\t2", "line 2: no session 1 of subject eve is among those evaluated"),
        (2, "ann\t1\tcid\t2", "subject cid is in folds"),
        (1, "ann\t1\t1", "line 2: a session beside itself is no pair"),
        (0, f"{HUGE}\t1", "its first line is to hold two numbers"),
        (1, f"ann\t1\t{HUGE}", "line 2: no session 999"),
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
    assert found.fold.tolist() == [0, 0, 1, 0, 1]  # in as many folds as there are pairs of either kind


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
    assert flat.fold.tolist() == [0, 0, 1, 1]
    path.write_text("\n".join(CALFW))
    calfw = read_pairs(path, PHOTOGRAPHS)
    assert calfw.rows.tolist() == [[0, 4, 2, 11], [1, 5, 4, 6]]
    assert calfw.same.tolist() == [True, True, False, False]
    assert calfw.fold.tolist() == [0, 1, 0, 1]
    assert fold_accuracy(np.eye(12), flat)["counts"] == {"folds": 2, "genuine": 2, "impostor": 2}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*FLAT, "ann_0 ann_9 1"], "line 5: no session is named ann_9"),
        ([*FLAT, "ann_0 ann_1"], "line 5: expected `image image 1`"),
        ([*FLAT, "ann_0 ann_1 yes"], "line 5: expected `image image 1`"),
        ([*FLAT, "ann_0 ann_1 2"], "line 5: expected `image image 1`"),
        ([*FLAT, f"ann_0 ann_1 {HUGE}"], "line 5: expected `image image 1`"),
        ([*FLAT, "ann_0 bob_1 1"], r"line 5: its label is 1, and its names say otherwise \(ann and bob\)"),
        ([*FLAT, "ann_0 ann_1 0"], r"line 5: its label is 0, and its names say otherwise \(ann\)"),
        ([*FLAT, "ann_0 ann_0.jpg 1"], "line 5: a session beside itself is no pair"),
        ([*CALFW, f"ann_0 {HUGE}", f"ann_1 {HUGE}"], "line 9: expected `image fold` twice"),
        ([*CALFW, "ann_0 3", "cid_1 3"], "line 9: its label is 1, and its names say otherwise"),
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


def test_pairs_without_folds_are_dealt_to_ten_in_their_order(tmp_path):
    """As the protocols of 6,000 pairs are scored: each tenth of the genuine pairs with that of the impostor ones."""
    sessions = np.array([f"{who}/{who}_{i}" for who in ("ann", "bob") for i in range(50)])
    genuine = [f"ann_{i} ann_{i + 1} 1" for i in range(20)]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(genuine + [f"ann_{i} bob_{i} 0" for i in range(30)]))
    fold = read_pairs(path, sessions).fold
    assert fold[:20].tolist() == np.repeat(np.arange(10), 2).tolist()
    assert fold[20:].tolist() == np.repeat(np.arange(10), 3).tolist()


def test_a_name_that_two_subjects_have_names_nobody(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(FLAT).replace("ann_1.jpg", "x.jpg"))
    with pytest.raises(UserError, match=r"line 1: 2 subjects have a session named x.jpg"):
        read_pairs(path, np.array([*PHOTOGRAPHS, "ann/x", "bob/x"]))


def test_the_number_of_a_photograph_is_that_in_its_name(tmp_path):
    """ann_0002 shows no face: by their places, 3 and 4 would be other photographs."""
    sessions = np.array([f"ann/ann_000{i}" for i in (1, 3, 4)] + [f"bob/bob_000{i}" for i in (1, 2)])
    path = tmp_path / "pairs.txt"
    path.write_text("ann 1 3\nann 4 bob 2\nbob 1 2\nann 3 bob 1")
    assert read_pairs(path, sessions).rows.tolist() == [[0, 2, 3, 1], [1, 4, 4, 3]]
    path.write_text("ann 1 2\nann 4 bob 2")
    with pytest.raises(UserError, match="line 1: no session 2 of subject ann is among those evaluated"):
        read_pairs(path, sessions)
