"""`psface train` on a fabricated workspace: what it leaves, and that it repeats itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from models import create_model
from models.embedding import embed
from pipeline.cli import main
from pipeline.contract import load_run
from pipeline.faces import Faces, mirror
from pipeline.fitting import verify
from pipeline.samples import FaceStore, read_samples
from pipeline.tables import write_parquet
from stages.train import fit
from tests.stages.train.small import ATTRIBUTES, RUN, TINY, VARIED, give_ages, prepare


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


def test_bfloat16_and_photofaces_vocabulary(ready: Path) -> None:
    prepare(precision="bf16", epochs=1, vocabulary="photoface")
    main(["train", "normal"])
    contract, state = load_run(RUN)
    assert contract.attributes == {"spectacles": 2, "facial_hair": 5, "expression": 4, "pose": 5, "gender": 2}
    assert {str(v.dtype) for v in state.values()} == {"torch.float32", "torch.int64"}


def test_a_small_training_set_learns(ready: Path) -> None:
    """Faces of one subject share a weak pattern, which training must find. (Patterns of other subjects have nothing in
    common with them: what is seen on validation is chance.)"""
    still = {"rotate": 0, "zoom": 0, "shift": 0, "mirror": 0, "tilt": 0, "light": 0, "cut": 0, "patches": 0}
    prepare(epochs=4, batch=8, strides=[1, 2, 2, 2], lr=0.002, adversaries={}, augment=still)
    main(["train", "normal"])
    history = pd.read_csv(RUN / "history.csv")
    assert history["loss_identity"].iloc[-1] < 0.4 * history["loss_identity"].iloc[0]
    assert (history["clamped"] < 1).all()
