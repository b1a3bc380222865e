"""`psface fuse` on a fabricated workspace with two untrained branches."""

from __future__ import annotations

import contextlib
import itertools
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from models import Fusion, create_model, restore_model
from models.embedding import embed
from models.fusion import START_NORM
from pipeline.attributes import ATTRIBUTES
from pipeline.cli import main
from pipeline.contract import Network, load_run, save_run
from pipeline.faces import Faces, mirror
from pipeline.fitting import verify
from pipeline.params import Fuse
from pipeline.params.recognition import FROZEN, FUSED_NORM
from pipeline.samples import FaceStore, read_samples, read_swaps, read_to_fit
from pipeline.tables import write_parquet
from stages.fuse import fit, judging, looking, tuning

RUN = Path("runs/both/train")
TINY = {"modalities": ["normal", "frames"], "epochs": 3, "views": 2, "batch": 16}


def prepare(**changes: Any) -> None:
    table = pd.read_parquet("data/splits.parquet")
    number = table["subject"].astype(int) - 1001
    table["split"] = np.select([number < 14, number < 20], ["train", "validation"], "test")
    write_parquet("data/splits.parquet", table)
    Path("params.yaml").write_text(yaml.safe_dump({"fuse": {"both": {**TINY, **changes}}}))


@pytest.fixture
def ready(fabricate: Callable[..., Path]) -> Path:
    """A workspace with the runs `normal` and `frames`."""
    root = fabricate()
    prepare()
    return root


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32, so that rates can be compared with those of the saved network."""
    make = fit.make_fabric
    monkeypatch.setattr(fit, "make_fabric", lambda _: make("32"))


def test_a_run_is_whole_and_gives_the_stated_auc(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fuse", "both"])
    assert "wrote runs/both/train (validation AUC" in capsys.readouterr().out
    contract, state = load_run(RUN)
    assert contract.modalities == ["normal", "frames"]
    assert not any("centres" in name for name in state)
    model = create_model(contract.network.name, **contract.network.kwargs)
    model.load_state_dict(state)
    faces = Faces()
    tables = {"sessions": "data/sessions.parquet", "splits": "data/splits.parquet"}
    samples = read_samples(
        "validation", faces=faces, **tables, attributes=list(contract.attributes), vocabulary=contract.vocabulary
    )
    swap = read_swaps(contract.modalities, faces=faces, sessions=tables["sessions"], names=samples.session)
    seen = FaceStore(faces, contract.modalities, samples.row).all()
    embeddings, shares, _ = embed(model, seen, mirror=mirror, swap=swap)
    stated = json.loads((RUN / "validation.json").read_text())
    assert verify(embeddings, samples)["auc"] == pytest.approx(stated["auc"], abs=1e-6)
    assert stated["auc"] == pytest.approx(max(stated["candidates"].values()), abs=1e-9)
    assert {name: s.shape[1] for name, s in shares.items()} == contract.attributes
    assert len(pd.read_csv(RUN / "history.csv")) == 3


@pytest.mark.parametrize(
    "change", [{"width": 200_000}, {"dimension": 10**9}, {"width": 8}, {"layers": 3}, {"state": {}}]
)
def test_weights_that_are_not_the_contract_s_are_refused_before_memory_is_taken(
    ready: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    """A contract of gigabytes was made into a network before its weights were looked at."""
    path = Path("runs/frames/train/contract.json")
    contract = json.loads(path.read_text())
    contract["network"]["kwargs"] |= change
    path.write_text(json.dumps(contract))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SystemExit) as end:
        main(["fuse", "both"])
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("psface: the run of frames: its weights do not fit the network of its contract (")
    assert err.count("\n") == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # KiB
    assert not RUN.exists()


def test_fault_7_frozen_branches_keep_weights_and_statistics(ready: Path) -> None:
    """The thesis's seventh defect: the statistics of frozen branches drifted, whatever joined them."""
    main(["fuse", "both"])
    assert json.loads((RUN / "validation.json").read_text())["kind"] in FROZEN
    _, fused = load_run(RUN)
    for modality in ("normal", "frames"):
        _, own = load_run(Path("runs", modality, "train"))
        for name, value in own.items():
            assert torch.equal(fused[f"branches.{modality}.{name}"], value), name


def test_fault_10_constants_are_counted_in_the_training_split_alone(ready: Path) -> None:
    """The thesis's tenth defect: alpha and gamma were those of the whole set, test included."""
    known, table = pd.read_parquet("data/sessions.parquet"), pd.read_parquet("data/splits.parquet")
    inside = (table["split"] == "train").to_numpy()
    place = np.arange(len(known))
    for name in (
        "spectacles",
        "pose",
        "gender",
    ):  # of training sessions every fourth has it, of the others every second
        known[name] = (place % np.where(inside, 4, 2) == 0) * (2 if name == "pose" else 1)
    write_parquet("data/sessions.parquet", known)
    tables = {"sessions": Path("data/sessions.parquet"), "splits": Path("data/splits.parquet")}
    runs = {name: load_run(Path("runs", name, "train")) for name in TINY["modalities"]}
    samples, stores = read_to_fit(
        TINY["modalities"], faces=Path("data/faces"), **tables, attributes=list(runs["normal"][0].attributes),
        vocabulary="binary",
    )  # fmt: skip
    fuser = fit.Fuser("both", Fuse.model_validate({**TINY, "focus": 1.5}), runs, *samples, stores, Path("scratch"))
    for name, (alpha, gamma) in fuser.constants.items():
        counts = np.bincount(ATTRIBUTES[name].to_binary(known.loc[inside, name]))
        assert counts.tolist() == [42, 14]
        assert alpha == pytest.approx([28 / 42, 28 / 14])
        assert gamma == [1.5, 0]
        assert fuser.heads.focal[name].alpha.tolist() == pytest.approx(alpha)


