"""Every network of the registry: shapes, gradients, determinism, devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import Recogniser, create_model, model_names, register, restore_model
from models.adversary import Adversaries
from models.age import AgeLoss, CrossAge, expected_age
from models.attention import ATTENTIONS
from models.backbones import BACKBONES
from models.embedding import embed
from models.focal import class_constants
from models.fusion import FusionLayer, Gate, Projection
from models.magface import MagFace
from models.margins import CosFace
from models.objective import Objective

ATTRIBUTES = {"spectacles": 2, "facial_hair": 5, "expression": 4, "pose": 5, "gender": 2}
CHANNELS = {"normal": 3, "albedo": 1}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def branch(modality: str, size: int = 96, **changes: Any) -> dict[str, Any]:
    kwargs = {"channels": {modality: CHANNELS[modality]}, "size": size, "attributes": ATTRIBUTES}
    return {"name": "iresnet18", "kwargs": {**kwargs, "width": 8, "dimension": 64, **changes}}


def make(name: str, size: int = 96) -> nn.Module:
    torch.manual_seed(0)
    if name == "fusion":
        return create_model(name, branches=[branch("normal", size), branch("albedo", size)])
    return create_model(name, **branch("normal", size)["kwargs"])


def faces(count: int = 4, size: int = 96) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(count, c, size, size, generator=rng) for name, c in CHANNELS.items()}


def labels(count: int = 4) -> dict[str, Tensor]:
    return {name: torch.arange(count) % n for name, n in ATTRIBUTES.items()}


def objective(model: nn.Module, coefficient: float | None = None, **changes: Any) -> Objective:
    torch.manual_seed(2)
    constants = {name: class_constants([1] * n, focus=1.0) for name, n in ATTRIBUTES.items()}
    if coefficient is not None:
        alpha = {name: each[0] for name, each in constants.items()}
        changes["adversaries"] = Adversaries(model.dimension, alpha, dict.fromkeys(ATTRIBUTES, coefficient))
    return Objective(MagFace(model.dimension, 3), constants, dict.fromkeys(ATTRIBUTES, 1.0), **changes)


def judged(model: nn.Module, losses: Objective) -> Any:
    ones = torch.ones(4)
    return losses(model(faces()), torch.tensor([0, 1, 2, 0]), labels(), ones, ones)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [112, 96, 250])
@pytest.mark.parametrize("name", model_names())
def test_shapes(name: str, size: int, device: str) -> None:
    model = make(name, size).to(device).eval()
    seen = model({k: v.to(device) for k, v in faces(3, size).items()})
    assert seen.embedding.shape == (3, model.dimension)
    assert seen.embedding.device.type == device
    assert {k: v.shape for k, v in seen.logits.items()} == {k: (3, n) for k, n in ATTRIBUTES.items()}


def gets_gradients(model: nn.Module) -> None:
    model.train()
    losses = objective(model, coefficient=0.5, learned=True)
    found = judged(model, losses)
    found.total.backward()
    for key, parameter in [*model.named_parameters(), *losses.named_parameters()]:
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert bool(torch.isfinite(parameter.grad).all()), key
            assert float(parameter.grad.abs().sum()) > 0, key
    assert found.not_finite() is None


@pytest.mark.parametrize("name", model_names())
def test_every_parameter_gets_a_gradient(name: str) -> None:
    gets_gradients(make(name))


@pytest.mark.parametrize("changes", [{"attention": a} for a in (*ATTENTIONS, "none")] + [{"activation": "relu"}])
def test_every_variant_gets_gradients(changes: dict[str, str]) -> None:
    torch.manual_seed(0)
    gets_gradients(create_model("iresnet18", **branch("normal", **changes)["kwargs"]))


@pytest.mark.parametrize("name", [n for n in model_names() if n != "fusion"])
def test_bfloat16_is_finite_and_near_float32(name: str) -> None:
    """Embeddings in bfloat16 point where those in float32 do, and all losses and gradients are finite."""
    model = make(name).to(memory_format=torch.channels_last)
    losses = objective(model, coefficient=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        found = judged(model, losses)
    found.total.backward()
    assert found.not_finite() is None
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
    model.eval()
    with torch.no_grad():
        exact = model(faces()).embedding
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(faces()).embedding.float()
    assert float(nn.functional.cosine_similarity(exact, rough).min()) > 0.99


def test_without_decomposition_all_read_the_same_map() -> None:
    model = create_model("iresnet18", **branch("normal", attention="none")["kwargs"]).eval()
    x = model.backbone(faces()["normal"])
    parts, identity = model.decomposition(x)
    assert list(parts) == list(ATTRIBUTES)
    assert all(torch.equal(part, x) for part in [*parts.values(), identity])
    assert not list(model.decomposition.parameters())


def test_attributes_are_taken_out_in_their_given_order() -> None:
    given = {"gender": 2, "expression": 4}
    model = create_model("iresnet18", **branch("normal", attributes=given)["kwargs"]).eval()
    x = model.backbone(faces()["normal"])
    parts, identity = model.decomposition(x)
    torch.testing.assert_close(parts["gender"], x * model.decomposition.steps["gender"](x))
    rest = x - parts["gender"]
    torch.testing.assert_close(parts["expression"], rest * model.decomposition.steps["expression"](rest))
    torch.testing.assert_close(identity, rest - parts["expression"])
    assert list(model.eval()(faces()).logits) == ["gender", "expression"]


def test_early_fusion_stacks_the_modalities() -> None:
    """One network over channels side by side, in the order of its modalities and not of the input's."""
    torch.manual_seed(0)
    kwargs = branch("normal", channels={"normal": 3, "albedo": 1})["kwargs"]
    model = create_model("iresnet18", **kwargs).eval()
    inputs = faces()
    assert model.backbone.stem[0].weight.shape[1] == 4
    stacked = torch.cat([inputs["normal"], inputs["albedo"]], dim=1)
    expected = model.embedding(model.decomposition(model.backbone(stacked))[1])
    for given in (inputs, dict(reversed(list(inputs.items())))):
        torch.testing.assert_close(model(given).embedding, expected)
    with pytest.raises(ValueError, match="sees normal with albedo, and got normal"):
        model({"normal": inputs["normal"]})


