"""Whether the branches go together, and what the fused run says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models import restore_model
from pipeline.attributes import AGE
from pipeline.contract import Contract, Network
from pipeline.errors import UserError
from pipeline.samples import FaceStore

Run = tuple[Contract, Mapping[str, Tensor]]


def check_weights(runs: Mapping[Any, Run]) -> None:
    """Refuse weights that are not of the network that their contract names, before memory is taken for either."""
    for modality, (contract, state) in runs.items():
        try:
            restore_model(contract.network.name, state, **contract.network.kwargs)
        except (ValueError, TypeError) as error:  # TypeError: an argument named `state`
            raise UserError(
                f"the run of {modality}: its weights do not fit the network of its contract ({error}): train it again"
            ) from error


def contract_of(name: str, contracts: Mapping[str, Contract], store: FaceStore) -> Contract:
    """What the fused run says of itself; refuses branches that do not go together, or not with these faces."""
    first_name, first = next(iter(contracts.items()))
    for modality, each in contracts.items():
        if each.modalities != [modality]:
            raise UserError(f"the run of {modality} was trained on {', '.join(each.modalities)}: train it again")
        if (each.size, each.vocabulary) != (first.size, first.vocabulary):
            raise UserError(
                f"{first_name} ({first.size} px, {first.vocabulary}) and {modality} ({each.size} px, "
                f"{each.vocabulary}) do not go together: train both on the same faces and vocabulary"
            )
        size, channels = store.arrays[modality].shape[2:]
        if (each.size, each.channels[modality]) != (size, channels):
            raise UserError(
                f"the run of {modality} was trained on {each.channels[modality]} channels of {each.size} px, and the "
                f"faces have {channels} of {size} px: train it again"
            )
    shared = [n for n in first.attributes if n != AGE and all(n in each.attributes for each in contracts.values())]
    return Contract(
        run=name,
        modalities=list(contracts),
        size=first.size,
        channels={m: each.channels[m] for m, each in contracts.items()},
        normalisation={m: each.normalisation[m] for m, each in contracts.items()},
        network=Network(name="fusion", kwargs={"branches": [each.network.model_dump() for each in contracts.values()]}),
        attributes={n: first.attributes[n] for n in shared},
        vocabulary=first.vocabulary,
    )
