"""Age synthesis: masks written out, published sizes and counts, closed forms of the losses, what leaves a generator."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models import create_model
from models.conditional import IdentityConditional, group_map, shared_masks
from models.generator import Generator, finished, generator_arguments, make_generator
from models.patchgan import PatchDiscriminator
from models.recogniser import Decomposed, Recogniser
from models.synthesis import SynthesisLoss, discriminator_loss, freeze

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
LEVELS = (256, 128, 64)  # of IR-50, behind its identity's 512


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def recogniser(channels: dict[str, int], size: int = 64, name: str = "ir50", **changes: Any) -> Recogniser:
    torch.manual_seed(0)
    told = {"age": 101, "gender": 2}
    made = create_model(name, channels=channels, size=size, attributes=told, width=8, dimension=32, **changes)
    assert isinstance(made, Recogniser)
    return made


def faces(channels: dict[str, int], count: int = 3, size: int = 64) -> dict[str, Tensor]:
    """Random faces on a disc; their normals are unit vectors towards the camera."""
    rng = torch.Generator().manual_seed(1)
    made = {name: torch.randn(count, c, size, size, generator=rng) for name, c in channels.items()}
    if "normal" in made:
        made["normal"][:, 2] = made["normal"][:, 2].abs() + 0.5
        made["normal"] = nn.functional.normalize(made["normal"], dim=1)
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = (row - size / 2) ** 2 + (column - size / 2) ** 2 < (0.4 * size) ** 2
    return {name: x * disc for name, x in made.items()}


def test_neighbouring_groups_share_an_eighth() -> None:
    """As published: 800 filters, starts 0, 112, ..., 672, 128 each, 16 shared with each neighbour."""
    masks = shared_masks()
    assert masks.shape == (7, 800)
    assert set(masks.unique().tolist()) == {0, 1}
    for group, mask in enumerate(masks):
        assert torch.nonzero(mask).squeeze(1).tolist() == list(range(112 * group, 112 * group + 128))
    common = (masks @ masks.T).int()
    expected = [[128 if i == j else 16 if abs(i - j) == 1 else 0 for j in range(7)] for i in range(7)]
    assert common.tolist() == expected
    assert bool((masks.sum(dim=0) >= 1).all())


def test_the_released_code_shares_a_tenth() -> None:
    masks = shared_masks(shared=0.1)
    assert masks.shape == (7, 819)
    assert [int(torch.nonzero(mask)[0]) for mask in masks] == [0, 115, 230, 345, 460, 575, 690]
    assert int(masks[0] @ masks[1]) == 13


@pytest.mark.parametrize("shared", [0.7, 0.8, 0.9])
def test_a_share_of_tenths_is_no_filter_short(shared: float) -> None:
    """(1 - .9) 10 is a little less than 1, and all groups had the same filters."""
    masks = shared_masks(4, 10, shared)
    assert masks.sum(dim=1).tolist() == [10] * 4
    assert [int((one * other).sum()) for one, other in pairwise(masks)] == [round(10 * shared)] * 3


@given(groups=st.integers(2, 9), filters=st.integers(4, 64), shared=st.floats(0, 0.5))
def test_every_group_has_its_filters(groups: int, filters: int, shared: float) -> None:
    masks = shared_masks(groups, filters, shared)
    assert (masks.sum(dim=1) == filters).all()
    common = [int(one @ other) for one, other in pairwise(masks)]
    assert all(0 <= count - shared * filters + 1e-6 < 1 + 1e-5 for count in common)  # rounded up


def test_a_group_is_computed_by_its_own_filters() -> None:
    """A mask is the network of that group's filters alone, cut out of the wide one."""
    torch.manual_seed(0)
    module = IdentityConditional(6, groups=4, filters=8, shared=0.25, blocks=2).eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.weight)
    x = torch.randn(2, 6, 3, 3)
    for group in range(4):
        mine = slice(6 * group, 6 * group + 8)
        alone = IdentityConditional(6, groups=1, filters=8, blocks=2).eval()
        state = {}
        for key, value in module.state_dict().items():
            cut = value[mine] if value.ndim and value.shape[0] == 26 else value
            state[key] = cut[:, mine] if cut.ndim == 4 and cut.shape[1] == 26 else cut
        alone.load_state_dict({**state, "masks": alone.masks})
        several = torch.full((2,), group)
        torch.testing.assert_close(module(x, several), alone(x, torch.zeros(2, dtype=torch.long)))


