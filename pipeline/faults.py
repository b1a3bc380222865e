"""What is wrong with params.yaml, in one line: the key, its value, and what would be valid."""

from __future__ import annotations

import re
import reprlib
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from pipeline.errors import nearest

SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxlist, SHORT.maxstring = 3, 16, 60  # an alias may stand for more than memory can hold


def explain(error: ValidationError, values: Any, schema: type[BaseModel]) -> str:
    """The first fault of a validation, as ``key = value: what is wrong; what is valid``."""
    faults = sorted(error.errors(), key=lambda e: e["type"] not in ("extra_forbidden", "literal_error"))
    fault = faults[0]
    key_path = _key_path(fault["loc"], values, missing=fault["type"] == "missing")
    key, value = ".".join(key_path), _value_at(values, key_path)
    if fault["type"] == "extra_forbidden":
        return f"unknown key `{key}`; {nearest(key_path[-1], _known_keys(fault['loc'][:-1], schema))}"
    if fault["type"] == "union_tag_invalid":  # of `identity`, by its key `loss`
        tags = [tag.strip().strip("'") for tag in str(fault["ctx"]["expected_tags"]).split(",")]
        return f"{key}.loss = {_show(fault['ctx']['tag'])}: {nearest(str(fault['ctx']['tag']), tags)}"
    if fault["type"] == "missing" and isinstance(fault["loc"][-1], int):  # of a list of so many numbers, not a key
        lacking = sum(f["type"] == "missing" and f["loc"][:-1] == fault["loc"][:-1] for f in faults)
        return f"{key} = {_show(value)}: must have {len(value) + lacking} items, not {len(value)}"
    if fault["type"] == "missing":
        return f"`{key}` is missing"
    if fault["type"] == "literal_error":
        choices = [choice.strip("'") for choice in re.split(r", | or ", str(fault["ctx"]["expected"]))]
        if fault["loc"][-1] == "[key]":
            return f"unknown key `{key}`; {nearest(key_path[-1], choices)}"
        others = [_message(f) for f in faults[1:] if _key_path(f["loc"], values) == key_path]
        return f"{key} = {_show(value)}: {nearest(str(value), choices)}" + "".join(f", or {o}" for o in others)
    if not key:
        return _message(fault)  # of sections against each other
    if _is_section(value) and fault["type"] == "value_error":
        return f"{key}: {_message(fault)}"  # which says the keys and values that matter
    return f"{key} = {_show(value)}: {_message(fault)}"


KINDS = {  # pydantic's names of types, in the words of YAML
    "tuple_type": "must be a list, such as [1, 2]",
    "dict_type": "must be a map, such as {name: 1}",
    "model_type": "must be a map of keys and values",
}


def _message(fault: Any) -> str:
    """Pydantic's own words, without its prefixes and its names of Python's types."""
    if fault["type"] in KINDS:
        return KINDS[fault["type"]]
    text = str(fault["msg"]).removeprefix("Value error, ").split(", unable to parse")[0]
    text = re.sub(r"^Input should be ", "must be ", text)
    text = re.sub(r"^(Tuple|List|Dictionary) should have", "must have", text)
    return text.replace(" after validation", "")


def kind_of(value: Any) -> str:
    """What a value is in the words of YAML."""
    names = {list: "a list", dict: "a map", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "a text")


def _is_section(value: Any) -> bool:
    """Whether a value is a map, or a list of maps: too long to be shown."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict) for part in value))


def _key_path(location: tuple[Any, ...], values: Any, *, missing: bool = False) -> list[str]:
    """The keys of a fault's place without pydantic's own marks (the branch of a union, ``[key]``).

    ``missing``: the last is not there.
    """
    path: list[str] = []
    for i, part in enumerate(location):
        last_is_missing = missing and i == len(location) - 1 and isinstance(_value_at(values, path), dict)
        if _value_at(values, [*path, str(part)], KeyError) is not KeyError or (
            last_is_missing and isinstance(part, str) and "[" not in part
        ):
            path.append(str(part))
    return path


def _show(value: Any) -> str:
    """A value as YAML would have it, in at most 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = SHORT.repr(value)
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


def _known_keys(location: tuple[Any, ...], schema: type[BaseModel]) -> list[str]:
    """Keys that the schema knows at a place as pydantic names it."""
    kind: Any = schema
    for key in location:
        tagged = _tagged(kind, key)
        model = _inner(kind, BaseModel)
        if tagged is not None:
            kind = tagged
        elif model is not None:
            kind = model.model_fields[key].annotation
        else:
            kind = _inner_value(kind)
    model = _inner(kind, BaseModel)
    return sorted(model.model_fields) if model is not None else []


def _tagged(annotation: Any, tag: Any) -> Any:
    """The branch of a union with that tag."""
    parts = get_args(annotation)
    if any(isinstance(part, Tag) and part.tag == tag for part in parts):
        return parts[0]
    if get_origin(annotation) not in (Union, UnionType, Annotated):
        return None
    return next((found for part in parts if (found := _tagged(part, tag)) is not None), None)


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
