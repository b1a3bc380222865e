"""What `psface train` refuses or tells: one line, what, where, what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.params import Train
from pipeline.tables import write_parquet
from stages.train import fit
from tests.stages.train.small import RUN, prepare


def test_a_cross_age_discriminator_without_ages_is_refused(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(cross_age=0.002)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal"])
    assert stopped.value.code == 2
    assert "add age to attributes" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_mistake_in_several_processes_is_one_line(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(batch=15)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal", "--processes", "2"])
    assert stopped.value.code == 2
    assert "a batch of 15 faces cannot be shared by 2 processes: change train.batch" in capsys.readouterr().err


def test_settings_without_effect_are_told(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody's mask is known, and the default's attributes are erased only where they are among `attributes`."""
    table = pd.read_parquet("data/sessions.parquet")
    write_parquet("data/sessions.parquet", table.assign(mask=-1))
    prepare(epochs=1, attributes={"gender": 1.0, "mask": 1.0})
    main(["train", "normal"])
    assert capsys.readouterr().err.splitlines() == [
        "note: train.normal: no training session has a label of mask: nothing is learnt of it",
        "note: train.normal: erase or adversaries name spectacles, facial_hair, expression, none of `attributes`: "
        "nothing is taken out for it",
    ]
    prepare(epochs=1)
    main(["train", "normal"])
    assert capsys.readouterr().err == ""


def test_a_loss_that_breaks_is_named(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fit, "augment", lambda faces, *_, **__: {k: x * float("nan") for k, x in faces.items()})
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal"])
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said == "psface: the identity loss is not finite at epoch 1, batch 1: lower train.normal.lr\n"
    assert RUN.exists()  # the run that was there is left as it was


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["noodle"], "noodle"),
        (["normal", "--splits", "none.parquet"], "none.parquet is missing: run `psface balance`"),
        (["depth"], "`train.depth` is missing"),
        (["defaults"], "`train.defaults` is missing"),
        (["normal", "--faces", "nowhere"], "is missing: run `psface crop`"),
        (["normal", "--output", "data"], "data holds data/faces, which is read: choose another --output"),
        (["normal", "--output", "runs"], "runs is there already and is no run: choose another --output"),
    ],
)
def test_mistakes(ready: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_batches_of_pk_that_the_faces_cannot_fill_are_refused(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: a batch of no faces, and a division by zero."""
    prepare(sampler="pk", per_subject=50, batch=100, identity={"loss": "triplet"})
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "54 training faces are not two subjects of 50 faces each" in said
    assert "lower per_subject" in said
    assert said.count("\n") == 1


def test_a_face_that_is_no_numbers_is_no_divergence(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: a NaN among the normals of one face told to lower the learning rate."""
    path, index = Path("data/faces/normal.npy"), pd.read_parquet("data/faces/index.parquet")
    normals = np.load(path)
    normals[int(index.set_index("session")["row"]["1005/2"]), 4, 5, 1] = np.nan
    np.save(path, normals)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal"])
    assert stopped.value.code == 2
    fault = "data/faces/normal.npy: the face of session 1005/2 holds NaN or infinite values: run `psface crop` again"
    assert capsys.readouterr().err == f"psface: {fault}\n"


def test_embeddings_that_diverge_name_the_parameter(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    look = fit.embed
    monkeypatch.setattr(fit, "embed", lambda *a, **k: (look(*a, **k)[0] * np.inf, *look(*a, **k)[1:]))
    prepare(epochs=1)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal"])
    assert stopped.value.code == 1
    assert "embeddings are not finite: the network has diverged; lower train.normal.lr" in capsys.readouterr().err


@pytest.mark.parametrize(("own", "other"), [("test", "train"), ("test", "validation"), ("train", "validation")])
def test_a_subject_of_two_splits_is_trained_on_by_nobody(
    ready: Path, own: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only an overlap of training and validation was seen, and among sessions with a face alone."""
    table = pd.read_parquet("data/splits.parquet")
    first = table.index[table["split"] == own][0]
    table.loc[first, ["split", "keep"]] = [other, False]
    write_parquet("data/splits.parquet", table)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert f"subject {table['subject'][first]} is in {' and '.join(sorted((own, other)))}" in said
    assert said.count("\n") == 1


def test_norms_that_would_start_outside_magfaces_range_are_refused(
    ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pins the thesis's third defect where it begins: in the settings."""
    prepare(dimension=64)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal"])
    assert stopped.value.code == 2
    assert "start with a norm of 8, outside MagFace's range" in capsys.readouterr().err
    assert Train().identity.lambda_g >= Train().identity.lambda_bound
