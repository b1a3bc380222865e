"""State dicts of MTLFace's published layouts with random values, and what they compute, written after the description.

Nothing here is a module: a state is read by its published names, so that a converter and this have nothing in common.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
UNITS = (3, 4, 14, 3)
CELLS = 1 + 4 + 9


class Maker:
    """Random tensors that keep maps of a size of about 1."""

    def __init__(self, seed: int) -> None:
        self.rng, self.state = torch.Generator().manual_seed(seed), State()

    def weight(self, name: str, *shape: int, gain: float = 1.0) -> None:
        spread = gain / max(1, torch.Size(shape[1:]).numel()) ** 0.5
        self.state[name] = spread * torch.randn(shape, generator=self.rng)

    def norm(self, name: str, channels: int) -> None:
        uniform = torch.rand(4, channels, generator=self.rng)
        self.state |= {
            f"{name}.weight": 0.5 + uniform[0],
            f"{name}.bias": 0.4 * uniform[1] - 0.2,
            f"{name}.running_mean": 0.4 * uniform[2] - 0.2,
            f"{name}.running_var": 0.5 + uniform[3],
            f"{name}.num_batches_tracked": torch.tensor(36000),
        }

    def linear(self, name: str, channels: int, out: int, gain: float = 1.0) -> None:
        self.weight(f"{name}.weight", out, channels, gain=gain)
        self.state[f"{name}.bias"] = 0.3 * torch.randn(out, generator=self.rng)


def backbone(*, journal: bool = False, seed: int = 0) -> State:
    """The 482 tensors of AIResNet, IR-50."""
    make = Maker(seed)
    make.weight("input_layer.0.weight", 64, 3, 3, 3)
    make.norm("input_layer.1", 64)
    make.state["input_layer.2.weight"] = torch.rand(64, generator=make.rng)
    before = 64
    for block, (wide, units) in enumerate(zip((64, 128, 256, 512), UNITS, strict=True), start=1):
        for i in range(units):
            name = f"block{block}.{i}"
            if before != wide:
                make.weight(f"{name}.shortcut_layer.0.weight", wide, before, 1, 1)
                make.norm(f"{name}.shortcut_layer.1", wide)
            make.norm(f"{name}.res_layer.0", before)
            make.weight(f"{name}.res_layer.1.weight", wide, before, 3, 3)
            make.norm(f"{name}.res_layer.2", wide)
            make.state[f"{name}.res_layer.3.weight"] = torch.rand(wide, generator=make.rng)
            make.weight(f"{name}.res_layer.4.weight", wide, wide, 3, 3, gain=0.5)
            make.norm(f"{name}.res_layer.5", wide)
            before = wide
    pyramid = 512 * CELLS * (2 if journal else 1)
    make.weight("fsm.spatial.0.weight", 1, 2, 7, 7, gain=3)
    make.norm("fsm.spatial.1", 1)
    make.weight("fsm.channel.0.weight", pyramid // 16, pyramid, 1, 1)
    make.weight("fsm.channel.2.weight", 512, pyramid // 16, 1, 1)
    make.norm("fsm.channel.3", 512)
    make.norm("output_layer.0", 512)
    make.linear("output_layer.3", 512 * 49, 512)
    make.norm("output_layer.4", 512)
    return make.state


def age_network(seed: int = 1, groups: int = 7) -> State:
    """AgeEstimationModule."""
    make = Maker(seed)
    make.norm("age_output_layer.0", 512)
    make.linear("age_output_layer.2", 512 * 49, 512)
    make.linear("age_output_layer.4", 512, 101, gain=3)
    make.linear("group_output_layer", 101, groups)
    return make.state


def journal_file() -> State:
    """One file: the recogniser among parts that are not taken over."""
    state = {f"encoder.{name}": value for name, value in backbone(journal=True).items()}
    state |= {f"age_estimator.{name}": value for name, value in age_network().items()}
    state["age_estimator.expectation"] = torch.arange(101.0)
    for name in ("styles.0.convs.0.weight", "styles.0.linear.weight", "upsample1.shortcut.weight", "latlayer1.weight",
                 "aging1.router._unit_mapping"):  # fmt: skip
        state[f"encoder.{name}"] = torch.zeros(2, 2)
    return state | {"decoder.latent_avg": torch.zeros(1, 1, 512), "decoder.decoder.style.1.weight": torch.zeros(3, 3)}


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var, weight, bias = (
        state[f"{name}.{each}"].reshape(shape) for each in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x > 0, x, slope[:, None, None] * x)


def features(state: State, x: Tensor) -> Tensor:
    """Colour faces (B, 3, 112, 112) -> X (B, 512, 7, 7)."""
    x = F.conv2d(x, state["input_layer.0.weight"], padding=1)
    x = _prelu(_norm(state, "input_layer.1", x), state["input_layer.2.weight"])
    for block, units in enumerate(UNITS, start=1):
        for i in range(units):
            name, stride = f"block{block}.{i}", 2 if i == 0 else 1
            inner = F.conv2d(_norm(state, f"{name}.res_layer.0", x), state[f"{name}.res_layer.1.weight"], padding=1)
            inner = _prelu(_norm(state, f"{name}.res_layer.2", inner), state[f"{name}.res_layer.3.weight"])
            inner = F.conv2d(inner, state[f"{name}.res_layer.4.weight"], stride=stride, padding=1)
            if f"{name}.shortcut_layer.0.weight" in state:
                x = F.conv2d(x, state[f"{name}.shortcut_layer.0.weight"], stride=stride)
                x = _norm(state, f"{name}.shortcut_layer.1", x)
            else:
                x = x[:, :, ::stride, ::stride]
            x = x + _norm(state, f"{name}.res_layer.5", inner)
    return x


def _pyramid(x: Tensor, pool: str) -> Tensor:
    """1 x 1, 2 x 2 and 3 x 3 cells of 7 x 7 places, one level after the other, each by channel: (B, 14 C)."""
    levels = []
    for side in (1, 2, 3):
        edges = [(7 * i // side, -(-7 * (i + 1) // side)) for i in range(side)]
        cells = [x[:, :, a:b, c:d].flatten(2) for a, b in edges for c, d in edges]
        levels.append(torch.stack([c.mean(2) if pool == "avg" else c.amax(2) for c in cells], dim=2).flatten(1))
    return torch.cat(levels, dim=1)


def split(state: State, x: Tensor, *, journal: bool) -> tuple[Tensor, Tensor]:
    """X -> X_id, X_age."""
    averages, maxima = _pyramid(x, "avg"), _pyramid(x, "max")
    read = torch.cat([averages, maxima], dim=1) if journal else averages + maxima
    hidden = torch.relu(read @ state["fsm.channel.0.weight"][:, :, 0, 0].T)
    channel = torch.sigmoid(_norm(state, "fsm.channel.3", hidden @ state["fsm.channel.2.weight"][:, :, 0, 0].T))
    seen = torch.stack([x.amax(dim=1), x.mean(dim=1)], dim=1)
    spatial = torch.sigmoid(_norm(state, "fsm.spatial.1", F.conv2d(seen, state["fsm.spatial.0.weight"], padding=3)))
    scaled = (x * channel[:, :, None, None] + x * spatial) / 2
    return (scaled, x - scaled) if journal else (x - scaled, scaled)


def look(state: State, faces: Tensor, *, journal: bool) -> tuple[Tensor, Tensor]:
    """Embeddings (B, 512), and X_age."""
    identity, age = split(state, features(state, faces), journal=journal)
    flat = _norm(state, "output_layer.0", identity).reshape(len(faces), -1)
    vector = flat @ state["output_layer.3.weight"].T + state["output_layer.3.bias"]
    return _norm(state, "output_layer.4", vector), age


def ages(state: State, x_age: Tensor) -> tuple[Tensor, Tensor]:
    """Years (B,), and logits of the groups."""
    flat = _norm(state, "age_output_layer.0", x_age).reshape(len(x_age), -1)
    hidden = torch.relu(flat @ state["age_output_layer.2.weight"].T + state["age_output_layer.2.bias"])
    logits = hidden @ state["age_output_layer.4.weight"].T + state["age_output_layer.4.bias"]
    groups = logits @ state["group_output_layer.weight"].T + state["group_output_layer.bias"]
    return (logits.softmax(dim=1) * torch.arange(101)).sum(dim=1), groups
