"""Reading a YAML file as DVC reads it, within bounds.

DVC's own parser, and so YAML 1.2: `no` and `yes` are words, 1e-3 is a number. `dvc exp run -S` writes such files.
"""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    NodeEvent,
    ScalarEvent,
)

from pipeline.errors import UserError
from pipeline.files import check_regular

LARGEST = 1_000_000  # bytes
DEEPEST = 40  # lists and maps in each other
MOST = 100_000  # values, each alias counted as all that it stands for


def read_yaml(path: str | Path) -> Any:
    """The value of a YAML file: maps with text as keys, lists, text, numbers, true and false, null.

    Raises
    ------
    UserError
        One line that names the file, the line and the fault: not YAML, a key that is given twice, aliases that stand
        for more than a file of parameters can mean, a value of another kind.
    """
    path = Path(path)
    try:
        check_regular(path)
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} has {path.stat().st_size} bytes, more than a file of parameters can need")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {_whereabouts(path)}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        with warnings.catch_warnings(action="ignore"):  # an anchor that is named twice is legal
            _check_extent(text)
            return _plain(_reader().load(text))
    except _Refused as refused:
        raise UserError(f"{path}{refused}") from None
    except DuplicateKeyError as error:
        raise UserError(
            f"{path}{_line(error)}: {_problem(error).split(' with value')[0]}: give each key once"
        ) from None
    except MarkedYAMLError as error:
        raise UserError(f"{path}{_line(error)} is not valid YAML: {_problem(error)}") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # a tag or a date that its text does not fit, which ruamel reports as Python does
        raise UserError(f"{path} is not valid YAML: a value cannot be read ({error})") from None


class _Refused(Exception):
    """Why a file that is YAML is not taken; its text begins with the place."""


def _reader() -> YAML:
    return YAML(typ="safe", pure=True)


def _check_extent(text: str) -> None:
    """Refuse what would take too long or too deep a recursion to read, by the stream of events alone."""
    sizes: dict[str, int] = {}  # of what each anchor stands for
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the size of its parent so far
    size = 0
    for event in _reader().parse(text):
        place = f":{event.start_mark.line + 1}"
        if isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise _Refused(f"{place}: the alias `*{event.anchor}` stands for what it is a part of")
            size += sizes.get(str(event.anchor), 1)
        elif isinstance(event, ScalarEvent):
            size += 1
            sizes[str(event.anchor)] = 1
        elif isinstance(event, CollectionStartEvent):
            open_nodes.append((event.anchor, size))
            size = 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[str(anchor)] = size
            size += before
        if isinstance(event, NodeEvent) and (size > MOST or len(open_nodes) > DEEPEST):
            raise _Refused(f"{place}: lists and maps as many or as deep as here are no parameters")


def _plain(value: Any, at: str = "") -> Any:
    """A value with text as its keys: a rewritten file may have lost the quotes of "1". ``at`` is its own key."""
    if isinstance(value, dict):
        named: dict[str, Any] = {}
        for key, part in value.items():
            name = "null" if key is None else str(key)
            below = f"{at}.{name}" if at else name
            if name in named:
                raise _Refused(f": `{below}` is there twice, as text and as a number: give each key once")
            named[name] = _plain(part, below)
        return named
    if isinstance(value, list):
        return [_plain(part, f"{at}.{i}") for i, part in enumerate(value)]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes | set | tuple):
        raise _Refused(f": `{at}` is of a type (`!!`) that no parameter has: give text, a number, a list or a map")
    return value


def _line(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return "" if mark is None else f":{mark.line + 1}"


def _problem(error: MarkedYAMLError) -> str:
    return str(error.problem or error.context or "it cannot be parsed")


def _whereabouts(path: Path) -> str:
    if path == Path("params.yaml"):
        return "run this in a workspace (a folder with dvc.yaml and params.yaml)"
    return "check the path"
