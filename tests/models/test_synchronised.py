"""Two processes with half of a batch each against one with all of it, in float64."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from models import create_model
from models.age import YEARS, AgeLoss, CrossAge
from models.focal import class_constants
from models.magface import MagFace
from models.objective import Objective
from models.synchronised import SharedBatchNorm, share, together

ATTRIBUTES = {"pose": 2, "gender": 2}
PROCESSES, BATCH, SUBJECTS = 2, 6, 3


def make() -> tuple[nn.Module, Objective]:
    torch.manual_seed(0)
    told = {**ATTRIBUTES, "age": YEARS}
    kwargs = {"channels": {"normal": 3}, "size": 32, "attributes": told, "width": 8, "dimension": 144}
    network = create_model("iresnet18", **kwargs, dropout=0.4).double()
    constants = {name: class_constants([1] * n, 1.0) for name, n in ATTRIBUTES.items()}
    against = CrossAge(64, 1, hidden=8)
    weights = dict.fromkeys(told, 1.0)
    objective = Objective(MagFace(144, SUBJECTS), constants, weights, age=AgeLoss(), cross_age=against).double()
    return network, objective


def batch() -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
    rng = torch.Generator().manual_seed(1)
    faces = torch.randn(BATCH, 3, 32, 32, generator=rng, dtype=torch.float64)
    labels = {name: torch.randint(-1, n, (BATCH,), generator=rng) for name, n in ATTRIBUTES.items()}
    labels["age"] = torch.tensor([4.0, 30.0, -1.0, 70.0, 15.5, 48.0], dtype=torch.float64)
    weight = torch.rand(BATCH, generator=rng, dtype=torch.float64)
    return faces, torch.randint(SUBJECTS, (BATCH,), generator=rng), labels, weight


def learn(network: nn.Module, objective: Objective, mine: slice, join: Callable) -> dict[str, Tensor]:
    """Losses, gradients and statistics of one step on a part of the batch."""
    faces, subject, labels, weight = batch()
    network.train()
    torch.manual_seed(2)  # of dropout
    losses = objective(join(network({"normal": faces[mine]})), subject, labels, weight, weight)
    losses.total.backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    centres = {"centres": objective.identity.centres.grad, "against": objective.cross_age.head.project.weight.grad}
    return {**losses.tasks, **gradients, **centres, **dict(network.named_buffers())}


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    network, objective = make()
    share(network)
    part = BATCH // PROCESSES
    found = learn(network, objective, slice(rank * part, (rank + 1) * part), partial(together, identity=True))
    for name, _ in network.named_parameters():  # as DDP does
        dist.all_reduce(found[name])
        found[name] /= PROCESSES
    torch.save({name: value.detach() for name, value in found.items()}, os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def test_two_processes_have_the_losses_the_gradients_and_the_statistics_of_one(tmp_path: Path) -> None:
    alone = learn(*make(), slice(None), lambda seen: seen)
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=PROCESSES)
    for rank in range(PROCESSES):
        shared = torch.load(tmp_path / f"{rank}.pt")
        assert set(shared) == set(alone)
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value.detach(), rtol=1e-8, atol=1e-10, msg=name)


def test_what_is_shared_has_the_same_state_and_sees_the_same_when_it_does_not_train() -> None:
    network, _ = make()
    shared = copy.deepcopy(network)
    share(shared)
    assert any(isinstance(module, SharedBatchNorm) for module in shared.modules())
    assert list(shared.state_dict()) == list(network.state_dict())
    faces, *_ = batch()
    with torch.no_grad():
        seen, expected = (model.eval()({"normal": faces}).embedding for model in (shared, network))
    assert torch.equal(seen, expected)


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, C, ...\), got \(3,\)"):
        SharedBatchNorm(3).eval()(torch.zeros(3))