def test_groups_learn_their_own_and_the_shared_filters() -> None:
    torch.manual_seed(0)
    module = IdentityConditional(6, groups=3, filters=8, shared=0.25, blocks=1)
    module(torch.randn(4, 6, 3, 3), torch.full((4,), 1)).square().sum().backward()
    moved = module.blocks[0].second[0].weight.grad.abs().sum(dim=(1, 2, 3)) > 0
    assert torch.nonzero(moved).squeeze(1).tolist() == list(range(6, 14))  # 6, 7 with group 0; 12, 13 with group 2


def test_the_baseline_differs_in_its_condition_alone() -> None:
    """As wide, as deep, no masks; only its first convolution also reads the group's map."""
    torch.manual_seed(0)
    masked, onehot = (IdentityConditional(16, filters=8, condition=kind) for kind in ("masks", "onehot"))
    assert parameters(onehot) == parameters(masked) + 7 * masked.masks.shape[1]
    onehot.eval()
    x = torch.randn(1, 16, 4, 4)
    said = [onehot(x, torch.tensor([group])) for group in range(7)]
    assert all(not torch.equal(said[0], each) for each in said[1:])
    maps = group_map(torch.tensor([2, 0]), 3, torch.zeros(2, 5, 4, 6))
    assert maps.shape == (2, 3, 4, 6)
    assert maps[0, 2].min() == maps[1, 0].min() == 1
    assert maps.sum() == 2 * 24
    with pytest.raises(ValueError, match="no condition `label`; known: masks, onehot"):
        IdentityConditional(4, condition="label")


def by_hand(wide: int) -> int:
    """Parameters of the generator from the description, with C filters in its conditional module."""
    module = 512 * wide + wide + 3 * wide + 4 * (2 * (9 * wide * wide + wide + 2 * wide) + 2 * wide)
    module += 512 * wide + 512 + 3 * 512
    total, before = module, 512
    for skip, after in ((256, 256), (128, 128), (64, 64), (3, 32)):
        joined = before + skip
        total += 3 * joined + 9 * joined * after + after + 3 * after + 9 * after * after + after
        total += before * after + after + 2 * (3 * after + 9 * after * after + after)
        before = after
    return total + 32 * 3 + 3


def test_the_published_generator_has_its_size() -> None:
    """54.04 million with the released code's share of filters; 51.8 with the paper's."""
    with torch.device("meta"):
        code, paper = (Generator({"frame": 3}, 112, 512, LEVELS, shared=share) for share in (0.1, 1 / 8))
    assert round(parameters(code) / 1e6, 2) == 54.04
    assert parameters(code) == by_hand(819)
    assert parameters(paper) == by_hand(800)
    assert round(parameters(paper) / 1e6, 1) == 51.8


def test_the_published_discriminator_has_its_size() -> None:
    """6.97 million parameters; 112 px give 5 x 5 verdicts."""
    model = PatchDiscriminator({"frame": 3}, 112)
    assert round(parameters(model) / 1e6, 2) == 6.97
    assert model(faces({"frame": 3}, 2, 112), torch.tensor([0, 6])).shape == (2, 1, 5, 5)
    shapes = [(tuple(layer.weight.shape), layer.stride[0]) for layer in (model.first, *model.middle, model.last)]
    assert shapes == [((64, 3, 4, 4), 2), ((128, 71, 4, 4), 2), ((256, 128, 4, 4), 2), ((512, 256, 4, 4), 2),
                      ((512, 512, 4, 4), 1), ((1, 512, 4, 4), 1)]  # fmt: skip
    with pytest.raises(ValueError, match="48 px at least, got 47"):
        PatchDiscriminator({"frame": 1}, 47)
    assert PatchDiscriminator({"frame": 1}, 48, width=4)(faces({"frame": 1}, 2, 48), torch.tensor([0, 1])).numel() == 2