def test_each_attribute_trains_its_own_module() -> None:
    """Pins the thesis's first defect from outside: the loss of one attribute reaches its own attention and head."""
    for name in ATTRIBUTES:
        model = make("iresnet18")
        seen = model(faces())
        seen.logits[name].square().sum().backward()
        attention = model.decomposition.steps[name]
        assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in attention.parameters())
        others = [n for n in ATTRIBUTES if n != name]
        assert all(p.grad is None for n in others for p in model.heads[n].parameters())


def test_adversaries_learn_while_the_features_unlearn() -> None:
    grads = {}
    for share in (1.0, 0.5, 0.0):
        model = make("iresnet18")
        losses = objective(model, coefficient=0.4)
        ones = torch.ones(4)
        losses.adversaries(model(faces()).embedding, labels(), ones, share)["gender"].backward()
        reader = losses.adversaries.layers[0].weight.grad
        grads[share] = (model.backbone.stem[0].weight.grad, reader)
    model = make("iresnet18")
    plain = objective(model, coefficient=-1.0)  # a coefficient of -1 lets the gradient through as it is
    plain.adversaries(model(faces()).embedding, labels(), torch.ones(4))["gender"].backward()
    through = model.backbone.stem[0].weight.grad
    torch.testing.assert_close(grads[1.0][0], -0.4 * through, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(grads[0.5][0], -0.2 * through, rtol=1e-3, atol=1e-6)
    assert float(grads[0.0][0].abs().sum()) == 0
    for share in (0.5, 0.0):
        torch.testing.assert_close(grads[1.0][1], grads[share][1])


def test_norms_start_inside_magfaces_range() -> None:
    """Pins the thesis's third defect: norms of 5 to 8 under an l_a of 10."""
    model = make("iresnet18")
    norms = model(faces(32)).embedding.norm(dim=1).detach()
    assert float(norms.mean()) == pytest.approx(64**0.5, rel=0.15)  # sqrt(D)
    wide = create_model("iresnet18", **branch("normal", dimension=256)["kwargs"])
    assert not bool(MagFace(256, 2).clamped(wide(faces(32)).embedding.norm(dim=1).detach()).any())


def test_not_finite_names_the_task() -> None:
    model = make("iresnet18")
    seen = model(faces())
    seen.logits["pose"] = seen.logits["pose"] * float("nan")
    ones = torch.ones(4)
    assert objective(model)(seen, torch.tensor([0, 1, 2, 0]), labels(), ones, ones).not_finite() == "pose"


def test_losses_are_weighted_and_missing_labels_do_not_count() -> None:
    model = make("iresnet18")
    seen = model(faces())
    ones, subject = torch.ones(4), torch.tensor([0, 1, 2, 0])
    none = {name: torch.full((4,), -1) for name in ATTRIBUTES}
    heavy = objective(model, coefficient=0.5)
    heavy.fixed["pose"] = 3.0
    found = heavy(seen, subject, labels(), ones, ones)
    identity = found.tasks["identity"]
    attributes = sum(found.tasks[n] + found.tasks[f"adversary_{n}"] for n in ATTRIBUTES)
    torch.testing.assert_close(found.total, identity + attributes + 2 * found.tasks["pose"])
    torch.testing.assert_close(heavy(seen, subject, none, ones, ones).total, identity)


def test_learned_uncertainty_starts_from_the_weights_and_finds_the_balance() -> None:
    """Kendall et al. 2018: e^-s L + s / 2 has its minimum at s = log 2 L."""
    model = make("iresnet18")
    losses = objective(model, learned=True)
    losses.uncertainty["pose"].data.fill_(-np.log(2.0))
    assert losses.weights["pose"] == pytest.approx(2.0)
    seen, ones, subject = model(faces()), torch.ones(4), torch.tensor([0, 1, 2, 0])
    found = losses(seen, subject, labels(), ones, ones)
    expected = sum(found.tasks.values()) + found.tasks["pose"] - np.log(2.0) / 2
    torch.testing.assert_close(found.total, expected)
    with torch.no_grad():
        for name, s in losses.uncertainty.items():
            s.fill_(float(torch.log(2 * found.tasks[name])))
    seen = type(seen)(seen.embedding.detach(), {n: x.detach() for n, x in seen.logits.items()})
    losses(seen, subject, labels(), ones, ones).total.backward()
    for s in losses.uncertainty.values():
        torch.testing.assert_close(s.grad, torch.zeros(1), atol=1e-5, rtol=0)


def test_frozen_branches_do_not_drift() -> None:
    """Pins the thesis's seventh defect: frozen branches in training mode, whose norms' statistics moved."""
    model = make("fusion")
    before = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("branches.")}
    model.train()
    assert not any(module.training for module in model.branches.modules())
    losses = objective(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.1)
    judged(model, losses).total.backward()
    optimiser.step()
    after = model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_untrained_fusion_is_concatenation_and_the_mean_of_logits() -> None:
    made = {modality: create_model(**_flat(branch(modality))) for modality in CHANNELS}
    fusion = make("fusion")
    fusion.load_branches({modality: each.state_dict() for modality, each in made.items()})
    fusion.eval()
    inputs = faces()
    seen = {modality: each.eval()(inputs) for modality, each in made.items()}
    together = fusion(inputs)
    plain = torch.cat([nn.functional.normalize(each.embedding, dim=1) for each in seen.values()], dim=1)
    torch.testing.assert_close(nn.functional.normalize(together.embedding, dim=1), plain / 2**0.5)
    torch.testing.assert_close(together.embedding.norm(dim=1), torch.full((4,), 16.0))
    for name in ATTRIBUTES:
        mean = torch.stack([each.logits[name] for each in seen.values()]).mean(dim=0)
        torch.testing.assert_close(together.logits[name], mean)


