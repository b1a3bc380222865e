"""`psface evaluate` on a fabricated workspace: what it writes, and what it refuses in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from models import create_model
from pipeline.cli import main
from pipeline.contract import Network, load_run, save_run
from pipeline.verification import pair_scores, rates
from stages.evaluate import written
from stages.evaluate.command import command
from stages.evaluate.inputs import raw_pixels

TABLES = ("metrics.json", "roc.csv", "cmc.csv", "discard.csv", "confusion.csv", "embeddings.npz")
FIGURES = ("roc.png", "det.png", "cmc.png", "scores.png", "discard.png", "confusion.png", "retrieval.png")
FILES = (*TABLES, *FIGURES)


def evaluate(*arguments: str) -> dict:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(Path("runs", arguments[0], "evaluate", "metrics.json").read_text())


def refusal(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as done:
        main(["evaluate", *arguments])
    assert done.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_writes_all_of_it(fabricate):
    fabricate(lost=3)
    metrics = evaluate("normal")
    folder = Path("runs/normal/evaluate")
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    counts = metrics["counts"]
    assert (counts["subjects"], counts["sessions"], counts["without_face"]) == (24, 93, 3)
    assert counts["genuine"] + counts["impostor"] == 93 * 92 // 2
    assert counts["attributes"]["gender"]["female"] == {"sessions": 45, "subjects": 12}
    for part in (metrics, metrics["raw_pixels"]):
        assert set(part["verification"]) >= {"auc", "eer", "tar@far=1e-1", "tar@far=1e-4", "auc_euclidean"}
        assert part["verification"]["tar@far=1e-3"]["absent"].endswith("needs at least 30000")
        for protocol in ("overall", "same_rig", "across_rigs"):
            assert set(part["identification"][protocol]) == {"rank1", "rank5"}
            for rate in (
                *part["identification"][protocol].values(),
                *part["identification"][f"{protocol}_full"].values(),
            ):
                assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1
    gain, raw = metrics["over_raw_pixels"], metrics["raw_pixels"]
    for part, rate in (("verification", "auc"), ("verification", "eer")):
        assert gain[part][rate]["value"] == pytest.approx(metrics[part][rate]["value"] - raw[part][rate]["value"])
    for protocol in ("overall", "same_rig", "across_rigs"):
        ranked = [each["identification"][protocol]["rank1"] for each in (gain, metrics, raw)]
        assert ranked[0]["value"] == pytest.approx(ranked[1]["value"] - ranked[2]["value"])
        assert ranked[0]["low"] <= ranked[0]["value"] <= ranked[0]["high"]
    assert metrics["attributes"]["pose"] == {"absent": "all 93 labelled sessions are of one class"}
    assert set(metrics["attributes"]["gender"]) == {"auroc", "balanced_accuracy", "f1"}
    assert "facial_hair" not in metrics["attributes"]  # the run does not read it


def test_photographs_have_no_albedo_and_no_skin_tone(fabricate):
    """A data set that was cropped without maps could not be evaluated."""
    fabricate()
    before = evaluate("normal")
    Path("data/faces/albedo.npy").unlink()
    metrics = evaluate("normal")
    assert metrics["verification"] == before["verification"]
    assert metrics["differentials"]["gender"] == before["differentials"]["gender"]
    assert metrics["differentials"].get("skin_tone") != before["differentials"]["skin_tone"]


def test_the_files_agree_with_the_metrics(fabricate):
    fabricate()
    metrics = evaluate("normal")
    folder = Path("runs/normal/evaluate")
    with np.load(folder / "embeddings.npz") as saved:
        scores = pair_scores(saved["embedding"], saved["subject"])
    assert rates(scores)["auc"][0] == pytest.approx(metrics["verification"]["auc"]["value"], abs=1e-9)
    roc = pd.read_csv(folder / "roc.csv")
    assert len(roc) < 400
    assert roc["fmr"].is_monotonic_increasing
    assert roc["tmr"].is_monotonic_increasing
    assert np.interp(0.01, roc["fmr"], roc["tmr"]) == pytest.approx(
        metrics["verification"]["tar@far=1e-2"]["value"], abs=0.03
    )
    assert np.trapezoid(roc["tmr"], roc["fmr"]) == pytest.approx(metrics["verification"]["auc"]["value"], abs=0.02)
    cmc = pd.read_csv(folder / "cmc.csv")
    assert list(cmc.columns) == ["rank", "rate", "low", "high", "same_rig", "across_rigs", "overall_full"]
    assert cmc["rate"][0] == pytest.approx(metrics["identification"]["overall"]["rank1"]["value"])
    assert cmc["across_rigs"][4] == pytest.approx(metrics["identification"]["across_rigs"]["rank5"]["value"])
    assert (cmc["rate"].iloc[-1], len(cmc)) == (1, 24)


def test_a_gated_fusion_s_weights_stand_beside_its_embeddings(fabricate):
    """And their shares are those that made the embedding's parts; a run without a gate has none."""
    fabricate()
    runs = {name: load_run(Path("runs", name, "train")) for name in ("normal", "frames")}
    contracts = {name: contract for name, (contract, _) in runs.items()}
    branches = [contract.network.model_dump() for contract in contracts.values()]
    fusion = create_model("fusion", branches=branches, kind="gate")
    fusion.load_branches({name: state for name, (_, state) in runs.items()})
    torch.nn.init.normal_(fusion.layer.judge[2].weight)
    first = contracts["normal"]
    both = {key: getattr(first, key) | getattr(contracts["frames"], key) for key in ("channels", "normalisation")} | {
        "run": "both",
        "modalities": ["normal", "frames"],
    }
    network = Network(name="fusion", kwargs={"branches": branches, "kind": "gate"})
    save_run("runs/both/train", first.model_copy(update={**both, "network": network}), fusion.state_dict())
    evaluate("both")
    with np.load("runs/both/evaluate/embeddings.npz") as saved:
        gate, parts = saved["gate"], np.split(saved["embedding"], 2, axis=1)
    assert gate.shape == (96, 2)
    np.testing.assert_allclose(gate.sum(axis=1), 1, rtol=1e-5)
    shares = np.stack([(part**2).sum(axis=1) for part in parts], axis=1)
    assert np.corrcoef(shares[:, 0] / shares.sum(axis=1), gate[:, 0])[0, 1] > 0.9
    evaluate("normal")
    with np.load("runs/normal/evaluate/embeddings.npz") as saved:
        assert "gate" not in saved


