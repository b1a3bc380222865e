"""params.yaml is checked before any work, and each fault is one line that names key, value and what is valid."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pipeline import params
from pipeline.cli import STAGES, TOOLS, main, psface
from pipeline.errors import UserError


@pytest.fixture(scope="module")
def values(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "params.yaml").read_text())


def fault(tmp_path: Path, values: dict[str, Any], change: Callable[[Any], Any]) -> str:
    changed = copy.deepcopy(values)
    change(changed)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed))
    with pytest.raises(UserError) as error:
        params.load(path)
    text = str(error.value)
    assert "\n" not in text
    return text


CHANGES = {
    "unknown section": (lambda v: v.update(crp={}), ["`crp`", "did you mean `crop`"]),
    "unknown key": (lambda v: v["crop"].update(sise=3), ["`crop.sise`", "did you mean `size`"]),
    "unknown key of a modality": (
        lambda v: v["train"]["albedo"].update(epoch=3),
        ["`train.albedo.epoch`", "`epochs`"],
    ),
    "unknown modality": (lambda v: v["train"].update(albdo={}), ["`train.albdo`", "did you mean `albedo`"]),
    "an attribute to erase that is not read": (
        lambda v: v["train"]["albedo"].update(erase=["age"]),
        ["train.albedo", "erase names age", "`attributes`"],
    ),
    "an adversary of an attribute that is not read": (
        lambda v: v["train"]["albedo"].update(attributes={"gender": 1}, adversaries={"expression": 1, "pose": 1}),
        ["train.albedo", "adversaries names pose", "`attributes`"],
    ),
    "an unknown loss of the identity": (
        lambda v: v["train"]["depth"].update(identity={"loss": "arcfac"}),
        ["train.depth.identity.loss = 'arcfac'", "did you mean `arcface`"],
    ),
    "a key of another loss": (
        lambda v: v["train"]["depth"].update(identity={"loss": "arcface", "l_a": 10}),
        ["unknown key `train.depth.identity.l_a`; valid: loss, margin, scale"],
    ),
    "a value of a loss": (
        lambda v: v["train"]["depth"]["identity"].update(lambda_g=1),
        ["train.depth.identity: lambda_g = 1.0 is below its bound"],
    ),
    "triplets of a batch that holds none": (
        lambda v: v["train"]["depth"].update(identity={"loss": "triplet"}),
        ["train.depth: identity.loss triplet needs several sessions of a subject in each batch: set sampler: pk"],
    ),
    "P x K that make no batch": (
        lambda v: v["train"]["depth"].update(sampler="pk", per_subject=5),
        ["train.depth: sampler pk: a batch of 32 is not two or more subjects of 5 sessions each"],
    ),
    "a modality twice": (
        lambda v: v["train"].update(early={"modalities": ["albedo", "albedo"]}),
        ["train.early.modalities", "each modality once"],
    ),
    "one name for two runs": (
        lambda v: v["train"].update(all={"modalities": ["albedo", "normal"]}),
        ["params.yaml: `train.all` and `fuse.all` would both be runs/all: rename one"],
    ),
    "fusing an unknown modality": (
        lambda v: v["fuse"]["all"].update(modalities=["albedo", "normals"]),
        ["fuse.all.modalities.1 = 'normals'", "did you mean `normal`"],
    ),
    "wrong type": (lambda v: v["crop"].update(size="big"), ["crop.size = 'big'", "integer"]),
    "out of range": (lambda v: v["crop"].update(confidence=1.5), ["crop.confidence = 1.5", "less than or equal to 1"]),
    "unknown choice": (lambda v: v["ingest"].update(source="photofac"), ["ingest.source", "did you mean `photoface`"]),
    "missing key": (lambda v: v["crop"].pop("seed"), ["`crop.seed` is missing"]),
    "two lights": (
        lambda v: v["simulate"]["rigs"][0].update(lights=v["simulate"]["rigs"][0]["lights"][:2]),
        ["simulate.rigs.0.lights", "2 lights", "at least 3"],
    ),
    "coplanar lights": (
        lambda v: [light.update(azimuth=10) for light in v["simulate"]["rigs"][0]["lights"]],
        ["simulate.rigs.0.lights", "coplanar"],
    ),
    "rigs with unlike numbers of flashes": (
        lambda v: v["simulate"]["rigs"][0]["lights"].append({"zenith": 10, "azimuth": 0}),
        ["simulate.rigs: the rigs have unlike numbers of flashes (diagonal 5, upright 4)"],
    ),
    "a flash inside the head": (
        lambda v: v["simulate"]["effects"].update(falloff=90),
        ["simulate.effects.falloff = 90: must be 0 (infinitely far) or at least 400 mm"],
    ),
    "a camera inside the head": (
        lambda v: v["simulate"]["effects"].update(distance=1e-3),
        ["simulate.effects.distance = 0.001: must be 0 (infinitely far) or at least 400 mm"],
    ),
    "unknown number": (
        lambda v: v["ingest"].update(poses=[1, 6]),
        ["ingest.poses.1 = 6: valid: 1, 2, 3, 4, 5"],
    ),
    "unknown label": (
        lambda v: v["simulate"]["frequencies"]["facial_hair"].update(berd=3),
        ["unknown key `simulate.frequencies.facial_hair.berd`; did you mean `beard`"],
    ),
    "not a list": (lambda v: v["crop"].update(seed=1) or v["evaluate"].update(fars=0.1), ["a list, such as [1, 2]"]),
    "a list that is too short": (
        lambda v: v["train"]["depth"].update(strides=[2, 2]),
        ["train.depth.strides = [2, 2]: must have at least 4 items, not 2"],
    ),
    "not a map": (lambda v: v.update(crop=[112]), ["crop = [112]: must be a map of keys and values"]),
    "nothing": (lambda v: v["crop"].update(size=None), ["crop.size = null: must be a valid integer"]),
    "a seed that no generator takes": (lambda v: v["crop"].update(seed=2**32), ["crop.seed", "less than 4294967296"]),
    "a section's keys against each other": (
        lambda v: v["balance"].update(validation=0.6, test=0.7),
        ["params.yaml: balance: validation + test = 1.3; they must"],
    ),
    "light behind the subject": (
        lambda v: v["simulate"]["rigs"][1]["lights"][2].update(zenith=99),
        ["simulate.rigs.1.lights.2.zenith = 99", "less than 90"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_fault_names_key_value_and_choice(tmp_path: Path, values: dict[str, Any], change: str) -> None:
    alter, expected = CHANGES[change]
    text = fault(tmp_path, values, alter)
    assert all(part in text for part in expected), text


def test_the_repository_s_own_params_are_valid(repository: Path) -> None:
    for path in [repository / "params.yaml", *repository.glob("recipes/*/params.yaml")]:
        params.load(path)


def test_an_entry_sees_the_modality_of_its_name_or_those_that_it_lists(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("train: {normal: {}, early: {modalities: [depth, albedo]}, defaults: {}}")
    assert params.section(path, "train", params.Train, "normal").modalities == ("normal",)
    assert params.section(path, "train", params.Train, "early").modalities == ("depth", "albedo")
    with pytest.raises(UserError, match=r"`train.defaults` is missing; valid: early, normal"):
        params.section(path, "train", params.Train, "defaults")


@pytest.mark.parametrize("text", ["32", "'32'"])
def test_a_precision_of_32_may_be_a_number(tmp_path: Path, text: str) -> None:
    """As the comment of params.yaml and `-S train.normal.precision=32` have it; refused as "did you mean `32`?"."""
    path = tmp_path / "params.yaml"
    path.write_text(f"train: {{normal: {{precision: {text}}}}}")
    assert params.section(path, "train", params.Train, "normal").precision == "32"
    path.write_text("train: {normal: {precision: 16}}")
    with pytest.raises(UserError, match=r"train\.normal\.precision = 16: did you mean `bf16`"):
        params.load(path)


def test_not_yaml_and_not_there(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(UserError, match="missing"):
        params.load(path)
    path.write_text("crop: [1,")
    with pytest.raises(UserError, match="not valid YAML"):
        params.load(path)
    path.write_text("- 1")
    with pytest.raises(UserError, match="must hold sections such as `crop:`, and is a list"):
        params.load(path)
    path.write_text("# nothing\n")
    with pytest.raises(UserError, match="is empty"):
        params.load(path)


def test_magface_refuses_a_lambda_below_its_bound() -> None:
    # Meng et al. 2021: s K u_a^2 l_a^2 / (u_a^2 - l_a^2), K = (u_m - l_m) / (u_a - l_a); their 35 is above it
    published = params.MagFace(scale=64, l_a=10, u_a=110, l_m=0.45, u_m=0.8, lambda_g=35)
    bound = 64 * (0.35 / 100) * (110**2 * 10**2) / (110**2 - 10**2)
    assert published.lambda_bound == pytest.approx(bound)
    with pytest.raises(ValueError, match=r"lambda_g = 20.0 is below its bound; the nearest valid value is 22.5"):
        params.MagFace(scale=64, l_a=10, u_a=110, l_m=0.45, u_m=0.8, lambda_g=20)  # the thesis's setting
    with pytest.raises(ValueError, match="u_a"):  # its square is no number
        params.MagFace(u_a=1e308)


VERBS: dict[str, list[str]] = {
    **{verb: [] for verb in STAGES},
    "train": ["albedo"],
    "fuse": ["all"],
    "synthesise": ["aged"],
    "evaluate": ["all"],
    "maps": ["im0.png", "im1.png", "im2.png", "--lights", "lights.csv", "-o", "session.exr"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_params_that_are_not_there_end_in_one_line(
    verb: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, *VERBS[verb], "--params", "nope.yaml"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "psface: nope.yaml is missing: check the path\n"


@pytest.mark.parametrize("verb", ["crop", "train", "fuse"])
def test_a_command_refuses_bad_params_before_work_with_exit_2(
    verb: str, workspace: Path, values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = copy.deepcopy(values)
    changed["crop"]["sise"] = 3
    Path("params.yaml").write_text(yaml.safe_dump(changed))
    item = {"train": ["albedo"], "fuse": ["all"]}.get(verb, [])
    with pytest.raises(SystemExit) as stop:
        main([verb, *item])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "crop.sise" in printed.err
    assert [p.name for p in workspace.iterdir()] == ["params.yaml"]


def test_help_lists_each_verb_with_a_line() -> None:
    text = CliRunner().invoke(psface, ["--help"]).output
    assert all(verb in text for verb in {**STAGES, **TOOLS})


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["detct"])
    assert stop.value.code == 2
    assert "did you mean `detect`" in capsys.readouterr().err


def test_params_yaml_spells_out_whatever_can_be_chosen(repository: Path, values: dict[str, Any]) -> None:
    """DVC sees only what is written there: a default changed in code alone would re-run nothing."""
    dumped = params.load(repository / "params.yaml").model_dump(mode="json")
    for name, section in dumped.items():
        entries = {"": section} if name not in ("train", "fuse") else section
        for item, chosen in entries.items():
            written = values[name] if item == "" else values[name][item]
            # of Yale B alone, in its recipe; of single photographs; of entries that are not named after their modality
            elsewhere = {"deal", "photographs"} | ({"modalities"} if name == "train" else set())
            assert set(chosen) - elsewhere == set(written), f"{name} {item}"
