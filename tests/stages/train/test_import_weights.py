"""`psface import-weights`: the published layouts against a twin of the published networks, and what is refused."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.age import expected_age
from pipeline.cli import main
from pipeline.contract import load_run
from pipeline.errors import UserError
from pipeline.faces import CHANNELS
from stages.evaluate.network import embed_faces, load_network
from stages.train.official import Official, convert, read_official, read_tensors
from tests.stages.train import published

RUN = Path("runs/mtlface/train")
State = dict[str, Tensor]


def prefixed(state: State) -> State:
    return {f"module.{name}": value for name, value in state.items()}


def faces(channels: int) -> Tensor:
    rng = torch.Generator().manual_seed(5)
    smooth = torch.nn.functional.interpolate(torch.randn(2, channels, 14, 14, generator=rng), size=112, mode="bilinear")
    return smooth.clamp(-1, 1)


def saved(path: Path, state: Any) -> str:
    torch.save(state, path)
    return str(path)


@torch.no_grad()
def same_as_the_twin(state: State, ages: State | None, channels: int, *, journal: bool) -> None:
    """The run in `RUN` says of faces what the published networks say."""
    contract, network = load_network(RUN)
    modality = "colour" if channels == 3 else "frame"
    assert (contract.modalities, contract.channels, contract.size) == ([modality], {modality: CHANNELS[modality]}, 112)
    x = faces(channels)
    embedding, x_age = published.look(state, x.expand(-1, 3, -1, -1), journal=journal)
    seen = network.eval()({modality: x})
    torch.testing.assert_close(seen.embedding, embedding, rtol=2e-3, atol=2e-3)
    assert float(torch.nn.functional.cosine_similarity(embedding[0], embedding[1], dim=0)) < 0.99  # of two faces
    if ages is None:
        assert (seen.logits, contract.attributes) == ({}, {})
        return
    years, groups = published.ages(ages, x_age)
    torch.testing.assert_close(expected_age(seen.logits["age"]), years, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(seen.logits["age_group"], groups, rtol=1e-2, atol=1e-2)
    assert float(years.std()) > 0.1


@torch.no_grad()
def mirrored_as_the_twin(state: State, ages: State) -> None:
    """Unit embeddings of a face and its mirror image are added, ages averaged, as the journal's package does."""
    x = faces(1)[:1]
    views = [published.look(state, each.expand(-1, 3, -1, -1), journal=True) for each in (x, x.flip(3))]
    unit = [view[0] / view[0].norm() for view in views]
    said = embed_faces(load_network(RUN)[1], {"colour": x.expand(-1, 3, -1, -1)})
    expected = (unit[0] + unit[1]) / (unit[0] + unit[1]).norm()
    np.testing.assert_allclose(said.embeddings / np.linalg.norm(said.embeddings), expected, rtol=1e-3, atol=1e-4)
    both = [float(published.ages(ages, view[1])[0]) for view in views]
    assert said.probabilities["age"][0] @ np.arange(101) == pytest.approx(sum(both) / 2, rel=1e-3)


