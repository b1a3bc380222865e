"""What a run of `psface synthesise` is on disk: a generator of aged faces with the recogniser that sees for it.

`contract.json` describes both, `weights.safetensors` holds the generator and `recogniser.safetensors` the other: the
folder is all that is needed to age a face.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.attributes import AGE
from pipeline.contract import LARGEST, Contract, Network, load_tensors, save_tensors
from pipeline.errors import UserError
from pipeline.tables import read_text, write_json

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, SEEING, DESCRIBED = "weights.safetensors", "recogniser.safetensors", "contract.json"
OLDEST = 100  # years that somebody may be brought to


class AgeingContract(BaseModel):
    """What a generator is and sees.

    Attributes
    ----------
    recogniser : Contract
        Of the run whose features it starts from: preprocessing and network.
    network : Network
        The generator.
    bounds : list of int
        The last year of each group of ages but the last.
    groups : list of int
        Those that it has seen faces of, and can make.
    """

    model_config = ConfigDict(extra="forbid")
    version: Literal[1] = 1
    run: str
    recogniser: Contract
    network: Network
    bounds: list[int] = Field(min_length=1, max_length=20)
    groups: list[int] = Field(min_length=1)

    @property
    def names(self) -> list[str]:
        """A name for each group: ``0-10``, ..., ``61+``."""
        starts = [0, *(bound + 1 for bound in self.bounds)]
        return [f"{start}-{end}" for start, end in zip(starts, self.bounds, strict=False)] + [f"{starts[-1]}+"]

    def group(self, wanted: str) -> int:
        """The group that a name of one, or a number of years, stands for.

        Raises
        ------
        UserError
            It is neither, or one that the generator has seen no face of.
        """
        years = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 4 else -1
        if wanted in self.names:
            group = self.names.index(wanted)
        elif 0 <= years <= OLDEST:
            group = sum(years > bound for bound in self.bounds)
        else:
            raise UserError(f"`{wanted}` is neither years (0 to {OLDEST}) nor a group: {', '.join(self.names)}")
        if group not in self.groups:
            known = ", ".join(self.names[each] for each in self.groups)
            raise UserError(f"run `{self.run}` has seen nobody of {self.names[group]}; it can make {known}")
        return group


@dataclass
class AgeingRun:
    """A run as it was read: what it is, and the tensors of both networks."""

    contract: AgeingContract
    generator: dict[str, Tensor]
    recogniser: dict[str, Tensor]


def save_ageing(folder: Path, run: AgeingRun) -> None:
    """Write a run's three files."""
    save_tensors(folder / WEIGHTS, run.generator)
    save_tensors(folder / SEEING, run.recogniser)
    write_json(folder / DESCRIBED, run.contract.model_dump(mode="json"))


def load_ageing(folder: str | Path) -> AgeingRun:
    """Read and check a run (tensors alone: no code is ever loaded).

    Raises
    ------
    UserError
        A file is missing, damaged or of something else.
    """
    folder = Path(folder)
    for name in (DESCRIBED, WEIGHTS, SEEING):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing: make this run first (`psface synthesise`)")
    contract = read_ageing(folder / DESCRIBED)
    return AgeingRun(contract, *(load_tensors(folder / name) for name in (WEIGHTS, SEEING)))


def read_ageing(path: Path) -> AgeingContract:
    """Read and check what a run says of itself."""
    try:
        contract = AgeingContract.model_validate(json.loads(read_text(path, most=LARGEST)))
    except (ValidationError, ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path} is not a contract of `psface synthesise`: make the run again") from error
    contract.recogniser.check(path)
    rising = contract.bounds == sorted(set(contract.bounds))
    if not rising or contract.bounds[0] < 0 or not set(contract.groups) <= set(range(len(contract.bounds) + 1)):
        raise UserError(f"{path}: groups of ages that do not fit together: make the run again")
    if AGE not in contract.recogniser.attributes:
        raise UserError(f"{path}: its recogniser does not tell the age: make the run again")
    return contract


def ageing_folder(run: str) -> Path:
    """The folder of a run, given by its name below runs/ or itself."""
    given = Path(run)
    places = (given, given / "synthesise", Path("runs") / run / "synthesise")
    return next((place for place in places if (place / DESCRIBED).is_file()), places[-1])