def test_gates_start_equal_and_sum_to_one() -> None:
    torch.manual_seed(0)
    gate, plain = Gate([8, 8, 8]), FusionLayer([8, 8, 8])
    embeddings = 16 * torch.randn(5, 24)
    torch.testing.assert_close(gate(embeddings), plain(embeddings))
    nn.init.normal_(gate.judge[2].weight)
    weights = gate.weights(embeddings)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))
    assert weights.std(dim=0).min() > 0.001  # of the face, not of the modality alone
    lengths = torch.stack([part.norm(dim=1) for part in gate(embeddings).split(8, dim=1)], dim=1)
    torch.testing.assert_close((lengths / 16) ** 2, weights)


def test_embed_gives_a_fusions_gates() -> None:
    """The mean over both views of each face, whatever the batches."""
    torch.manual_seed(0)
    model = create_model("fusion", branches=[branch(modality) for modality in CHANNELS], kind="gate").eval()
    nn.init.normal_(model.layer.judge[2].weight)
    inputs = faces(5)
    gates = embed(model, inputs, batch_size=2, mirror=lambda x, *_: x.flip(-1)).gates
    with torch.no_grad():
        views = [model(inputs).gates, model({name: x.flip(-1) for name, x in inputs.items()}).gates]
    np.testing.assert_allclose(gates, torch.stack(views).mean(dim=0), rtol=1e-4)
    assert embed(model, {name: x[:0] for name, x in inputs.items()}).gates is None