def test_the_cvpr_versions_files(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All six files of a release, of several processes: backbone and age network are taken, the others named."""
    backbone, ages = published.backbone(), published.age_network()
    assert len(backbone) == 482
    files = {
        "backbone-36000": backbone,
        "estimation_network-36000": ages,
        "da_discriminator-36000": published.age_network(seed=9),
        "head-36000": {"weight": torch.zeros(5, 512)},
        "generator-36000": {"conv1.0.weight": torch.zeros(2), "up_1.shortcut.weight": torch.zeros(2)},
        "discriminator-36000": {"conv1.weight": torch.zeros(2), "main.0.bias": torch.zeros(2)},
    }
    main(["import-weights", *(saved(Path(name), prefixed(state)) for name, state in files.items())])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [
        "not taken over: the class head, of subjects whom nobody else has (1 tensor)",
        "not taken over: the cross-age discriminator (11 tensors)",
        "not taken over: the discriminator (2 tensors)",
        "not taken over: the generator (2 tensors)",
    ]
    assert lines[-1].startswith("wrote runs/mtlface/train (CVPR version, ")
    assert {path.name for path in RUN.iterdir()} == {"weights.safetensors", "contract.json"}
    assert load_run(RUN)[0].attributes == {"age": 101}
    same_as_the_twin(backbone, ages, 1, journal=False)


def test_the_journal_versions_file(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There the attention keeps the identity, and reads averages beside maxima; in colour."""
    state = published.journal_file()
    main(["import-weights", saved(Path("mtlface_checkpoints.tar"), state), "-o", str(RUN), "--colour"])
    said = capsys.readouterr().out
    for left in (
        "`aging1` (1 tensor)",
        "`styles` (2 tensors)",
        "`upsample1`",
        "`decoder` (2 tensors)",
        "`expectation`",
    ):
        assert f"not taken over: {left}" in said
    assert "wrote runs/mtlface/train (journal version, " in said
    backbone = {n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")}
    same_as_the_twin(backbone, published.age_network(), 3, journal=True)
    mirrored_as_the_twin(backbone, published.age_network())


def test_a_backbone_alone_has_the_identity_and_no_age(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = published.backbone(seed=4)
    main(["import-weights", saved(Path("backbone-1"), backbone)])
    assert "no age network among the files: the run tells no ages" in capsys.readouterr().out
    same_as_the_twin(backbone, None, 1, journal=False)


def test_tensors_may_be_halves_and_share_their_memory(tmp_path: Path) -> None:
    """Two names of one tensor, which safetensors would not write."""
    backbone = {n: v.half() if v.is_floating_point() else v for n, v in published.backbone().items()}
    backbone["block1.1.res_layer.0.bias"] = backbone["block1.0.res_layer.0.bias"]
    _, state = convert(read_official([Path(saved(tmp_path / "backbone", backbone))]), tmp_path)
    assert {str(v.dtype) for v in state.values()} == {"torch.float32", "torch.int64"}
    assert len({v.data_ptr() for v in state.values()}) == len(state)


def changed(change: Callable[[State], Any]) -> Callable[[], State]:
    def make() -> State:
        state = published.backbone()
        change(state)
        return state

    return make


def stretched(state: State) -> None:
    """A tensor of one number that claims to be 2^40."""
    state["input_layer.0.weight"] = torch.zeros(1).as_strided((1 << 20, 1 << 20), (0, 0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (changed(lambda s: s.pop("block3.13.res_layer.4.weight")), "not the tensors of MTLFace's IR-50"),
        (changed(lambda s: s.pop("fsm.channel.0.weight")), r"fsm.channel.0.weight is missing, \(448, 7168, 1, 1\)"),
        (changed(lambda s: s.update({"fsm.channel.0.weight": torch.zeros(5, 4)})), r"is \(5, 4\), .* expected"),
        (changed(lambda s: s.update({"input_layer.0.weight": torch.zeros(64, 1, 3, 3)})), "not the tensors"),
        (changed(lambda s: s.update({"block9.0.x": torch.zeros(1), "output_layer.3.bias": torch.zeros(9)})), "not the"),
        (changed(lambda s: s["output_layer.4.bias"].fill_(float("nan"))), "values that are not finite"),
        (changed(lambda s: s.update({"fsm.spatial.0.weight": torch.zeros(1, 2, 7, 7).to_sparse()})), "not the tensors"),
        (changed(lambda s: s.update({"input_layer.0.weight": torch.empty(64, 3, 3, 3, device="meta")})), "not the"),
        (changed(stretched), "not the tensors"),
    ],
)
def test_other_networks_are_refused(make: Callable[[], State], message: str) -> None:
    state = make()
    with pytest.raises(UserError, match=message):
        convert(Official(backbone=state), Path("backbone-1"), colour=True)


def test_an_age_network_of_other_groups_is_refused() -> None:
    with pytest.raises(UserError, match="3 groups of ages, 4, 5, 6, 7, 8 expected"):
        convert(Official(backbone=published.backbone(), ages=published.age_network(groups=3)), Path("a"))


class Touch:
    """What leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('pathlib').Path('trace').touch()",)


def with_payload() -> bytes:
    file = io.BytesIO()
    torch.save({"input_layer.0.weight": torch.zeros(1), "module.fsm": Touch()}, file)
    return file.getvalue()


def compressed() -> bytes:
    """A file of torch packed once more: a bomb would look like it."""
    file, packed = io.BytesIO(), io.BytesIO()
    torch.save({"input_layer.0.weight": torch.zeros(1000)}, file)
    with zipfile.ZipFile(file) as given, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for entry in given.infolist():
            made.writestr(entry.filename, given.read(entry))
    return packed.getvalue()


def of(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a payload": (with_payload, "not a file of tensors that `torch.save` writes"),
    "a whole module": (lambda: of(torch.nn.Linear(2, 2)), "not a file of tensors"),
    "a payload in the old format": (lambda: of({"a": Touch()}, _use_new_zipfile_serialization=False), "not a file of"),
    "compressed": (compressed, "not a file of tensors"),
    "half a file": (lambda: of({"weight": torch.zeros(99)})[:400], "not a file of tensors"),
    "a text": (lambda: b"<html>quota exceeded</html>", "not a file of tensors"),
    "nothing": (lambda: b"", "not a file of tensors"),
    "numbers": (lambda: of({"weight": 3}), "holds other things than tensors by name"),
    "a list": (lambda: of([torch.zeros(1)]), "holds other things than tensors by name"),
    "no tensors": (lambda: of({}), "holds other things than tensors by name"),
    "another network": (lambda: of({"layer1.0.weight": torch.zeros(3)}), "nothing of MTLFace is called `layer1.0"),
    "a head alone": (lambda: of({"module.weight": torch.zeros(3, 512)}), "no backbone in it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_one_line_and_nothing_is_run(
    kind: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = HOSTILE[kind]
    Path("backbone-1").write_bytes(make())
    with pytest.raises(SystemExit) as stopped:
        main(["import-weights", "backbone-1"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("trace").exists()
    assert not RUN.exists()


def test_the_payload_is_live(workspace: Path) -> None:
    torch.load(io.BytesIO(with_payload()), weights_only=False)
    assert Path("trace").exists()


def test_mistakes(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    tiny = saved(Path("backbone-1"), {"input_layer.0.weight": torch.zeros(1)})
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    for arguments, message in [
        (["none"], "none is missing: give a file of MTLFace's official weights"),
        (["pipe"], "pipe cannot be read (a named pipe, not a file)"),
        ([tiny, tiny], "another file has these tensors already"),
        ([tiny, "-o", "mine"], "mine is there already and is no run: choose another --output"),
        ([], "Missing argument 'FILE...'"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            main(["import-weights", *arguments])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
    assert Path("mine/thesis.txt").exists()


def test_module_in_front_is_dropped_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", {"module.module.a": torch.zeros(1), "b.module.c": torch.ones(1)})
    assert set(read_tensors(Path(path))) == {"module.a", "b.module.c"}
