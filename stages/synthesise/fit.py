"""Training of a synthesis: two players in turn, the mean of the generator's states, and what is left behind."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models import Recogniser
from models.step import put_faces
from models.synthesis import SynthesisLoss, discriminator_loss
from pipeline.ageing import AgeingContract, AgeingRun, save_ageing
from pipeline.contract import Contract
from pipeline.fitting import Checkpoint, History, goes_on, keep_freed_memory, stop_unless_finite
from pipeline.params import Synthesise
from pipeline.progress import track
from pipeline.samples import FaceStore, Samples
from pipeline.tables import write_json
from stages.synthesise.build import Batch, Deck, contract_of, groups_of, make_players
from stages.synthesise.looking import Onlooker, save_picture

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ROWS = 16  # of history.csv: parts of the training that validation looks on after
BETAS = (0.5, 0.99)  # of Adam, as published


@dataclass
class Made:
    """The generator's mean state, what describes it, how it came about, and what was seen on validation."""

    run: AgeingRun
    history: History
    validation: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write all files of a run but the picture into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        save_ageing(folder, self.run)
        self.history.write(folder / "history.csv")
        self.history.draw(folder / "curves.png", self.run.contract.run)
        write_json(folder / "validation.json", self.validation)


class Synthesiser:
    """Fits a generator against a discriminator, before the eyes of a recogniser that does not learn.

    Parameters
    ----------
    run : str
        Its name, an entry of `synthesise:`.
    params : Synthesise
    seeing : pair of Contract and Recogniser
        Frozen.
    train, validation : Samples
        Of different subjects, with their ages.
    stores : pair of FaceStore
        Their faces.
    scratch : path
        The state is kept here, and training goes on from what it finds.
    fabric : Fabric
        Device and precision.
    """

    def __init__(
        self,
        run: str,
        params: Synthesise,
        seeing: tuple[Contract, Recogniser],
        train: Samples,
        validation: Samples,
        stores: tuple[FaceStore, FaceStore],
        scratch: Path,
        fabric: Fabric,
    ) -> None:
        keep_freed_memory()
        self.run, self.params, self.fabric = run, params, fabric
        self.recogniser = _placed(seeing[1], fabric)
        self.deck = Deck(params, train, stores[0], groups_of(seeing[1]))
        self.contract: AgeingContract = contract_of(run, params, seeing[0], seeing[1], self.deck.groups)
        generator, discriminator = make_players(params, seeing[1])
        self.generator, self.discriminator = _placed(generator, fabric), _placed(discriminator, fabric)
        self.mean = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.optimisers = [
            torch.optim.Adam(player.parameters(), lr=params.lr, betas=BETAS, fused=True)
            for player in (self.generator, self.discriminator)
        ]
        self.loss = SynthesisLoss(params.adversarial, params.identity, params.age)
        self.onlooker = Onlooker(self.contract, self.recogniser, validation, stores[1], fabric)
        self.checkpoint = Checkpoint(scratch / "last.pt")
        self.history, self.step, self.begun = History(), 0, 0
        self.totals: dict[str, Tensor] = {}

    def fit(self) -> Made:
        """Train to the last step."""
        self._resume()
        row = max(self.params.steps // ROWS, 1)
        for step in track(range(self.step, self.params.steps), f"synthesise {self.run}"):
            self._add(self._play(self.deck.draw(step)))
            self.step = step + 1
            follow(self.mean, self.generator, step=self.step, average=self.params.average)
            if self.step % row == 0 or self.step == self.params.steps:
                self._look()
                self._save()
            elif self.checkpoint.due():
                self._save()
        state = {name: x.detach().cpu().clone() for name, x in self.mean.state_dict().items()}
        seen = {name: x.detach().cpu().clone() for name, x in self.recogniser.state_dict().items()}
        return Made(AgeingRun(self.contract, state, seen), self.history, self.onlooker.told(self.mean))

    def draw(self, path: Path) -> None:
        """Write a picture of validation subjects in all groups."""
        save_picture(path, self.onlooker, self.mean)

    def _play(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator; their losses."""
        self.generator.train(), self.discriminator.train()
        faces, real = (put_faces(each, self.fabric.device) for each in (batch.faces, batch.real))
        group = batch.group.to(self.fabric.device)
        with self.fabric.autocast():
            with torch.no_grad():
                seen = self.recogniser.decompose(faces)
            fake = self.generator(faces, seen, group)
            self.discriminator.requires_grad_(True)
            apart = {name: x.detach() for name, x in fake.items()}
            told = discriminator_loss(self.discriminator(real, group), self.discriminator(apart, group))
        self._descend(told, 1)
        with self.fabric.autocast():
            self.discriminator.requires_grad_(False)
            made = self.recogniser.decompose(fake)
            losses = self.loss(self.discriminator(fake, group), seen, made, self.recogniser.ages(made)[1], group)
        self._descend(losses.total, 0)
        return {"discriminator": told.detach(), **{name: each.detach() for name, each in losses.tasks.items()}}

    def _descend(self, loss: Tensor, player: int) -> None:
        self.fabric.backward(loss)
        self.optimisers[player].step()
        self.optimisers[player].zero_grad()

    def _add(self, losses: dict[str, Tensor]) -> None:
        """Sum the losses since the last row up."""
        self.begun += 1
        self.totals = {name: self.totals.get(name, 0.0) + loss for name, loss in losses.items()}

    def _look(self) -> None:
        """Close a row of the history: mean losses, and what validation shows."""
        losses = {f"loss_{name}": float(total) / self.begun for name, total in self.totals.items()}
        bad = next((name for name, value in losses.items() if value - value != 0), None)
        section = f"synthesise.{self.run}"
        stop_unless_finite(bad and bad.removeprefix("loss_"), epoch=1, batch=self.step, section=section)
        self.history.add(epoch=self.step, **losses, **self.onlooker.rates(self.mean))
        self.begun, self.totals = 0, {}

    def _save(self) -> None:
        self.checkpoint.write(
            {
                "step": self.step,
                "begun": self.begun,
                "totals": self.totals,
                "history": self.history.rows,
                "players": [player.state_dict() for player in (self.generator, self.discriminator, self.mean)],
                "optimisers": [each.state_dict() for each in self.optimisers],
            }
        )

    def _resume(self) -> None:
        parts = self.checkpoint.read()
        if parts is None:
            return
        for player, state in zip((self.generator, self.discriminator, self.mean), parts["players"], strict=True):
            player.load_state_dict(state)
        for optimiser, state in zip(self.optimisers, parts["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step, self.begun, self.history = parts["step"], parts["begun"], History(parts["history"])
        self.totals = {name: total.to(self.fabric.device) for name, total in parts["totals"].items()}
        goes_on(f"synthesise {self.run}", 0, self.step)


@torch.no_grad()
def follow(mean: nn.Module, network: nn.Module, *, step: int, average: float) -> None:
    """Move a mean of a network's states towards its state after a step (from 1), in place: ``average`` of the old
    stays; early less, since the beginning is nobody's.
    """
    share = min(average, step / (step + 10))
    for kept, new in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
        kept.lerp_(new, 1 - share) if kept.is_floating_point() else kept.copy_(new)


def _placed(network: Any, fabric: Fabric) -> Any:
    """A network on its device, in the order of memory that convolutions are fastest in."""
    assert isinstance(network, nn.Module)
    return network.to(fabric.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
