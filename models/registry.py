"""Networks by name: a decorator registers a class or a function, one factory makes it."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Maker = TypeVar("Maker", bound=Callable[..., nn.Module])
_REGISTRY: dict[str, Callable[..., nn.Module]] = {}


def register(name: str) -> Callable[[Maker], Maker]:
    """Register a network under a name; ``create_model(name, ...)`` makes it."""

    def add(make: Maker) -> Maker:
        if name in _REGISTRY:
            raise ValueError(f"a network `{name}` is registered already")
        _REGISTRY[name] = make
        return make

    return add


def model_names() -> list[str]:
    """Names of all registered networks, sorted."""
    return sorted(_REGISTRY)


def create_model(name: str, **kwargs: Any) -> nn.Module:
    """Make a network by its name.

    Raises
    ------
    ValueError
        The name is unknown; the message lists the known ones.
    """
    if name not in _REGISTRY:
        close = difflib.get_close_matches(name, model_names(), n=1)
        hint = f"did you mean `{close[0]}`? " if close else ""
        raise ValueError(f"no network `{name}`; {hint}(known: {', '.join(model_names())})")
    return _REGISTRY[name](**kwargs)


def restore_model(name: str, state: Mapping[str, Tensor], **kwargs: Any) -> nn.Module:
    """Make a network by its name around trained weights; no memory is taken for sizes that the weights do not have.

    Raises
    ------
    ValueError
        The name is unknown, the arguments make no network, or the weights are not those of that network.
    """
    return restored(partial(create_model, name), state, **kwargs)


def restored(make: Callable[..., nn.Module], state: Mapping[str, Tensor], **kwargs: Any) -> nn.Module:
    """As `restore_model`, of a network that ``make`` makes of the arguments."""
    try:
        with torch.device("meta"), warnings.catch_warnings():  # shapes alone
            warnings.simplefilter("ignore")  # torch's own words on layers of no width, which the weights do not have
            network = make(**kwargs)
            expected = network.state_dict()
        for key, tensor in state.items():
            if key in expected and (tensor.shape, tensor.dtype) != (expected[key].shape, expected[key].dtype):
                raise ValueError(
                    f"{key} is {tuple(tensor.shape)} {tensor.dtype}, {tuple(expected[key].shape)} expected"
                )
        network.load_state_dict(dict(state), assign=True)
    except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AttributeError, MemoryError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    return network
