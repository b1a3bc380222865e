"""`psface init`: a workspace that DVC runs at once, whose stages follow the repository's own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from own_data import write_session, write_set

from pipeline.attributes import ATTRIBUTES
from pipeline.cli import main
from pipeline.lights import from_angles
from pipeline.params import Reconstruct, load
from pipeline.sessions import read_sessions
from stages.balance.splits import split_subjects
from stages.ingest import init_code
from stages.ingest.check_warnings import LEAST_SUBJECTS
from stages.ingest.init_code import code_by_stage, code_of, defaults_of
from stages.ingest.init_files import FUSIONS, RUNS, Choices, render


def run(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    try:
        main(list(args))
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capfd.readouterr()
    return status, out, err


@pytest.fixture
def stages(repository: Path) -> dict[str, Any]:
    """The stages of the repository's own workspace."""
    found: dict[str, Any] = yaml.safe_load((repository / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return found


def choices(**changes: Any) -> Choices:
    return Choices(**{"name": "own", "source": "folder", "sessions": 9, "subjects": 4, "flashes": "4",
                      "attributes": ("gender",), **changes})  # fmt: skip


def _inner(stage: dict[str, Any]) -> dict[str, Any]:
    return stage.get("do", stage)


def _is_code(dep: str) -> bool:
    return dep.startswith(("stages/", "pipeline/", "models"))


def test_its_stages_are_the_repository_s(stages: dict[str, Any]) -> None:
    """All but `simulate` and `synthesise`, with the same commands, data, outs, metrics; code is a key of code.yaml."""
    text = render(choices())["dvc.yaml"]
    own = yaml.safe_load(text)["stages"]
    assert own.pop("code")["always_changed"] is True
    assert list(own) == [name for name in stages if name not in ("simulate", "synthesise")]
    for name, stage in own.items():
        mine, root = _inner(stage), _inner(stages[name])
        assert stage.get("matrix") == stages[name].get("matrix")
        assert mine["cmd"] == root["cmd"]
        assert mine["outs"] == root["outs"]
        assert mine.get("metrics") == root.get("metrics")
        assert mine["params"] == [*root["params"], {"code.yaml": [name]}]
        data = [dep.replace("data/simulated", "data/frames") for dep in root["deps"] if not _is_code(dep)]
        assert set(mine["deps"]) - {"data/frames"} == set(data) - {"data/frames"}
        assert ("data/frames" in mine["deps"]) >= ("data/frames" in data)


def test_its_runs_and_fusions_are_the_repository_s(repository: Path) -> None:
    params = load(repository / "params.yaml")
    assert params.fuse is not None
    assert {name: fusion.modalities for name, fusion in params.fuse.items()} == FUSIONS
    dvc = yaml.safe_load((repository / "dvc.yaml").read_text(encoding="utf-8"))
    assert tuple(dvc["stages"]["evaluate"]["matrix"]["run"]) == RUNS


@pytest.mark.parametrize("source", ["photoface", "yaleb", "folder"])
@pytest.mark.parametrize("attributes", [(), ("gender",), ("gender", "spectacles", "facial_hair", "pose", "expression")])
def test_its_params_are_valid(tmp_path: Path, source: str, attributes: tuple[str, ...]) -> None:
    (tmp_path / "params.yaml").write_text(render(choices(source=source, attributes=attributes))["params.yaml"])
    params = load(tmp_path / "params.yaml")
    assert params.ingest is not None
    assert params.balance is not None
    assert params.train is not None
    assert params.train["normal"] is not None
    assert (params.ingest.source, params.ingest.root) == (source, "data/frames")
    assert tuple(params.train["normal"].attributes) == attributes
    assert set(params.balance.attributes) == set(attributes) - {"pose"}
    assert params.simulate is None


@pytest.mark.parametrize(("subjects", "enough"), [(LEAST_SUBJECTS - 1, False), (LEAST_SUBJECTS, True)])
def test_as_many_subjects_as_training_is_said_to_need(tmp_path: Path, subjects: int, enough: bool) -> None:
    """Under the shares that init writes, every split gets two; one less, and some split has nobody to confuse."""
    (tmp_path / "params.yaml").write_text(render(choices(subjects=subjects))["params.yaml"])
    balance = load(tmp_path / "params.yaml").balance
    assert balance is not None
    table = pd.DataFrame({"subject": [f"s{i // 2}" for i in range(2 * subjects)], **dict.fromkeys(ATTRIBUTES, -1)})
    shares = {"validation": balance.validation, "test": balance.test}
    splits = split_subjects(table, {**shares, "train": 1 - sum(shares.values())}, seed=balance.seed)
    assert (min(Counter(splits.values()).values()) >= 2) == enough


def test_the_code_s_hash_is_its_content_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "somecode"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    first = code_of("somecode")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_bytes(b"1")
    assert code_of("somecode") == first
    (package / "a.py").write_text("x = 2\n")
    changed = code_of("somecode")
    (package / "page.html").write_text("<p>")
    assert len({first, changed, code_of("somecode"), code_of("somecode.a")}) == 4


def test_code_yaml_has_a_hash_for_each_stage(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "code")[0] == 0
    first = Path("code.yaml").read_bytes()
    hashes = yaml.safe_load(first)
    assert list(hashes) == list(code_by_stage())
    assert all(re.fullmatch("[0-9a-f]{16}", value) for value in hashes.values())
    assert run(capfd, "code")[0] == 0
    assert Path("code.yaml").read_bytes() == first


def test_a_default_that_changes_is_another_code(
    workspace: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace's params.yaml names few keys: what the others mean changed its results without running a stage."""
    assert run(capfd, "code")[0] == 0
    before = yaml.safe_load(Path("code.yaml").read_text())

    class Stricter(Reconstruct):
        shadow: float = 0.2

    assert defaults_of("reconstruct")["shadow"] == 0.1
    assert defaults_of("train")["identity"]["scale"] == 32
    monkeypatch.setitem(init_code.SECTIONS, "reconstruct", Stricter)
    assert run(capfd, "code")[0] == 0
    after = yaml.safe_load(Path("code.yaml").read_text())
    assert [stage for stage in before if before[stage] != after[stage]] == ["reconstruct"]


def test_a_workspace_is_made(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(Path("own"), subjects=2)
    Path("own/labels.csv").write_text("subject,gender\ns0,male\ns1,female\n")
    status, out, err = run(capfd, "init", "ws", "own", "--source", "folder")
    assert status == 0, err
    assert "4 sessions, source folder; next: cd ws && dvc repro" in out
    assert "note: 2 subjects with two sessions or more: training needs 6" in err
    assert "note: labels of spectacles, facial_hair, pose, expression" in err
    made = {".dvc", ".dvcignore", ".gitignore", "README.md", "data", "dvc.yaml", "params.yaml"}
    assert {p.name for p in Path("ws").iterdir()} == made
    assert Path("ws/data/frames").resolve() == Path("own").resolve()
    config = Path("ws/.dvc/config").read_text()
    assert "analytics = false" in config
    assert "no_scm = True" in config
    assert "/cache" in Path("ws/.dvc/.gitignore").read_text()
    params = load("ws/params.yaml")
    assert params.train is not None
    assert params.train["albedo"] is not None
    assert params.train["albedo"].attributes == {"gender": 1}
    readme = Path("ws/README.md").read_text()
    for part in ("4 usable sessions of 2 subjects, 4 frames each", "dvc add data/frames", "dvc import-url", "**Note**"):
        assert part in readme
    assert not any(str(workspace) in path.read_text() for path in Path("ws").glob("*.*") if path.is_file())


def test_sessions_without_lights_are_taken_when_asked(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(Path("own"), subjects=2)
    for path in Path("own").rglob("lights.csv"):
        path.unlink()
    status, _, err = run(capfd, "init", "ws", "own")
    assert status == 2
    assert "no lights are known: --uncalibrated has them estimated" in err
    assert err.count("\n") == 1
    status, out, err = run(capfd, "init", "ws", "own", "--uncalibrated")
    assert status == 0, err
    assert "4 sessions, source folder" in out
    params = load("ws/params.yaml")
    assert params.ingest is not None
    assert params.ingest.uncalibrated


def test_below_a_git_repository_it_is_a_part_of_it(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(Path("own"), subjects=1)
    for place, where in (("outer/ws", "outer"), ("alone", "alone")):
        Path(where).mkdir()
        subprocess.run(["git", "init", "-q", where], check=True)
        status, _, err = run(capfd, "init", place, "own")
        assert status == 0, err
        assert "no_scm" not in Path(place, ".dvc/config").read_text()
        ignored = subprocess.run(
            ["git", "check-ignore", "data/frames", "data/maps", "data/frames.dvc", "runs/a/train/b", "code.yaml",
             "runs/a/evaluate/metrics.json", "dvc.lock"],
            cwd=place, check=True, capture_output=True, text=True,
        ).stdout.split()  # fmt: skip
        assert ignored == ["data/frames", "data/maps", "runs/a/train/b"]


def test_trained_runs_are_scored(
    workspace: Path, capfd: pytest.CaptureFixture[str], make_run: Any, stages: dict[str, Any]
) -> None:
    """A run that has seen another number of flashes is left out."""
    for name in ("normal", "frames"):
        make_run(Path("elsewhere/runs", name, "train"), name, name)
    write_session(Path("own/ann/one"), from_angles([35] * 3, [90, 210, 330]))
    status, _, err = run(capfd, "init", "a/ws", "own", "--trained", "elsewhere/runs")
    assert status == 0, err
    assert err == "note: the run frames was trained on 4 frames a session, and these have 3: it is left out\n"
    own = yaml.safe_load(Path("a/ws/dvc.yaml").read_text())["stages"]
    assert [*own] == ["code", "ingest", "reconstruct", "crop", "balance", "evaluate", "report"]
    assert own["evaluate"]["matrix"] == {"run": ["normal"]}
    assert own["evaluate"]["cmd"] == "psface evaluate ${item.run} --weights ../../elsewhere/runs/${item.run}/train"
    assert own["report"]["cmd"] == "psface report --trained ../../elsewhere/runs"
    params = load("a/ws/params.yaml")
    assert params.balance is not None
    assert params.crop is not None
    assert params.crop.size == 32  # as those of make_run
    assert (params.balance.validation, params.balance.test, params.train, params.fuse) == (0, 1, None, None)


def test_trained_runs_lie_where_a_shell_and_dvc_would_stumble(
    workspace: Path, capfd: pytest.CaptureFixture[str], make_run: Any
) -> None:
    write_session(Path("own/ann/one"), from_angles([35] * 3, [90, 210, 330]))
    make_run(Path("Hương runs", "normal", "train"), "normal", "normal")
    make_run(Path("Hương runs", "no run; ls", "train"), "normal", "normal")
    assert run(capfd, "init", "ws", "own", "--trained", "Hương runs")[0] == 0
    own = yaml.safe_load(Path("ws/dvc.yaml").read_text())["stages"]
    assert own["evaluate"]["matrix"] == {"run": ["normal"]}
    command = shlex.split(own["evaluate"]["cmd"].replace("${item.run}", "normal"))
    assert command == ["psface", "evaluate", "normal", "--weights", "../Hương runs/normal/train"]
    make_run(Path("a; ls/normal/train"), "normal", "normal")
    status, _, err = run(capfd, "init", "other", "own", "--trained", "a; ls")
    assert (status, "dvc.yaml cannot name this folder" in err, Path("other").exists()) == (2, True, False)
    Path("runs/normal/train").mkdir(parents=True)
    Path("runs/normal/train/contract.json").write_bytes(b"\xff\xfe{}")
    status, _, err = run(capfd, "init", "other", "own", "--trained", "runs")
    assert (status, err) == (
        2,
        "psface: runs/normal/train/contract.json is not a contract of this version: train the run again\n",
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["full", "own"], "full is not empty (it holds a.txt)"),
        (["full/a.txt", "own"], "full/a.txt is a file"),
        (["own/ws", "own"], "own/ws lies in the data set own"),
        (["ws", "nowhere"], "nowhere: no such folder"),
        (["ws", "empty"], "empty: neither lights.csv"),
        (["ws", "empty", "--source", "photoface"], "empty: no folder <subject>/<session>/"),
        (["ws", "bad"], "bad: none of 1 sessions can be used"),
        (["ws", "own", "--trained", "empty"], "empty: no trained run that fits"),
        (["ws", "own", "--source", "photo"], "'photo' is not one of"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(
    workspace: Path, capfd: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    write_set(Path("own"), subjects=1, each=1)
    write_session(Path("bad/ann/one"))
    Path("bad/ann/one/flash0.png").write_bytes(b"")
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/a.txt").write_text("mine")
    before = sorted(map(str, Path().rglob("*")))
    status, out, err = run(capfd, "init", *args)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert sorted(map(str, Path().rglob("*"))) == before


def test_what_dvc_refuses_is_taken_back(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(Path("own"), subjects=1, each=1)
    subprocess.run(["git", "init", "-q", "."], check=True)
    Path(".gitignore").write_text("/ws/\n")
    status, _, err = run(capfd, "init", "ws", "own")
    assert status == 1
    assert "ignored" in err
    assert err.splitlines()[-1].startswith("psface: ws: ")
    assert not Path("ws").exists()


def test_the_recipe_of_real_faces_is_a_workspace_of_init(repository: Path, tmp_path: Path) -> None:
    recipe = repository / "recipes" / "yale"
    files = render(choices(name="yale", source="yaleb", attributes=(), trained="../../runs"))
    assert (recipe / "dvc.yaml").read_text(encoding="utf-8") == files["dvc.yaml"]
    assert (recipe / ".dvcignore").read_text(encoding="utf-8") == files[".dvcignore"]
    (tmp_path / "params.yaml").write_text(files["params.yaml"])
    own, made = load(recipe / "params.yaml"), load(tmp_path / "params.yaml")
    assert own.reconstruct == load(repository / "params.yaml").reconstruct  # as the maps it was trained on
    assert own.model_copy(update={"reconstruct": made.reconstruct}) == made


def dvc(folder: str, *command: str) -> list[str]:
    """Run DVC in a folder; the stages that it ran."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": paths, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(["dvc", *command], cwd=folder, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '([^']+)'", done.stdout)


@pytest.mark.e2e
def test_dvc_runs_it_at_once(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(Path("own"), subjects=1, each=1)
    assert run(capfd, "init", "ws", "own")[0] == 0
    assert dvc("ws", "repro", "ingest") == ["code", "ingest"]
    assert read_sessions("ws/data/sessions.parquet")[0].frames[0] == "data/frames/s0/v0/flash0.png"
    assert dvc("ws", "repro", "ingest") == ["code"]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("scm", [True, False])
def test_only_what_changed_runs_again(workspace: Path, capfd: pytest.CaptureFixture[str], scm: bool) -> None:
    """And frames that DVC keeps are as good as the link."""
    write_set(Path("own"), subjects=1)
    if scm:
        subprocess.run(["git", "init", "-q", "."], check=True)
    assert run(capfd, "init", "ws", "own")[0] == 0
    assert dvc("ws", "repro", "reconstruct") == ["code", "ingest", "reconstruct"]
    assert len(list(Path("ws/data/maps").rglob("*.exr"))) == 2
    params = Path("ws/params.yaml")
    params.write_text(params.read_text().replace("reconstruct: {}", "reconstruct: {shadow: 0.2}"))
    assert dvc("ws", "repro", "reconstruct") == ["code", "reconstruct"]
    Path("ws/data/frames").unlink()
    shutil.copytree("own", "ws/data/frames")
    assert dvc("ws", "add", "data/frames") == []
    assert dvc("ws", "repro", "reconstruct") == ["code"]
    shutil.rmtree("ws/data/frames")
    Path("ws/data/frames.dvc").unlink()
    dvc("ws", "import-url", str(Path("own").resolve()), "data/frames")
    assert dvc("ws", "repro", "reconstruct") == ["code"]