def test_the_convolutions_in_the_middle_have_a_spectral_norm_of_1() -> None:
    torch.manual_seed(0)
    model, given = PatchDiscriminator({"frame": 3}, 48, width=8), faces({"frame": 3}, 1, 48)
    for _ in range(40):  # of the power iteration
        model(given, torch.tensor([1]))
    for layer in model.middle:
        assert np.linalg.norm(layer.weight.detach().flatten(1).numpy(), 2) == pytest.approx(1, abs=0.02)
    assert np.linalg.norm(model.first.weight.detach().flatten(1).numpy(), 2) < 0.9  # as it was drawn


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("condition", ["masks", "onehot"])
@pytest.mark.parametrize(
    "channels", [{"frame": 1}, {"frame": 3}, {"normal": 3}, {"normal": 3, "albedo": 1, "depth": 1}]
)
def test_one_step_of_both_players(channels: dict[str, int], condition: str, device: str) -> None:
    """Shapes, and a gradient for every parameter of both, none for the recogniser that judges."""
    judge = freeze(recogniser(channels)).to(device)
    generator = make_generator(judge, filters=8, condition=condition).to(device)
    discriminator = PatchDiscriminator(channels, 64, width=8).to(device)
    real = {name: x.to(device) for name, x in faces(channels, 7).items()}
    group = torch.arange(7, device=device)
    with torch.no_grad():
        seen = judge.decompose(real)
    fake = generator(real, seen, group)
    assert {name: x.shape for name, x in fake.items()} == {name: x.shape for name, x in real.items()}
    verdicts = discriminator(real, group), discriminator({name: x.detach() for name, x in fake.items()}, group)
    discriminator_loss(*verdicts).backward()
    made = judge.decompose(fake)
    found = SynthesisLoss()(discriminator(fake, group), seen, made, judge.ages(made)[1], group)
    found.total.backward()
    tasks = found.tasks
    torch.testing.assert_close(found.total, 75 * tasks["adversarial"] + 0.002 * tasks["identity"] + 10 * tasks["age"])
    for key, parameter in [*generator.named_parameters(), *discriminator.named_parameters()]:
        assert parameter.grad is not None, key
        assert bool(torch.isfinite(parameter.grad).all()), key
        if "bias" not in key:  # in front of a norm, a bias changes nothing
            assert float(parameter.grad.abs().sum()) > 0, key
    assert all(parameter.grad is None for parameter in judge.parameters())
    assert not judge.training


@pytest.mark.parametrize("strides", [(2, 2, 2, 2), (1, 2, 2, 2)])
@pytest.mark.parametrize("name", ["ir50", "iresnet18", "iresnet50", "resnet18"])
def test_a_generator_goes_with_any_backbone(name: str, strides: tuple[int, ...]) -> None:
    model = recogniser({"depth": 1}, size=112, name=name, strides=strides).eval()
    arguments = generator_arguments(model, filters=4)
    generator, x = Generator(**arguments).eval(), faces({"depth": 1}, 2, 112)
    with torch.no_grad():
        assert generator(x, model.decompose(x), torch.tensor([0, 6]))["depth"].shape == (2, 1, 112, 112)
    assert model.backbone.stem[0].weight.device.type == "cpu"  # the sizes were asked of a copy
    if (name, strides) == ("ir50", (2, 2, 2, 2)):
        assert (arguments["wide"], arguments["levels"]) == (64, [32, 16, 8])  # an eighth of the published ones