@pytest.mark.parametrize("kind", [*FROZEN, "finetune"])
def test_one_variant_can_be_forced(ready: Path, kind: str) -> None:
    """It alone is tried and taken; the saved network is of that kind and gives the stated AUC."""
    prepare(candidates=[kind], dimension=24)
    main(["fuse", "both"])
    stated = json.loads((RUN / "validation.json").read_text())
    assert stated["kind"] == kind
    assert list(stated["candidates"]) == [kind]
    contract, state = load_run(RUN)
    model = restore_model(contract.network.name, state, **contract.network.kwargs).eval()
    assert isinstance(model, Fusion)
    assert (model.dimension == 24) == (kind == "projection")
    faces = Faces()
    seen = model(FaceStore(faces, contract.modalities, np.arange(6)).all())
    assert seen.embedding.shape == (6, model.dimension)
    assert stated["auc"] == pytest.approx(stated["candidates"][kind], abs=1e-9)
    if kind == "gate":
        assert seen.gates is not None
        torch.testing.assert_close(seen.gates.sum(dim=1), torch.ones(6))
        assert sum(each["mean"] for each in stated["gates"].values()) == pytest.approx(1)
        assert stated["counts"]["sessions"] == sum(each["trusted_most"] for each in stated["gates"].values())
        assert state["layer.judge.2.weight"].any()


TUNED = {"candidates": ["concatenation", "finetune"], "finetune": {"epochs": 5, "batch": 16, "lr": 0.01}}