def test_the_same_run_gives_the_same_bytes(fabricate):
    fabricate()
    evaluate("normal")
    folder = Path("runs/normal/evaluate")
    first = {name: (folder / name).read_bytes() for name in FILES}
    evaluate("normal")
    assert first == {name: (folder / name).read_bytes() for name in FILES}


def test_an_evaluation_that_fails_leaves_that_of_before(fabricate, monkeypatch):
    fabricate()
    evaluate("normal")
    folder = Path("runs/normal/evaluate")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    Path("params.yaml").write_text("evaluate: {resamples: 101}")
    (folder / ".new").mkdir()
    (folder / ".new/killed.csv").touch()
    with monkeypatch.context() as broken:
        broken.setattr(written, "_write_retrieval", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate("normal")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    evaluate("normal")
    assert sorted(path.name for path in folder.iterdir()) == sorted(before)
    assert before["metrics.json"] != (folder / "metrics.json").read_bytes()


def test_data_without_labels_and_with_one_rig(fabricate):
    fabricate(labelled=False, rigs=("",))
    metrics = evaluate("frames")
    assert {json.dumps(entry) for entry in metrics["attributes"].values()} == {'{"absent": "no session has the label"}'}
    assert metrics["identification"]["across_rigs"] == {"absent": "all sessions are from one rig"}
    assert metrics["counts"]["rigs"] == {"unknown": 96}
    assert metrics["counts"]["attributes"]["gender"]["missing"] == {"sessions": 96}


def test_a_run_of_another_workspace(fabricate):
    workspace = fabricate()
    Path("runs/normal/train").rename(workspace / "elsewhere")
    evaluate("normal", "--weights", "elsewhere")


def test_a_fusion_is_a_run_like_any_other(fabricate, make_run):
    """Its folder holds its branches; raw pixels are those of both modalities."""
    fabricate()
    single = [make_run(Path("runs", name, "train"), name, name) for name in ("normal", "depth")]
    network = Network(name="fusion", kwargs={"branches": [each.network.model_dump() for each in single]})
    contract = single[0].model_copy(
        update={
            "run": "normal-depth",
            "modalities": ["normal", "depth"],
            "channels": single[0].channels | single[1].channels,
            "normalisation": single[0].normalisation | single[1].normalisation,
            "network": network,
        }
    )
    save_run("runs/normal-depth/train", contract, create_model(network.name, **network.kwargs).state_dict())
    metrics = evaluate("normal-depth")
    assert metrics["run"] == {"name": "normal-depth", "modalities": "normal+depth"}
    assert set(metrics["attributes"]) == {"gender", "spectacles", "pose"}
    assert metrics["raw_pixels"]["verification"]["auc"]["value"] > 0.5


def test_only_test_subjects_count(fabricate):
    fabricate()
    splits = pd.read_parquet("data/splits.parquet")
    splits.loc[splits["subject"] < "1011", "split"] = "train"
    splits.to_parquet("data/splits.parquet", index=False)
    metrics = evaluate("normal")
    assert metrics["counts"]["subjects"] == 14
    probe = metrics["invariance"]["probe"]["spectacles"]
    assert probe["counts"] == {"fitted_on": 40, "tried_on": 56}
    for kind in ("linear", "mlp", "crossed", "linear_auroc", "mlp_auroc", "crossed_auroc"):
        assert probe[kind]["low"] <= probe[kind]["value"] <= probe[kind]["high"]


def test_all_that_is_promised_is_there(fabricate):
    fabricate()
    metrics = evaluate("normal")
    assert 0.4 < metrics["verification"]["folds"]["accuracy"]["value"] <= 1
    assert metrics["identification"]["open_set"]["fnir@fpir=1e-1"]["absent"] == (
        "96 probes; an FPIR of 0.1 needs at least 300"
    )
    assert set(metrics["macro"]) == {"verification", "identification"}
    assert metrics["invariance"]["split"]["rig"]["gap"]["rank1"]["low"] is not None
    assert metrics["quality"]["norm"]["fnmr@discard=0.2"]["value"] <= 1
    assert metrics["differentials"]["gender"]["female"]["counts"]["subjects"] == 12
    assert metrics["counts"]["searches"] == {"mated": 96, "non_mated": 96}
    table = pd.read_csv("runs/normal/evaluate/confusion.csv")
    assert table.groupby("attribute")["sessions"].sum().to_dict() == {"gender": 96, "pose": 96, "spectacles": 96}


def test_photometric_quality_and_the_detectors_score_are_looked_at(fabricate):
    fabricate()
    index = pd.read_parquet("data/faces/index.parquet")
    rng = np.random.default_rng(0)
    index.assign(score=rng.uniform(0.9, 1, len(index))).to_parquet("data/faces/index.parquet", index=False)
    residual = pd.DataFrame({"session": index["session"], "residual": rng.uniform(size=len(index))})
    residual.assign(integrability=0.0).to_parquet("data/quality.parquet", index=False)
    assert set(evaluate("normal")["quality"]) == {"fmr", "start", "norm", "residual", "detector"}
    Path("data/quality.parquet").write_bytes(b"cut short")
    with pytest.raises(SystemExit):
        main(["evaluate", "normal"])


def test_pairs_in_folds_may_be_given(fabricate):
    fabricate()
    lines = ["2\t1", "1001\t0\t1", "1001\t0\t1002\t0", "1003\t0\t1", "1003\t0\t1004\t3"]
    Path("pairs.txt").write_text("\n".join(lines))
    folds = evaluate("normal", "--pairs", "pairs.txt")["verification"]["folds"]
    assert folds["counts"] == {"folds": 2, "genuine": 2, "impostor": 2}


def test_all_pairs_of_its_embeddings_are_verified_again(fabricate, capsys):
    fabricate()
    metrics = evaluate("normal")
    main(["verify", "runs/normal/evaluate/embeddings.npz", "--json"])
    found = json.loads(capsys.readouterr().out)
    for name in ("auc", "eer", "tar@far=1e-1"):
        for part in ("value", "low", "high"):
            near = pytest.approx(metrics["verification"][name][part], abs=1e-5 if part == "value" else 0.01)
            assert found[name][part] == near, f"{name} {part}"
    assert found["counts"] == {"genuine": 144, "impostor": 4416}
    main(["verify", "runs/normal/evaluate/embeddings.npz", "--euclidean"])
    told = re.search(r"^auc +([0-9.]+)  \[0.*\]$", capsys.readouterr().out, re.MULTILINE)
    assert told
    assert float(told[1]) == pytest.approx(metrics["verification"]["auc_euclidean"]["value"], abs=1e-5)
    Path("broken.npz").write_bytes(b"cut short")
    np.savez("diverged.npz", embedding=np.full((4, 3), np.nan, np.float32), subject=list("aabb"))
    np.savez("strangers.npz", embedding=np.ones((4, 3), np.float32), subject=list("abcd"))
    for path, words in {
        "broken.npz": "cannot be read", "none.npz": "is missing", "diverged.npz": "4 of 4 embeddings are not finite",
        "strangers.npz": "no genuine pair",
    }.items():  # fmt: skip
        with pytest.raises(SystemExit) as done:
            main(["verify", path])
        assert done.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert path in line
        assert words in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 112}, "faces of 32 x 32 px, run `normal` was trained on 112 px"),
        ({"normalisation": {"normal": "imagenet"}}, "normal was prepared by `imagenet`"),
        ({"normalisation": {}}, "normal was prepared by `None`"),
        ({"template": "ffhq"}, "faces aligned on `ffhq`"),
        ({"channels": {"normal": 1}}, "3 channels, run `normal` was trained on 1"),
        ({"network": {"name": "resnet", "kwargs": {}}}, "weights do not fit"),
        ({"version": 0}, "not a contract of this version"),
    ],
)
def test_a_contract_that_cannot_be_kept_is_one_line(fabricate, make_run, capsys, changes, words):
    fabricate()
    make_run(Path("runs/normal/train"), "normal", "normal", **changes)
    assert words in refusal(capsys, "normal")


