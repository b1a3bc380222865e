"""`psface train` on a fabricated workspace: what it leaves, that it repeats itself, resumes, and says what is wrong."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from models import create_model
from models.embedding import embed
from pipeline import work
from pipeline.cli import main
from pipeline.contract import load_run
from pipeline.faces import Faces, mirror
from pipeline.fitting import verify
from pipeline.params import Train
from pipeline.samples import FaceStore, read_samples
from pipeline.tables import write_parquet
from pipeline.work import source
from stages.train import fit

RUN = Path("runs/normal/train")
ATTRIBUTES = {"spectacles": 1.0, "facial_hair": 1.0, "expression": 1.0, "pose": 1.0, "gender": 1.0}
TINY = {"epochs": 2, "batch": 16, "width": 8, "dimension": 144, "precision": "32", "attributes": ATTRIBUTES}


def prepare(**changes: Any) -> None:
    """Split the subjects of the workspace, and write parameters."""
    table = pd.read_parquet("data/splits.parquet")
    number = table["subject"].astype(int) - 1001
    table["split"] = np.select([number < 14, number < 20], ["train", "validation"], "test")
    table["keep"] = ~table["session"].isin(["1001/3"])
    write_parquet("data/splits.parquet", table)
    Path("params.yaml").write_text(yaml.safe_dump({"train": {"normal": {**TINY, **changes}, "frames": TINY}}))


def give_ages() -> None:
    """Ages from 3 to 80, of which every fifth is missing."""
    table = pd.read_parquet("data/sessions.parquet")
    years = np.linspace(3, 80, len(table))
    table["age"] = np.where(np.arange(len(table)) % 5 == 2, -1.0, years)
    write_parquet("data/sessions.parquet", table)


@pytest.fixture
def ready(fabricate: Callable[..., Path]) -> Path:
    """A workspace with faces, labels and splits."""
    root = fabricate(lost=1)
    prepare()
    return root


def test_a_run_is_whole(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "normal"])
    assert "wrote runs/normal/train (validation AUC" in capsys.readouterr().out
    names = {"weights.safetensors", "contract.json", "history.csv", "curves.png", "validation.json"}
    assert {p.name for p in RUN.iterdir()} == names
    history = pd.read_csv(RUN / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    columns = {"lr", "reversal", "norm_mean", "norm_low", "norm_high", "clamped", "validation_auc", "validation_eer"}
    against = ("spectacles", "facial_hair", "expression")
    losses = {f"loss_{name}" for name in ("identity", *ATTRIBUTES)} | {f"loss_adversary_{name}" for name in against}
    assert columns | losses | {f"constant_{name}" for name in against} <= set(history)
    assert not any("adversary_gender" in name for name in history)
    assert history["constant_spectacles"].tolist() == pytest.approx(
        [np.log(2)] * 2, rel=0.01
    )  # no weights, classes alike


def test_erased_attributes_do_not_covary_with_the_embeddings_of_training_faces(ready: Path) -> None:
    """Close to nothing, not nothing: the views of a face are brought to unit length again when they are merged."""
    left = {}
    for erase in ([], ["spectacles", "facial_hair"]):
        prepare(erase=erase)
        main(["train", "normal"])
        contract, state = load_run(RUN)
        names = ["spectacles", "facial_hair", "gender"]
        tables = {"sessions": Path("data/sessions.parquet"), "splits": Path("data/splits.parquet")}
        train = read_samples("train", faces=Faces(Path("data/faces")), attributes=names, vocabulary="binary", **tables)
        store = FaceStore(Faces(Path("data/faces")), ["normal"], train.row)
        model = create_model(contract.network.name, **contract.network.kwargs)
        model.load_state_dict(state)
        embeddings = embed(model, store.all(), mirror=mirror)[0]
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        left[len(erase)] = [
            np.linalg.norm(np.mean(unit[codes == 1], axis=0) - np.mean(unit[codes == 0], axis=0))
            for codes in (train.labels[name] for name in names)
        ]
    assert max(left[2][:2]) < 0.2 * min(left[0][:2])
    assert left[2][2] > 0.3 * left[0][2]  # nobody asked for that


def test_weights_hold_no_class_head_and_give_the_stated_auc(ready: Path) -> None:
    main(["train", "normal"])
    contract, state = load_run(RUN)
    assert not any("centres" in name for name in state)
    assert (contract.run, contract.modalities, contract.size, contract.channels) == (
        "normal",
        ["normal"],
        32,
        {"normal": 3},
    )
    model = create_model(contract.network.name, **contract.network.kwargs)
    model.load_state_dict(state)
    faces = Faces()
    tables = {"sessions": "data/sessions.parquet", "splits": "data/splits.parquet"}
    samples = read_samples("validation", faces=faces, **tables, attributes=list(ATTRIBUTES), vocabulary="binary")
    embeddings, *_ = embed(model, FaceStore(faces, ["normal"], samples.row).all(), mirror=mirror)
    stated = yaml.safe_load((RUN / "validation.json").read_text())
    assert verify(embeddings, samples)["auc"] == pytest.approx(stated["auc"], abs=1e-6)
    assert stated["counts"] == {"subjects": 6, "sessions": 24}


def test_the_same_twice(ready: Path) -> None:
    torch.manual_seed(1)
    main(["train", "normal", "--output", "one"])
    torch.manual_seed(2)  # somebody else's random numbers are of no account
    main(["train", "normal", "--output", "two"])
    for name in ("weights.safetensors", "history.csv", "validation.json", "contract.json", "curves.png"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name


class Killed(BaseException):
    """What a kill would be, without taking the tests along."""


def test_a_killed_run_goes_on(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after every second state it saves, inside epochs and between them: the same bytes, no step twice."""
    prepare(epochs=3, patience=2, dropout=0.4)
    step, save, steps, saves = fit.Trainer._step, fit.Trainer._save, [], []
    monkeypatch.setattr(fit.Trainer, "_step", lambda self, *a: steps.append(self.epoch) or step(self, *a))
    main(["train", "normal"])
    whole, undisturbed = {p.name: p.read_bytes() for p in RUN.iterdir()}, list(steps)
    shutil.rmtree(RUN)

    def die(self: fit.Trainer) -> None:
        save(self)
        saves.append(self.begun.batches)
        if len(saves) % 2 == 0:
            raise Killed

    monkeypatch.setattr(fit.Trainer, "_save", die)
    monkeypatch.setattr(fit.Checkpoint, "due", lambda self: True)
    steps.clear()
    while not RUN.exists():
        with contextlib.suppress(Killed):
            main(["train", "normal"])
    assert {0, 1, 2} <= set(saves[1::2])  # it was killed between epochs and inside them
    assert steps == undisturbed
    assert {p.name: p.read_bytes() for p in RUN.iterdir()} == whole


