"""What a trained run says of itself, `contract.json` beside `weights.safetensors`, checked when it is loaded.

The preprocessing travels with the weights: without it, accuracy is lost in silence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.attributes import AGE, ATTRIBUTES, classes
from pipeline.errors import UserError
from pipeline.faces import PREPROCESSING, TEMPLATE
from pipeline.tables import read_text, write_atomic, write_json

if TYPE_CHECKING:
    from torch import Tensor


LARGEST = 1 << 20  # bytes of a contract


class Network(BaseModel):
    """A network by its name in the registry of `models`, and its arguments."""

    model_config = ConfigDict(extra="forbid")
    name: str
    kwargs: dict[str, Any] = {}


class Contract(BaseModel):
    """The preprocessing and the network of a run.

    Attributes
    ----------
    modalities : list of str
        What the network sees, in order.
    size : int
        Side of the aligned face in pixels.
    channels, normalisation : dict
        By modality: number of channels; name and version of the preprocessing (`pipeline.faces.PREPROCESSING`).
    attributes : dict
        Number of classes by attribute, in the vocabulary; of `age` its years.
    """

    model_config = ConfigDict(extra="forbid")
    version: Literal[1] = 1
    run: str
    modalities: list[str] = Field(min_length=1)
    size: int = Field(ge=1, le=1024)
    channels: dict[str, int]
    normalisation: dict[str, str]
    template: str = TEMPLATE
    network: Network
    attributes: dict[str, int]
    vocabulary: Literal["binary", "photoface"] = "binary"

    def check(self, source: Path) -> None:
        """Refuse a run whose preprocessing this version of the code does not do."""
        if self.template != TEMPLATE:
            raise UserError(f"{source}: faces aligned on `{self.template}`, this version aligns on `{TEMPLATE}`")
        for modality in self.modalities:
            have, want = PREPROCESSING.get(modality), self.normalisation.get(modality)
            if have != want:
                raise UserError(
                    f"{source}: {modality} was prepared by `{want}`, this version does `{have}`: retrain it"
                )
            if self.channels.get(modality, 0) < 1:
                raise UserError(f"{source}: no number of channels for {modality}: retrain it")
        for name, count in self.attributes.items():
            if name not in (*ATTRIBUTES, AGE) or count != len(classes(name, self.vocabulary)):
                raise UserError(f"{source}: {count} classes of {name}, which this version does not know: retrain it")


def save_run(folder: str | Path, contract: Contract, state: dict[str, Tensor]) -> None:
    """Write ``contract.json`` and ``weights.safetensors`` into a folder; the state must hold no class head."""
    folder = Path(folder)
    save_tensors(folder / "weights.safetensors", state)
    write_json(folder / "contract.json", contract.model_dump(mode="json"))


def save_tensors(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors by name as safetensors, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def write(beside: Path) -> None:
        try:
            save_file(tensors, str(beside))
        except SafetensorError as error:  # which is how it says that a disk is full
            raise OSError(str(error)) from error

    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    write_atomic(path, write)


def read_contract(path: Path) -> Contract:
    """Read and check what a trained run says of itself."""
    try:
        contract = Contract.model_validate(json.loads(read_text(path, most=LARGEST)))
    except (ValidationError, ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path} is not a contract of this version: train the run again") from error
    contract.check(path)
    return contract


def load_run(folder: str | Path) -> tuple[Contract, dict[str, Tensor]]:
    """Read and check a run's contract and weights (tensors alone: no code is ever loaded)."""
    folder = Path(folder)
    described, weights = folder / "contract.json", folder / "weights.safetensors"
    for path in (described, weights):
        if not path.is_file():
            raise UserError(f"{path} is missing: train this run first (`psface train` or `psface fuse`)")
    return read_contract(described), load_tensors(weights)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name that `save_tensors` has written.

    Raises
    ------
    UserError
        They cannot be read, or hold values that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(str(path))
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:  # KeyError: a type torch lacks
        raise UserError(f"{path} cannot be read: train the run again") from error
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise UserError(f"{path} holds values that are not finite: train the run again")
    return state