def test_other_mistakes_are_one_line(fabricate, make_run, capsys):
    fabricate()
    assert "runs/nobody/train/contract.json is missing" in refusal(capsys, "nobody")
    make_run(Path("runs/frames/train"), "frames", "frames", channels={"frames": 9})
    assert "4 frames a session, run `frames` was trained on 9" in refusal(capsys, "frames")
    splits = pd.read_parquet("data/splits.parquet")
    leaking = splits.assign(split=["train", *splits["split"][1:]])
    leaking.to_parquet("data/splits.parquet", index=False)
    assert "subject 1001 is in test and train" in refusal(capsys, "normal")
    splits.assign(split="train").to_parquet("data/splits.parquet", index=False)
    assert "no session is in the test split" in refusal(capsys, "normal")
    Path("runs/normal/train/weights.safetensors").write_bytes(b"cut short")
    assert "cannot be read" in refusal(capsys, "normal")


@pytest.mark.parametrize(
    ("subjects", "sessions", "fault"),
    [(5, 1, "the 5 test sessions with a face have no genuine pair: nobody has two"),
     (1, 4, "the 4 test sessions with a face have no impostor pair: they are all of one subject")],
)  # fmt: skip
def test_a_test_split_without_pairs_is_the_users_mistake(fabricate, capsys, subjects, sessions, fault):
    """Regression: exit status 1, and neither the file nor the parameter was named."""
    fabricate()
    table = pd.read_parquet("data/splits.parquet")
    tested = table["subject"].astype(int) < 1001 + subjects
    table["split"] = np.where(tested, "test", "train")
    table["keep"] = table["session"].str.split("/").str[1].astype(int) < sessions
    table.to_parquet("data/splits.parquet", index=False)
    said = refusal(capsys, "normal")
    assert said == f"psface: data/splits.parquet: {fault}; raise `balance.test` or add sessions"