def test_a_step_that_was_not_saved_is_done_again(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(dropout=0.4)
    step = fit.Trainer._step
    main(["train", "normal"])
    whole = {p.name: p.read_bytes() for p in RUN.iterdir()}
    left = iter([True] * 4 + [False])

    def die(self: fit.Trainer, *arguments: Any) -> Any:
        losses = step(self, *arguments)
        if not next(left):
            raise Killed
        return losses

    with monkeypatch.context() as patched:
        patched.setattr(fit.Trainer, "_step", die)
        with pytest.raises(Killed):
            main(["train", "normal"])
    main(["train", "normal"])
    assert {p.name: p.read_bytes() for p in RUN.iterdir()} == whole


@pytest.mark.filterwarnings("default")  # of starting processes
def test_two_processes_give_the_losses_of_one(ready: Path) -> None:
    """As far as rounding lets them, which Adam makes steps of; tests/models/test_synchronised.py is exact.

    At the default's rate of learning the first epoch may differ by 1e-2, depending on the seed: steps are kept small.
    """
    prepare(epochs=2, dropout=0.2, lr=1e-4, adversary={"lr": 1e-4})
    main(["train", "normal", "--output", "one"])
    main(["train", "normal", "--output", "two", "--processes", "2"])
    one, two = (pd.read_csv(Path(name, "history.csv")) for name in ("one", "two"))
    losses = [name for name in one if name.startswith("loss_")]
    np.testing.assert_allclose(two[losses].iloc[0], one[losses].iloc[0], rtol=1e-4)
    np.testing.assert_allclose(two[losses].iloc[1], one[losses].iloc[1], rtol=0.01)
    np.testing.assert_allclose(two["validation_auc"], one["validation_auc"], atol=0.01)
    (_, alone), (_, shared) = load_run("one"), load_run("two")
    assert {n: v.shape for n, v in alone.items()} == {n: v.shape for n, v in shared.items()}


VARIED = {
    "pk, triplets, learned weights": {
        "sampler": "pk",
        "identity": {"loss": "triplet", "margin": 0.3, "miner": "all"},
        "task_weights": "uncertainty",
    },
    "identities, ArcFace, cross-entropy": {
        "sampler": "identities",
        "identity": {"loss": "arcface", "scale": 16, "margin": 0.2},
        "attribute_loss": "cross_entropy",
        "weighted": False,
        "activation": "relu",
        "backbone": "resnet18",
    },
    "attributes, CosFace, no decomposition, an attribute absent": {
        "sampler": "attributes",
        "identity": {"loss": "cosface", "scale": 16, "margin": 0.2},
        "attention": "none",
        "attributes": {"gender": 1.0, "spectacles": 2.0},
        "adversaries": {},
    },
    "ages, and both kinds of adversary against them": {
        "sampler": "attributes",
        "identity": {"loss": "cosface", "scale": 16, "margin": 0.2},
        "attributes": {"age": 0.001, "gender": 1.0},
        "adversaries": {"age": 1.0},
        "age_groups": 4,
        "cross_age": 0.002,
    },
}


@pytest.mark.parametrize("kind", VARIED)
def test_every_variant_goes_on_where_it_was_killed(kind: str, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an epoch, to the same bytes; pins the thesis's thirteenth defect, a state that was not whole."""
    give_ages()
    prepare(**VARIED[kind])
    main(["train", "normal"])
    whole = {p.name: p.read_bytes() for p in RUN.iterdir()}
    shutil.rmtree(RUN)
    step, left = fit.Trainer._step, iter([True] * 3 + [False] + [True] * 100)

    def die(self: fit.Trainer, *arguments: Any) -> Any:
        if not next(left):
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(fit.Trainer, "_step", die)
    monkeypatch.setattr(fit.Checkpoint, "due", lambda self: True)
    with pytest.raises(Killed):
        main(["train", "normal"])
    main(["train", "normal"])
    assert {p.name: p.read_bytes() for p in RUN.iterdir()} == whole
    history = pd.read_csv(RUN / "history.csv")
    assert ("weight_identity" in history) == (VARIED[kind].get("task_weights") == "uncertainty")
    assert set(load_run(RUN)[0].attributes) == set(VARIED[kind].get("attributes", ATTRIBUTES))


def test_a_mask_is_learnt_beside_the_embedding(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Multi-task ArcFace by its parameters alone, on faces that show the mask."""
    table = pd.read_parquet("data/sessions.parquet")
    table["mask"] = np.arange(len(table)) % 2
    write_parquet("data/sessions.parquet", table)
    rows = Faces().index.set_index("session").loc[table["id"], "row"].to_numpy()
    worn = rows[(table["mask"] == 1).to_numpy() & (rows >= 0)]
    faces = np.load("data/faces/normal.npy")
    faces[worn, 20:] = [0, 0, 1]
    np.save("data/faces/normal.npy", faces)
    prepare(
        epochs=6, patience=6, attributes={"mask": 1.0}, beside=["mask"], attribute_loss="log_cross_entropy",
        attention="none", adversaries={}, identity={"loss": "arcface", "scale": 16, "margin": 0.2}, weighted=False,
    )  # fmt: skip
    main(["train", "normal"])
    contract, state = load_run(RUN)
    assert contract.network.kwargs["beside"] == ["mask"]
    assert contract.attributes == {"mask": 2}
    assert not [name for name in state if name.startswith("decomposition.")]
    history = pd.read_csv(RUN / "history.csv")
    assert history["loss_mask"].iloc[-1] < 0.95 * np.log(1 + np.log(2))  # the best constant has log(1 + log 2)


def test_age_is_one_more_task(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MTLFace's recipe as an entry of `train:`: its losses, its error in years on validation and test, no centres."""
    give_ages()
    prepare(**VARIED["ages, and both kinds of adversary against them"])
    values = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**values, "evaluate": {"resamples": 100}}))
    main(["train", "normal"])
    history = pd.read_csv(RUN / "history.csv")
    told = {"identity", "age", "gender", "adversary_age_group", "cross_age"}
    assert {name.removeprefix("loss_") for name in history if name.startswith("loss_")} == told
    assert (history[[f"loss_{name}" for name in told]] > 0).all(axis=None)
    stated = yaml.safe_load((RUN / "validation.json").read_text())
    contract, state = load_run(RUN)
    assert contract.attributes == {"age": 101, "gender": 2}
    assert state["heads.age.group.weight"].shape == (4, 101)
    assert not any(name in key for key in state for name in ("cross", "centres", "adversar"))
    model = create_model(contract.network.name, **contract.network.kwargs)
    model.load_state_dict(state)
    samples = read_samples("validation", faces=(faces := Faces()), sessions="data/sessions.parquet",
                           splits="data/splits.parquet", attributes=["age"], vocabulary="binary")  # fmt: skip
    said = embed(model, FaceStore(faces, ["normal"], samples.row).all(), mirror=mirror).probabilities["age"]
    wrong = np.abs(said @ np.arange(101) - samples.labels["age"])[samples.labels["age"] >= 0]
    assert stated["age_error"] == pytest.approx(wrong.mean(), rel=1e-4)
    assert history["age_error"].iloc[stated["epoch"] - 1] == pytest.approx(stated["age_error"], abs=1e-5)
    assert stated["balanced_accuracy"].keys() == {"gender"}
    main(["evaluate", "normal"])
    metrics = yaml.safe_load(Path("runs/normal/evaluate/metrics.json").read_text())
    assert set(metrics["attributes"]) == {"gender"}
    assert metrics["age"]["mean_absolute_error"]["value"] > 0
    assert metrics["age"]["counts"]["sessions"] > 0


