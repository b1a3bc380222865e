"""Schedules, weights, samples and history."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PsfaceError, UserError
from pipeline.faces import Faces, preprocess
from pipeline.fitting import (
    History,
    balanced_accuracy,
    check_samples,
    fabric_precision,
    learning_rate,
    native_bf16,
    norm_summary,
    stop_unless_finite,
    subject_weights,
    verify,
)
from pipeline.samples import FaceStore, Samples, read_samples
from pipeline.tables import write_parquet


def samples(subjects: list[str], **changes: np.ndarray) -> Samples:
    count = len(subjects)
    values = {
        "session": np.array([f"{s}/{i}" for i, s in enumerate(subjects)]),
        "subject": np.array(subjects),
        "row": np.arange(count),
        "labels": {},
        "weight": np.ones(count, dtype=np.float32),
    }
    return Samples(**{**values, **changes})


@given(st.floats(0, 1), st.floats(0.01, 0.9))
def test_learning_rate_stays_between_zero_and_its_peak(progress: float, warmup: float) -> None:
    assert 0 <= learning_rate(progress, 2.0, warmup) <= 2.0


def test_learning_rate_rises_then_falls_to_zero() -> None:
    values = [learning_rate(p / 100, 1.0, 0.1) for p in range(101)]
    assert values[10] == max(values) == 1.0
    assert values[5] == pytest.approx(0.5)
    assert values[55] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0)


def test_precision() -> None:
    assert fabric_precision("bf16") == "bf16-mixed"
    assert fabric_precision("32") == "32-true"
    assert fabric_precision("auto") == ("bf16-mixed" if native_bf16() else "32-true")


def test_precision_without_torchs_private_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert fabric_precision("auto") == "32-true"


def test_subjects_that_come_often_weigh_less_each_and_more_together() -> None:
    weight = subject_weights(samples(["a"] * 9 + ["b"]))
    assert weight.mean() == pytest.approx(1)
    assert weight[9] / weight[0] == pytest.approx(3)


def test_balanced_accuracy_is_the_mean_recall_of_known_labels() -> None:
    said = np.eye(2)[[0, 0, 0, 1, 0, 1]]
    assert balanced_accuracy(said, np.array([0, 0, 0, 0, 1, -1])) == pytest.approx((3 / 4 + 0) / 2)
    assert balanced_accuracy(said, np.array([0, 0, 0, -1, -1, -1])) is None


def test_verify_is_a_count_of_pairs() -> None:
    found = verify(np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]), samples(["a", "a", "b", "b"]))
    assert found == {"auc": 1.0, "eer": 0.0}


def test_splits_that_cannot_be_used_are_refused() -> None:
    good = samples(["a", "a", "b", "b"])
    with pytest.raises(UserError, match="one subject only"):
        check_samples(samples(["a", "a"]), samples(["c", "c", "d"]))
    with pytest.raises(UserError, match=r"raise balance\.validation"):
        check_samples(good, samples(["c", "d"]))
    check_samples(good, samples(["c", "c", "d"]))


def test_a_loss_that_is_not_finite_is_named() -> None:
    stop_unless_finite(None, epoch=1, batch=1, section="train.normal")
    with pytest.raises(PsfaceError, match=r"the pose loss is not finite at epoch 3, batch 14: lower train\.normal\.lr"):
        stop_unless_finite("pose", epoch=3, batch=14, section="train.normal")


def test_norm_summary() -> None:
    found = norm_summary(torch.arange(101.0), torch.arange(101.0) < 10)
    assert found == pytest.approx({"norm_mean": 50, "norm_low": 5, "norm_high": 95, "clamped": 10 / 101})


def test_history_is_written_the_same_twice(tmp_path: Path) -> None:
    def row(epoch: int) -> dict[str, float]:
        norms = {"norm_mean": 16.0, "norm_low": 14.0, "norm_high": 18.0}
        return {"epoch": epoch, "loss_identity": 1 / epoch, "validation_auc": 0.9, "validation_pose": np.nan, **norms}

    history = History()
    for epoch in (1, 2):
        history.add(**row(epoch))
    for name in ("a", "b"):
        history.write(tmp_path / f"{name}.csv")
        history.draw(tmp_path / f"{name}.png", "normal")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["epoch"].tolist() == [1, 2]
    assert table["validation_pose"].isna().all()


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Five sessions of two subjects; the third has no face, the last is not kept."""
    ids, subjects = ["a/1", "a/2", "a/3", "b/1", "b/2"], ["a", "a", "a", "b", "b"]
    rng = np.random.default_rng(0)
    np.save(tmp_path / "normal.npy", rng.normal(size=(4, 8, 8, 3)).astype(np.float16))
    np.save(tmp_path / "albedo.npy", rng.uniform(0.2, 1, size=(4, 8, 8, 1)).astype(np.float16))
    np.save(tmp_path / "mask.npy", rng.integers(0, 2, (4, 8, 8)).astype(np.uint8))
    write_parquet(
        tmp_path / "index.parquet", pd.DataFrame({"session": ids, "subject": subjects, "row": [0, 1, -1, 2, 3]})
    )
    codes = {"pose": [0, 2, 1, -1, 4], "gender": [0, 0, 0, 1, 1]}
    write_parquet(
        tmp_path / "sessions.parquet", pd.DataFrame({"id": ids[::-1], **{k: v[::-1] for k, v in codes.items()}})
    )
    split = {
        "session": ids,
        "subject": subjects,
        "split": "train",
        "keep": [True] * 4 + [False],
        "weight": [1.0, 2, 3, 4, 5],
    }
    write_parquet(tmp_path / "splits.parquet", pd.DataFrame(split))
    return tmp_path


