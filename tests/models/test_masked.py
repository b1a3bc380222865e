"""Multi-task ArcFace: logits of a mask beside the embedding, its loss, and its published size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import Recogniser, create_model
from models.margins import ArcFace
from models.objective import Objective

SIZE = 56


def make(backbone: str = "ir50", **changes: Any) -> Recogniser:
    torch.manual_seed(0)
    kwargs = {"channels": {"normal": 3}, "size": SIZE, "attributes": {"mask": 2}, "beside": ["mask"]}
    small = {"width": 8, "dimension": 64, "attention": "none", "dropout": 0.4}
    model = create_model(backbone, **{**kwargs, **small, **changes})
    assert isinstance(model, Recogniser)
    return model


def faces(count: int = 4, size: int = SIZE) -> dict[str, Tensor]:
    return {"normal": torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))}


def objective(dimension: int, classes: int = 3) -> Objective:
    torch.manual_seed(2)
    return Objective(ArcFace(dimension, classes), {"mask": ([1.0, 1.0], [0.0, 0.0])}, {"mask": 1.0}, damped=True)


@pytest.mark.parametrize("backbone", ["ir50", "iresnet18"])
def test_the_mask_is_read_off_the_features_that_the_embedding_is_projected_from(backbone: str) -> None:
    model = make(backbone).eval()
    seen = model(faces())
    flat = model.embedding.norm(model.backbone(faces()["normal"])).flatten(1)
    torch.testing.assert_close(seen.logits["mask"], model.heads["mask"].classify(flat))
    torch.testing.assert_close(seen.features["mask"], flat)
    bare = make(backbone, attributes={}, beside=[]).eval()
    shared = {name: value for name, value in model.state_dict().items() if not name.startswith("heads.")}
    bare.load_state_dict(shared)  # but for the head the two are one network
    torch.testing.assert_close(seen.embedding, bare(faces()).embedding)


def test_both_see_one_dropout() -> None:
    model = make().train()
    dropped: list[Tensor] = []
    model.embedding.dropout.register_forward_hook(lambda _, __, out: dropped.append(out))
    seen = model(faces())
    assert len(dropped) == 1
    assert float((dropped[0] == 0).float().mean()) == pytest.approx(0.4, abs=0.05)
    torch.testing.assert_close(seen.logits["mask"], model.heads["mask"].classify(dropped[0]))


def test_nothing_is_taken_out_for_what_is_read_beside() -> None:
    model = make("iresnet18", attributes={"gender": 2, "mask": 2}, attention="mean")
    assert list(model.decomposition.steps) == ["gender"]
    assert list(model.eval()(faces()).logits) == ["gender", "mask"]
    with pytest.raises(ValueError, match="known attributes beside the embedding, got pose"):
        make(beside=["pose"])


def test_the_loss_is_arcface_plus_the_damped_cross_entropy() -> None:
    """Recomputed with plain loops: L = L_ArcFace + log(1 + CE)."""
    model, losses = make().eval(), objective(64).requires_grad_(False)
    with torch.no_grad():
        seen = model(faces())
    subject, mask = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 0, -1, 1])
    found = losses(seen, subject, {"mask": mask}, torch.ones(4), torch.ones(4))
    entropy = []
    for logits, code in zip(seen.logits["mask"].tolist(), mask.tolist(), strict=True):
        if code >= 0:
            entropy.append(math.log(sum(math.exp(v) for v in logits)) - logits[code])
    damped = math.log(1 + sum(entropy) / len(entropy))
    assert float(found.tasks["mask"]) == pytest.approx(damped, rel=1e-5)
    arcface = []
    centres = nn.functional.normalize(losses.identity.centres, dim=1)
    for embedding, own in zip(nn.functional.normalize(seen.embedding, dim=1), subject.tolist(), strict=True):
        cosines = [float(embedding @ centre) for centre in centres]
        cosines[own] = math.cos(math.acos(cosines[own]) + 0.5)
        arcface.append(math.log(sum(math.exp(64 * c) for c in cosines)) - 64 * cosines[own])
    assert float(found.total) == pytest.approx(sum(arcface) / 4 + damped, rel=1e-4)


@pytest.mark.parametrize("backbone", ["ir50", "iresnet18", "resnet18"])
def test_every_parameter_gets_a_gradient(backbone: str) -> None:
    model, losses = make(backbone).train(), objective(64)
    ones = torch.ones(4)
    losses(
        model(faces()), torch.tensor([0, 1, 2, 0]), {"mask": torch.tensor([0, 1, 0, 1])}, ones, ones
    ).total.backward()
    for name, parameter in [*model.named_parameters(), *losses.named_parameters()]:
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def published() -> Recogniser:
    return make(size=112, width=64, dimension=512)


def test_the_published_size_has_its_parameters() -> None:
    """LResNet50E-IR with two more logits at 112 px: 30,739,008 of the trunk, counted by hand layer by layer (units 3,
    4, 14, 3 with PReLU; no weights in the shortcut of the first stage, as MTLFace has it), 12,847,104 of the E head of
    512 numbers (BN, 25,088 x 512, BN), and 50,178 that the mask costs: 0.12 %."""
    with torch.device("meta"):
        model = published()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count == {
        "backbone": 30_739_008, "neck": 0, "decomposition": 0, "heads": 25_088 * 2 + 2,
        "embedding": 2 * 512 + 25_088 * 512 + 2 * 512,
    }  # fmt: skip
    assert tuple(model.heads["mask"].classify.weight.shape) == (2, 512 * 7 * 7)


@pytest.mark.slow
def test_a_batch_runs_at_the_published_size() -> None:
    model, losses = published().train(), objective(512, 10)
    seen = model(faces(2, 112))
    assert (tuple(seen.embedding.shape), tuple(seen.logits["mask"].shape)) == ((2, 512), (2, 2))
    found = losses(seen, torch.tensor([3, 7]), {"mask": torch.tensor([0, 1])}, torch.ones(2), torch.ones(2))
    found.total.backward()
    assert found.not_finite() is None
    assert all(p.grad is not None for p in model.parameters())