def test_without_a_residual_a_face_is_itself() -> None:
    channels = {"normal": 3, "albedo": 1}
    model = recogniser(channels).eval()
    generator = make_generator(model, filters=4).eval()
    nn.init.zeros_(generator.last.weight)
    given = faces(channels)
    with torch.no_grad():
        aged = generator(given, model.decompose(given), torch.tensor([0, 3, 6]))
    for name, x in given.items():
        torch.testing.assert_close(aged[name], x)


@given(seed=st.integers(0, 1000), strength=st.floats(0, 20))
def test_aged_normals_are_unit_vectors_that_face_the_camera(seed: int, strength: float) -> None:
    given_normals = faces({"normal": 3}, 1, 16)["normal"]
    residual = strength * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    aged = finished(given_normals + residual, given_normals, "normal")
    inside = given_normals.abs().sum(dim=1)[0] > 0
    torch.testing.assert_close(aged[0][:, inside].norm(dim=0), torch.ones(int(inside.sum())))
    assert bool((aged[0, 2][inside] > 0).all())
    assert bool((aged[0][:, ~inside] == 0).all())


def test_normals_towards_the_camera_are_made_unit_and_nothing_else() -> None:
    face = torch.tensor([0.0, 0.6, 0.8]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(finished(3 * face, face, "normal"), face)
    hollow = finished(torch.tensor([0.0, 0.0, -2.0]).reshape(1, 3, 1, 1), face, "normal")
    torch.testing.assert_close(hollow.flatten(), torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(finished(3 * face, face, "depth"), 3 * face)


def test_losses_in_closed_form() -> None:
    """A discriminator that says .5 to all; a fake whose map is off by 2 everywhere; groups that are all alike."""
    half = torch.full((2, 1, 5, 5), 0.5)
    assert float(discriminator_loss(half, half)) == pytest.approx(0.25)
    assert float(discriminator_loss(torch.ones(2, 1, 5, 5), torch.zeros(2, 1, 5, 5))) == 0
    seen, made = (Decomposed((), {}, torch.full((2, 8, 3, 3), value)) for value in (1.0, 3.0))
    found = SynthesisLoss()(half, seen, made, torch.zeros(2, 7), torch.tensor([0, 6]))
    assert {name: float(loss) for name, loss in found.tasks.items()} == pytest.approx(
        {"adversarial": 0.125, "identity": 4.0, "age": np.log(7)}
    )
    assert float(found.total) == pytest.approx(75 * 0.125 + 0.002 * 4 + 10 * np.log(7))


def test_bfloat16_is_finite() -> None:
    channels = {"normal": 3}
    judge = freeze(recogniser(channels))
    generator, discriminator = make_generator(judge, filters=8), PatchDiscriminator(channels, 64, width=8)
    given, group = faces(channels), torch.tensor([0, 3, 6])
    with torch.autocast("cpu", torch.bfloat16):
        seen = judge.decompose(given)
        fake = generator(given, seen, group)
        made = judge.decompose(fake)
        found = SynthesisLoss()(discriminator(fake, group), seen, made, judge.ages(made)[1], group)
    found.total.backward()
    inside = given["normal"].abs().sum(dim=1) > 0
    lengths = fake["normal"].detach().norm(dim=1)[inside]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))  # in float32, whatever made them
    assert all(bool(torch.isfinite(p.grad).all()) for p in generator.parameters())


def test_a_generator_can_fit_an_age() -> None:
    """A few steps down the age's loss alone bring the group that a frozen recogniser reads off the faces nearer."""
    channels = {"frame": 1}
    judge = freeze(recogniser(channels))
    generator = make_generator(judge, filters=8)
    optimiser = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.99))
    given, group = faces(channels, 4), torch.tensor([0, 2, 4, 6])
    seen, losses = judge.decompose(given), []
    for _ in range(6):
        logits = judge.ages(judge.decompose(generator(given, seen, group)))[1]
        loss = nn.functional.cross_entropy(logits, group)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