def read(folder: Path, split: str = "train", vocabulary: str = "binary") -> Samples:
    tables = {"sessions": folder / "sessions.parquet", "splits": folder / "splits.parquet"}
    return read_samples(split, faces=Faces(folder), **tables, attributes=["pose", "gender"], vocabulary=vocabulary)


def test_samples_are_kept_sessions_with_a_face(packed: Path) -> None:
    found = read(packed)
    assert found.session.tolist() == ["a/1", "a/2", "b/1"]
    assert found.row.tolist() == [0, 1, 2]
    assert found.weight.tolist() == [1, 2, 4]
    assert {k: v.tolist() for k, v in found.labels.items()} == {"pose": [0, 1, -1], "gender": [0, 0, 1]}
    assert read(packed, vocabulary="photoface").labels["pose"].tolist() == [0, 2, -1]
    assert found.counts("pose", "binary") == [1, 1]
    assert read(packed, vocabulary="photoface").counts("pose", "photoface") == [1, 0, 1, 0, 0]


def test_an_empty_split_or_a_strange_session_is_refused(packed: Path) -> None:
    with pytest.raises(UserError, match="no session of the test split has a face"):
        read(packed, "test")
    table = pd.read_parquet(packed / "sessions.parquet")
    write_parquet(packed / "sessions.parquet", table[table["id"] != "a/2"])
    with pytest.raises(UserError, match="session a/2 is not in"):
        read(packed)


def test_another_table_in_the_place_of_the_splits_is_named(packed: Path) -> None:
    """Regression: a KeyError and its traceback."""
    write_parquet(packed / "splits.parquet", pd.DataFrame({"session": ["a/1"]}))
    with pytest.raises(UserError, match=r"splits\.parquet is not the table that `psface balance` writes"):
        read(packed)


def test_store_is_preprocess_held_or_not(packed: Path) -> None:
    faces, rows, chosen = Faces(packed), np.array([0, 1, 3]), np.array([2, 0])
    held = FaceStore(faces, ["normal", "albedo"], rows)
    streamed = FaceStore(faces, ["normal", "albedo"], rows, held=0)
    assert streamed.held is None
    for name in ("normal", "albedo"):
        expected = preprocess(faces.array(name)[[3, 0]], faces.mask()[[3, 0]], name)
        np.testing.assert_array_equal(held.take(chosen)[name].numpy(), expected)
        np.testing.assert_array_equal(streamed.take(chosen)[name].numpy(), expected)
        torch.testing.assert_close(held.all()[name], streamed.all()[name])


def test_a_store_is_shown_in_parts_once_through_and_in_order(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.samples.SEEN", 2)
    faces, rows = Faces(packed), np.array([2, 0, 3, 1, 2])
    store = FaceStore(faces, ["normal"], rows)
    for count in (5, 3, 0):
        parts = [faces["normal"] for faces, _ in store.parts(count)]
        assert max(len(part) for part in parts) <= 2
        assert torch.equal(torch.cat(parts), store.take(np.arange(count))["normal"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("held", [2**30, 0])
def test_faces_that_are_no_numbers_are_refused_where_a_network_would_see_them(
    packed: Path, value: float, held: int
) -> None:
    albedo, mask = (np.load(packed / f"{name}.npy") for name in ("albedo", "mask"))
    mask[3, 0, 0], mask[3, 1, 1] = 0, 1
    np.save(packed / "mask.npy", mask)
    for place in (0, 1):
        albedo[3, place, place] = value
        np.save(packed / "albedo.npy", albedo)
        refused = pytest.raises(UserError, match=r"albedo\.npy: the face of session b/2 holds NaN or infinite values")
        with refused if place else contextlib.nullcontext():
            FaceStore(Faces(packed), ["normal", "albedo"], np.arange(4), held=held)
    FaceStore(Faces(packed), ["normal", "albedo"], np.arange(3), held=held)  # whom nobody looks at


def test_training_redraws_the_photograph_of_frame(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = rng.uniform(0.1, 1, (3, 8, 8, 4)).astype(np.float16)
    np.save(tmp_path / "frames.npy", frames)
    np.save(tmp_path / "frame.npy", frames[..., :1])
    np.save(tmp_path / "mask.npy", np.ones((3, 8, 8), np.uint8))
    write_parquet(tmp_path / "index.parquet", pd.DataFrame({"session": ["a", "b", "c"], "row": [0, 1, 2]}))
    faces, rows = Faces(tmp_path), np.arange(3)
    mask = np.ones((3, 8, 8), np.uint8)
    each = np.stack([preprocess(frames[..., i : i + 1], mask, "frame")[:, 0] for i in range(4)], axis=1)
    for held in (2**30, 0):
        store = FaceStore(faces, ["frame"], rows, redraw=True, held=held)
        seen = {0: set(), 1: set(), 2: set()}
        draws = torch.Generator().manual_seed(7)
        for _ in range(60):
            taken = store.take(rows, draws)["frame"].numpy()
            assert taken.shape == (3, 1, 8, 8)
            for i in rows:
                seen[i].add(next(j for j in range(4) if np.array_equal(each[i, j], taken[i, 0])))
        assert all(drawn == {0, 1, 2, 3} for drawn in seen.values())


REUSE = """
import resource, torch
from pipeline.fitting import keep_freed_memory
{}
for _ in range(8):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(32):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_is_used_again() -> None:
    """Some of the blocks of 64 MB may start in new pages still."""
    runs = [subprocess.run([sys.executable, "-c", REUSE.format(call)], capture_output=True, text=True, check=True)
            for call in ("", "keep_freed_memory()")]  # fmt: skip
    plain, kept = (int(run.stdout) for run in runs)
    assert kept < plain / 2