@pytest.mark.parametrize("place", [0, 1])
def test_networks_and_faces_that_are_no_numbers_are_told_apart(fabricate, capsys, place):
    """Regression: a NaN in a face was taken for a network that has diverged."""
    fabricate()
    if place:
        normals = np.load("data/faces/normal.npy")
        normals[7, 3, 3] = np.inf
        np.save("data/faces/normal.npy", normals)
        assert "normal.npy: the face of session 1002/3 holds NaN or infinite values" in refusal(capsys, "normal")
        return
    contract, state = load_run("runs/normal/train")
    save_run(
        "runs/normal/train",
        contract,
        {name: value * 1e30 if value.is_floating_point() else value for name, value in state.items()},
    )
    with pytest.raises(SystemExit) as done:
        main(["evaluate", "normal"])
    assert done.value.code == 1
    assert (
        "96 of 96 embeddings are not finite: the network has diverged; lower train.normal.lr" in capsys.readouterr().err
    )


def test_raw_pixels_are_centred_and_modalities_count_alike():
    rng = np.random.default_rng(0)
    inputs = {"normal": rng.normal(size=(6, 3, 4, 4)), "depth": 100 + 1e3 * rng.normal(size=(6, 1, 4, 4))}
    vectors = raw_pixels({name: torch.from_numpy(pixels) for name, pixels in inputs.items()})
    assert vectors.shape == (6, 64)
    assert np.allclose(np.linalg.norm(vectors[:, :48], axis=1), 1)
    assert np.allclose(np.linalg.norm(vectors[:, 48:], axis=1), 1)
    centred = inputs["depth"] - inputs["depth"].mean(axis=0)
    first, second = (x.ravel() for x in centred[:2])
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert vectors[0, 48:] @ vectors[1, 48:] == pytest.approx(cosine)