def test_fine_tuning_moves_the_branches_but_not_their_statistics(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rising = itertools.count(0.5, 0.01)
    monkeypatch.setattr(judging.Judge, "rate", lambda *_: next(rising))
    prepare(**TUNED)
    main(["fuse", "both"])
    stated, history = json.loads((RUN / "validation.json").read_text()), pd.read_csv(RUN / "history.csv")
    assert (stated["kind"], stated["epoch"], history["epoch"].tolist()) == ("finetune", 8, [*range(1, 9)])
    _, fused = load_run(RUN)
    for modality in ("normal", "frames"):
        _, own = load_run(Path("runs", modality, "train"))
        moved = {name for name, value in own.items() if not torch.equal(fused[f"branches.{modality}.{name}"], value)}
        assert {"embedding.project.weight", "embedding.scale.weight"} <= moved
        assert not [name for name in moved if "running" in name or "tracked" in name]
    assert not torch.equal(fused["heads.gender.weight"], torch.zeros_like(fused["heads.gender.weight"]))


def test_fine_tuning_that_gains_nothing_stops_early_and_leaves_no_trace(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = itertools.count(0.9, -0.01)
    monkeypatch.setattr(judging.Judge, "rate", lambda *_: next(falling))
    prepare(candidates=["concatenation"])
    main(["fuse", "both", "--output", "frozen"])
    prepare(**TUNED)
    main(["fuse", "both", "--output", "tried"])
    frozen, tried = (json.loads(Path(name, "validation.json").read_text()) for name in ("frozen", "tried"))
    assert (tried["kind"], list(tried["candidates"])) == ("concatenation", ["concatenation", "finetune"])
    assert tried | {"candidates": 0} == frozen | {"candidates": 0}
    assert pd.read_csv("tried/history.csv")["epoch"].tolist() == [1, 2, 3, 4, 5]  # three frozen, two in vain
    assert Path("frozen/weights.safetensors").read_bytes() == Path("tried/weights.safetensors").read_bytes()


def test_centres_are_the_subjects_mean_directions() -> None:
    embeddings = torch.tensor([[3.0, 0], [0, 4], [0, 1], [2, 2]])
    found = tuning.centres(embeddings, torch.tensor([0, 0, 1, 2]))
    half = 0.5**0.5
    torch.testing.assert_close(found, torch.tensor([[half, half], [0, 1], [half, half]]))


@pytest.mark.parametrize("candidates", [["concatenation"], [*FROZEN, "finetune"]])
def test_branches_that_share_no_attribute_are_fused_without_heads(ready: Path, candidates: list[str]) -> None:
    """Regression: "optimizer got an empty parameter list", and its traceback."""
    contract, _ = load_run("runs/normal/train")
    kwargs = {**contract.network.kwargs, "attributes": {}}
    bare = contract.model_copy(update={"attributes": {}, "network": Network(name="iresnet18", kwargs=kwargs)})
    save_run("runs/normal/train", bare, create_model("iresnet18", **kwargs).state_dict())
    prepare(candidates=candidates, finetune={"epochs": 1, "batch": 16, "lr": 0.001})
    main(["fuse", "both"])
    contract, state = load_run(RUN)
    assert contract.attributes == {}
    assert not any(name.startswith("heads") for name in state)
    stated = json.loads((RUN / "validation.json").read_text())
    assert list(stated["candidates"]) == candidates
    assert stated["balanced_accuracy"] == {}


def test_an_unknown_variant_is_refused(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(candidates=["gates"])
    with pytest.raises(SystemExit) as stopped:
        main(["fuse", "both"])
    assert stopped.value.code == 2
    assert "candidates" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["data", "runs/normal/train"])
def test_a_fusion_replaces_a_run_alone(ready: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
    """`--output data` put it in the place of the whole folder."""
    with pytest.raises(SystemExit) as stopped:
        main(["fuse", "both", "--output", output])
    assert stopped.value.code == 2
    assert "which is read: choose another --output" in capsys.readouterr().err


def test_nothing_gained_is_plain_concatenation(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "verify", lambda *_: {"auc": 0.9, "eer": 0.2})
    main(["fuse", "both"])
    stated = json.loads((RUN / "validation.json").read_text())
    assert (stated["gains"], stated["strength"], stated["epoch"]) == ({"normal": 1.0, "frames": 1.0}, 0.0, 0)


def test_the_same_twice(ready: Path) -> None:
    for name in ("one", "two"):
        main(["fuse", "both", "--output", name])
    for name in ("weights.safetensors", "history.csv", "validation.json", "contract.json"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name


class Killed(BaseException):
    """What a kill would be, without taking the tests along."""


@pytest.mark.parametrize("finetune", [False, True])
def test_a_killed_fusion_goes_on(ready: Path, monkeypatch: pytest.MonkeyPatch, finetune: bool) -> None:
    """Killed after each state it saves, views and epochs: the same bytes, no view and no epoch twice."""
    prepare(**(TUNED if finetune else {}))
    see, epoch, write, done = looking.Looker._see, fit.Fuser._epoch, fit.Checkpoint.write, []
    tune = tuning.Tuner._epoch
    monkeypatch.setattr(tuning.Tuner, "_epoch", lambda self, *a: done.append("tuned") or tune(self, *a))
    monkeypatch.setattr(looking.Looker, "_see", lambda self, *a: done.append("view") or see(self, *a))
    monkeypatch.setattr(fit.Fuser, "_epoch", lambda self, *a: done.append("epoch") or epoch(self, *a))
    main(["fuse", "both"])
    whole, undisturbed = {p.name: p.read_bytes() for p in RUN.iterdir()}, list(done)
    shutil.rmtree(RUN)

    def die(self: fit.Checkpoint, parts: dict[str, Any]) -> None:
        write(self, parts)
        raise Killed

    monkeypatch.setattr(fit.Checkpoint, "write", die)
    monkeypatch.setattr(fit.Checkpoint, "due", lambda self: True)
    done.clear()
    while not RUN.exists():
        with contextlib.suppress(Killed):
            main(["fuse", "both"])
    assert done == undisturbed
    assert done[:7] == ["view"] * 4 + ["epoch"] * 3
    assert ("tuned" in done) == finetune
    assert {p.name: p.read_bytes() for p in RUN.iterdir()} == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": "photoface", "attributes": {"spectacles": 2, "pose": 5, "gender": 2}}, "do not go together"),
        ({"size": 64}, "do not go together"),
        (
            {"modalities": ["normal"], "normalisation": {"normal": "unit-1"}, "channels": {"normal": 3}},
            "was trained on normal",
        ),
        ({"normalisation": {"frames": "other-1"}}, "retrain it"),
    ],
)
def test_branches_that_do_not_go_together(
    ready: Path,
    make_run: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    make_run(Path("runs/frames/train"), "frames", "frames", **changes)
    with pytest.raises(SystemExit) as stopped:
        main(["fuse", "both"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_branch_that_is_not_trained(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(modalities=["normal", "depth"])
    with pytest.raises(SystemExit) as stopped:
        main(["fuse", "both"])
    assert stopped.value.code == 2
    assert "runs/depth/train/contract.json is missing: train this run first" in capsys.readouterr().err


def test_norms_that_would_start_outside_magfaces_range_are_refused(
    ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: with l_a above 16, margin and regulariser were constants that moved nothing, in silence."""
    assert FUSED_NORM == START_NORM
    prepare(identity={"l_a": 20, "u_a": 110, "scale": 32, "l_m": 0.2, "u_m": 0.45, "lambda_g": 50})
    with pytest.raises(SystemExit) as stopped:
        main(["fuse", "both"])
    assert stopped.value.code == 2
    assert "start with a norm of 16, outside MagFace's range of 20 to 110" in capsys.readouterr().err
