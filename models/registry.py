"""Networks by name: a decorator registers a class or a function, one factory makes it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

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