def test_a_projection_starts_inside_magfaces_range() -> None:
    torch.manual_seed(0)
    for dimension in (16, 64, 256):
        norms = Projection([64, 64], dimension)(torch.randn(50, 128)).norm(dim=1)
        assert 13 < norms.mean() < 19


def test_fusion_needs_two_different_modalities() -> None:
    with pytest.raises(ValueError, match="different modalities"):
        create_model("fusion", branches=[branch("normal"), branch("normal")])


def test_embed_in_batches_is_embed_at_once() -> None:
    model = make("iresnet18")
    inputs = {"normal": faces(5)["normal"]}
    with torch.no_grad():
        plain = model.eval()(inputs).embedding.numpy()
    several, shares, gates = embed(model, inputs, batch_size=2)
    once, *_ = embed(model, inputs, batch_size=5)
    np.testing.assert_allclose(several, once, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(several, plain, rtol=1e-4, atol=1e-4)  # in torch's default layout
    assert model.backbone.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert several.dtype == np.float32
    assert gates is None
    for name, n in ATTRIBUTES.items():
        assert shares[name].shape == (5, n)
        np.testing.assert_allclose(shares[name].sum(axis=1), 1, rtol=1e-5)


def test_embed_with_a_mirror_does_not_know_left_from_right() -> None:
    model = make("iresnet18")
    inputs = {"normal": faces(3)["normal"]}

    def mirror(x: Tensor, *_: object) -> Tensor:
        return x.flip(-1)

    straight, *_ = embed(model, inputs, mirror=mirror)
    flipped, *_ = embed(model, {"normal": inputs["normal"].flip(-1)}, mirror=mirror)
    np.testing.assert_allclose(straight, flipped, rtol=1e-4, atol=1e-4)
    single = embed(model, inputs)[0]
    assert np.linalg.norm(straight, axis=1) == pytest.approx(np.linalg.norm(single, axis=1), rel=0.5)
    with pytest.raises(ValueError, match="equally many faces"):
        embed(model, {"normal": inputs["normal"], "albedo": faces(2)["albedo"]})


def test_wrong_inputs_are_refused() -> None:
    model = make("iresnet18")
    with pytest.raises(ValueError, match="sees normal"):
        model({"albedo": torch.zeros(1, 1, 96, 96)})
    with pytest.raises(ValueError, match="expected faces of shape"):
        model({"normal": torch.zeros(1, 3, 64, 96)})
    with pytest.raises(ValueError, match="no attention `hat`"):
        Recogniser("iresnet18", {"normal": 3}, 96, {"pose": 2}, attention="hat")
    with pytest.raises(ValueError, match="no activation `hat`"):
        Recogniser("iresnet18", {"normal": 3}, 96, {"pose": 2}, activation="hat")
    with pytest.raises(ValueError, match="at least one modality"):
        Recogniser("iresnet18", {}, 96, {"pose": 2})


def test_registry_knows_its_names() -> None:
    with pytest.raises(ValueError, match="did you mean `iresnet18`"):
        create_model("iresnet81")
    with pytest.raises(ValueError, match="registered already"):
        register("fusion")(nn.Identity)


def test_a_network_made_for_its_weights_draws_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: drawn for shapes alone, they cost `psface evaluate` the import of torch's compiler, over a second."""
    spec = branch("normal")
    trained = make("iresnet18").eval()
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda *_, **__: pytest.fail("weights were drawn"))
    restored = restore_model("iresnet18", trained.state_dict(), **spec["kwargs"]).eval()
    assert all(not weight.is_meta for weight in restored.state_dict().values())
    with torch.no_grad():
        assert torch.equal(restored(faces()).embedding, trained(faces()).embedding)


def _flat(spec: dict[str, Any]) -> dict[str, Any]:
    return {"name": spec["name"], **spec["kwargs"]}


