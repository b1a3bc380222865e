"""What is wrong with params.yaml, in one line: the key, its value, and what would be valid."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.errors import nearest


def explain(error: ValidationError, values: Any, schema: type[BaseModel]) -> str:
    """The first fault of a validation, as ``key = value: what is wrong; what is valid``."""
    faults = sorted(error.errors(), key=lambda e: e["type"] not in ("extra_forbidden", "literal_error"))
    fault, key_path = faults[0], _key_path(faults[0]["loc"], values)
    key, value = ".".join(key_path), _value_at(values, key_path)
    if fault["type"] == "extra_forbidden":
        return f"unknown key `{key}`; {nearest(key_path[-1], _known_keys(key_path[:-1], schema))}"
    if fault["type"] == "missing":
        return f"`{key}` is missing"
    if fault["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", str(fault["ctx"]["expected"]))
        others = [_message(f) for f in faults[1:] if _key_path(f["loc"], values) == key_path]
        return f"{key} = {_show(value)}: {nearest(str(value), choices)}" + "".join(f", or {o}" for o in others)
    return f"{key} = {_show(value)}: {_message(fault)}"


def _message(fault: Any) -> str:
    """Pydantic's own words, without its prefixes."""
    text = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    text = text.split(", unable to parse")[0]
    return f"must be {text}" if str(fault["msg"]).startswith("Input should be") else text


def _key_path(location: tuple[Any, ...], values: Any) -> list[str]:
    """The keys of a fault's place without pydantic's own marks (the branch of a union, ``[key]``)."""
    path: list[str] = []
    for i, part in enumerate(location):
        last_is_missing = i == len(location) - 1 and isinstance(_value_at(values, path), dict)
        if _value_at(values, [*path, str(part)], KeyError) is not KeyError or (
            last_is_missing and isinstance(part, str) and "[" not in part
        ):
            path.append(str(part))
    return path


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _value_at(values: Any, keys: list[str], missing: Any = None) -> Any:
    for key in keys:
        if isinstance(values, dict) and key in values:
            values = values[key]
        elif isinstance(values, list | tuple) and key.isdigit() and int(key) < len(values):
            values = values[int(key)]
        else:
            return missing
    return values


def _known_keys(location: list[str], schema: type[BaseModel]) -> list[str]:
    """Keys that the schema knows at a place."""
    kind: Any = schema
    for key in location:
        model = _inner(kind, BaseModel)
        kind = model.model_fields[key].annotation if model is not None else _inner_value(kind)
    model = _inner(kind, BaseModel)
    return sorted(model.model_fields) if model is not None else []


def _inner(annotation: Any, base: type) -> Any:
    """The model that an annotation such as ``Rig | None`` means; None for containers of models."""
    if isinstance(annotation, type) and issubclass(annotation, base):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return next((found for part in get_args(annotation) if (found := _inner(part, base)) is not None), None)
    return None


def _inner_value(annotation: Any) -> Any:
    """What a dict or a sequence in an annotation holds."""
    if get_origin(annotation) in (Union, UnionType):
        return next((found for part in get_args(annotation) if (found := _inner_value(part)) is not None), None)
    if get_origin(annotation) is Annotated:
        return _inner_value(get_args(annotation)[0])
    arguments = get_args(annotation)
    return arguments[-1] if get_origin(annotation) is dict else arguments[0] if arguments else None