def test_ages_that_are_missing_are_nobodys_loss(ready: Path) -> None:
    prepare(**VARIED["ages, and both kinds of adversary against them"])
    main(["train", "normal"])
    history = pd.read_csv(RUN / "history.csv")
    assert (history[["loss_age", "loss_cross_age", "loss_adversary_age_group"]] == 0).all(axis=None)
    assert "age_error" not in history or history["age_error"].isna().all()
    assert yaml.safe_load((RUN / "validation.json").read_text())["age_error"] is None


def test_a_cross_age_discriminator_without_ages_is_refused(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(cross_age=0.002)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal"])
    assert stopped.value.code == 2
    assert "add age to attributes" in capsys.readouterr().err


def test_early_fusion_is_an_entry_that_lists_its_modalities(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare()
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["train"]["early"] = {**TINY, "modalities": ["albedo", "normal", "frame"]}
    Path("params.yaml").write_text(yaml.safe_dump({**values, "evaluate": {"resamples": 100}}))
    main(["train", "early"])
    contract, state = load_run("runs/early/train")
    assert (contract.run, contract.modalities) == ("early", ["albedo", "normal", "frame"])
    assert contract.channels == {"albedo": 1, "normal": 3, "frame": 1}
    assert state["backbone.stem.0.weight"].shape[1] == 5
    main(["evaluate", "early"])
    metrics = yaml.safe_load(Path("runs/early/evaluate/metrics.json").read_text())
    assert metrics["run"]["modalities"] == "albedo+normal+frame"


def test_attributes_go_in_the_order_of_the_parameters(ready: Path) -> None:
    order = {"pose": 1.0, "gender": 1.0, "spectacles": 1.0}
    prepare(epochs=1)
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["train"]["normal"]["attributes"] = order
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    main(["train", "normal"])
    contract, state = load_run(RUN)
    model = create_model(contract.network.name, **contract.network.kwargs)
    assert model.decomposition.attributes == tuple(order)
    assert not any(name in key for key in state for name in ("expression", "adversar", "centres", "fc"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_mistake_in_several_processes_is_one_line(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(batch=15)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "normal", "--processes", "2"])
    assert stopped.value.code == 2
    assert "a batch of 15 faces cannot be shared by 2 processes: change train.batch" in capsys.readouterr().err


def test_a_run_of_other_code_does_not_go_on(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a checkpoint was gone on with after an edit of the network, or could not be loaded any more."""

    def begun() -> set[str]:
        return {p.name for p in Path(".psface/train/normal").iterdir() if p.is_dir()}

    def die(self: fit.Trainer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.Trainer, "_save", die)
    for edited in (False, True):
        if edited:
            first = begun()
            monkeypatch.setattr(work, "source", lambda *names: [*source(*names), Path("params.yaml")])
        with pytest.raises(SystemExit):
            main(["train", "normal"])
    assert begun().isdisjoint(first)


def test_stops_early_and_keeps_the_best(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(epochs=10, patience=2, erase=[])
    aucs = iter([0.6, 0.8, 0.7, 0.7])
    monkeypatch.setattr(fit, "verify", lambda *_: {"auc": next(aucs), "eer": 0.5})
    main(["train", "normal"])
    assert len(pd.read_csv(RUN / "history.csv")) == 4
    stated = yaml.safe_load((RUN / "validation.json").read_text())
    assert (stated["auc"], stated["epoch"]) == (0.8, 2)


def test_without_labels(fabricate: Callable[..., Path]) -> None:
    fabricate(labelled=False)
    prepare(epochs=1)
    main(["train", "frames"])
    history = pd.read_csv("runs/frames/train/history.csv")
    assert (history[[f"loss_{name}" for name in ATTRIBUTES]] == 0).all(axis=None)
    stated = yaml.safe_load(Path("runs/frames/train/validation.json").read_text())
    assert set(stated["balanced_accuracy"].values()) == {None}


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


def test_bfloat16_and_photofaces_vocabulary(ready: Path) -> None:
    prepare(precision="bf16", epochs=1, vocabulary="photoface")
    main(["train", "normal"])
    contract, state = load_run(RUN)
    assert contract.attributes == {"spectacles": 2, "facial_hair": 5, "expression": 4, "pose": 5, "gender": 2}
    assert {str(v.dtype) for v in state.values()} == {"torch.float32", "torch.int64"}


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


def test_a_small_training_set_learns(ready: Path) -> None:
    """Faces of one subject share a weak pattern, which training must find. (Patterns of other subjects have nothing in
    common with them: what is seen on validation is chance.)"""
    still = {"rotate": 0, "zoom": 0, "shift": 0, "mirror": 0, "tilt": 0, "light": 0, "cut": 0, "patches": 0}
    prepare(epochs=4, batch=8, strides=[1, 2, 2, 2], lr=0.002, adversaries={}, augment=still)
    main(["train", "normal"])
    history = pd.read_csv(RUN / "history.csv")
    assert history["loss_identity"].iloc[-1] < 0.4 * history["loss_identity"].iloc[0]
    assert (history["clamped"] < 1).all()


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
