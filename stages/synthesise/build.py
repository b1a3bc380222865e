"""What a synthesis is made of: a frozen recogniser, the generator and the discriminator, and where faces come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Generator as Rng
from torch import Tensor

from models import Recogniser, restore_model
from models.age import age_groups, bounds_of
from models.generator import Generator, generator_arguments
from models.patchgan import PatchDiscriminator
from models.synthesis import freeze
from pipeline.ageing import AgeingContract
from pipeline.attributes import AGE
from pipeline.augment import augment
from pipeline.contract import Contract, Network, load_run
from pipeline.errors import UserError
from pipeline.params import Synthesise
from pipeline.samples import FaceStore, Samples

LEAST = 2  # faces of a group, to bring others to it


def load_recogniser(folder: Path) -> tuple[Contract, Recogniser]:
    """A run that tells the age, frozen.

    Raises
    ------
    UserError
        The folder holds no such run.
    """
    contract, state = load_run(folder)
    if AGE not in contract.attributes or "beside" in contract.network.kwargs:
        known = ", ".join(contract.attributes) or "none"
        raise UserError(
            f"{folder}: a run that takes the age out of its features is needed (this one's attributes: {known}): "
            "train one with `age` among `attributes` (docs/age.md)"
        )
    try:
        network = restore_model(contract.network.name, state, **contract.network.kwargs)
    except (ValueError, TypeError) as error:  # TypeError: an argument named `state`
        raise UserError(f"{folder}: its weights do not fit its network ({error}): train it again") from error
    if not isinstance(network, Recogniser):
        raise UserError(f"{folder}: a fusion has no features to make faces of: give a run of `psface train`")
    return contract, freeze(network)


def make_players(params: Synthesise, recogniser: Recogniser) -> tuple[Generator, PatchDiscriminator]:
    """Generator and discriminator, with the seed's first weights."""
    groups = groups_of(recogniser)
    how = {"groups": groups, "filters": params.filters, "shared": params.shared}
    with torch.random.fork_rng():
        torch.manual_seed(params.seed)
        generator = Generator(**generator_arguments(recogniser, **how, condition=params.condition))
        discriminator = PatchDiscriminator(recogniser.channels, recogniser.size, groups=groups, width=params.width)
    return generator, discriminator


def groups_of(recogniser: Recogniser) -> int:
    """Into how many groups a recogniser splits the ages."""
    return recogniser.ages_head.groups


def contract_of(
    run: str, params: Synthesise, contract: Contract, recogniser: Recogniser, groups: list[int]
) -> AgeingContract:
    """What the run says of itself."""
    split = groups_of(recogniser)
    how = {"groups": split, "filters": params.filters, "shared": params.shared, "condition": params.condition}
    return AgeingContract(
        run=run,
        recogniser=contract,
        network=Network(name="generator", kwargs=generator_arguments(recogniser, **how)),
        bounds=list(bounds_of(split)),
        groups=groups,
    )


@dataclass
class Batch:
    """Faces (B, C, H, W) by modality, the groups (B,) that they are to be brought to, and real faces of those."""

    faces: dict[str, Tensor]
    group: Tensor
    real: dict[str, Tensor]


class Deck:
    """Draws the batches: faces evenly, groups evenly among those that have faces, and real faces of each group.

    What is drawn follows from the seed and the number of the step alone.
    """

    def __init__(self, params: Synthesise, samples: Samples, store: FaceStore, groups: int) -> None:
        self.params, self.store, self.count = params, store, len(samples)
        of = age_groups(torch.from_numpy(samples.labels[AGE]), groups)
        members = [torch.nonzero(of == group).squeeze(1) for group in range(groups)]
        self.groups = [group for group, each in enumerate(members) if len(each) >= LEAST]
        self.members = [members[group] for group in self.groups]
        if len(self.groups) < 2:
            raise UserError(
                "the training split has faces of fewer than two groups of ages: ageing needs two and more "
                "(column `age` of the sessions, docs/ingest.md)"
            )

    def draw(self, step: int) -> Batch:
        """The batch of a step."""
        rng = torch.Generator().manual_seed(self.params.seed + 1 + step)
        size = self.params.batch
        chosen = torch.randint(self.count, (size,), generator=rng)
        place = torch.randint(len(self.groups), (size,), generator=rng)
        real = torch.stack([_one(self.members[int(p)], rng) for p in place])
        take = partial(self._take, rng=rng)
        return Batch(take(chosen), torch.tensor(self.groups)[place], take(real))

    def _take(self, indices: Tensor, rng: Rng) -> dict[str, Tensor]:
        chosen = indices.numpy()
        return augment(self.store.take(chosen, rng), self.params.augment, rng, swap=self.store.swap(chosen))


def _one(members: Tensor, rng: Rng) -> Tensor:
    return members[torch.randint(len(members), (), generator=rng)]