def with_age(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    told = {"age": 101, "gender": 2}
    return create_model("iresnet18", **branch("normal", attributes=told, **changes)["kwargs"])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [n for n in model_names() if n != "fusion"])
def test_age_is_an_attribute_with_a_head_of_its_own(name: str, device: str) -> None:
    torch.manual_seed(0)
    kwargs = branch("normal", attributes={"age": 101, "gender": 2}, age_groups=5)["kwargs"]
    model = create_model(name, **kwargs).to(device)
    seen = model({"normal": faces()["normal"].to(device)})
    assert {k: v.shape[1] for k, v in seen.logits.items()} == {"age": 101, "age_group": 5, "gender": 2}
    assert seen.identity.shape == (4, *model.shape)
    cross = CrossAge(model.shape[0], model.shape[1] * model.shape[2], hidden=8, groups=5)
    losses = Objective(CosFace(64, 3), {"gender": ([1.0] * 2, [0.0] * 2)}, {"age": 0.001, "gender": 1.0},
                       age=AgeLoss(5), cross_age=cross).to(device)  # fmt: skip
    told = {"age": torch.tensor([3.0, 40.0, -1.0, 66.0], device=device), "gender": torch.arange(4, device=device) % 2}
    ones, subject = torch.ones(4, device=device), torch.tensor([0, 1, 2, 0], device=device)
    found = losses(seen, subject, told, ones, ones)
    tasks = found.tasks
    expected = tasks["identity"] + 0.001 * tasks["age"] + tasks["gender"] + 0.002 * tasks["cross_age"]
    torch.testing.assert_close(found.total, expected)
    found.total.backward()
    for key, parameter in [*model.named_parameters(), *losses.named_parameters()]:
        assert parameter.grad is not None, key
        assert float(parameter.grad.abs().sum()) > 0, key


def test_the_age_of_two_views_is_the_mean_of_theirs() -> None:
    """As MTLFace tells it: the mean of the expectations of a face and its mirror image."""
    model, inputs = with_age().eval(), {"normal": faces()["normal"]}
    said = embed(model, inputs, mirror=lambda x, *_: x.flip(-1)).probabilities
    with torch.no_grad():
        views = [
            expected_age(model({"normal": x}).logits["age"]) for x in (inputs["normal"], inputs["normal"].flip(-1))
        ]
    np.testing.assert_allclose(said["age"] @ np.arange(101), torch.stack(views).mean(dim=0), rtol=1e-4)


def test_what_is_taken_out_need_not_be_read() -> None:
    """An age without a head leaves the identity the same; so do imported weights that come without one."""
    read, unread = with_age().eval(), create_model(
        "iresnet18", **branch("normal", attributes={"age": 0, "gender": 2})["kwargs"]
    ).eval()  # fmt: skip
    unread.load_state_dict({k: v for k, v in read.state_dict().items() if not k.startswith("heads.age")})
    inputs = {"normal": faces()["normal"]}
    assert set(unread(inputs).logits) == {"gender"}
    assert torch.equal(unread(inputs).embedding, read(inputs).embedding)


def test_a_fusion_leaves_the_age_to_its_branches() -> None:
    told = {"age": 101, "gender": 2}
    model = create_model("fusion", branches=[branch(m, attributes=told) for m in CHANNELS]).eval()
    assert set(model(faces()).logits) == {"gender"}


@pytest.mark.parametrize("strides", [(2, 2, 2, 2), (1, 2, 2, 2)])
@pytest.mark.parametrize("name", BACKBONES)
def test_decomposed_maps_are_those_that_the_heads_read(name: str, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    kwargs = branch("normal", attributes={"age": 101}, strides=strides)["kwargs"]
    model, inputs = create_model(name, **kwargs).eval(), {"normal": faces()["normal"]}
    seen, made = model(inputs), model.decompose(inputs)
    assert torch.equal(made.identity, seen.identity)
    assert torch.equal(model.heads["age"](made.parts["age"])[0], seen.logits["age"])
    sides = [level.shape[2] for level in made.levels]
    assert sides == sorted(set(sides))
    assert made.identity.shape[2] < sides[0]
    assert sides[-1] < 96
    if name == "ir50":
        assert [level.shape[1] for level in made.levels] == ([32, 16, 8] if strides[0] == 2 else [32, 16])
