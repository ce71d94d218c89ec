"""From JSON to dataclasses: what is not of its type is said by name, what is not asked for is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import orjson

MAX_DEPTH = 32
MAX_TEXT = 4096
_INTEGER = re.compile(r"-?[0-9]{1,79}")
_CAMEL = re.compile(r"_([a-z])")


@dataclass(frozen=True, slots=True)
class Between:
    """The bounds of an integer: what lies beyond them was not said by anybody who knows it."""

    least: int
    most: int


Units = Annotated[int, Between(0, 2**256 - 1)]  # an amount in base units: a negative one would be credited backwards
Change = Annotated[int, Between(-(2**256 - 1), 2**256 - 1)]
_COUNT = Between(-(2**63), 2**63 - 1)  # what a store and JSON can carry


class Unreadable(Exception):
    """A value that is not of its type; the message names the field."""


def read(kind: Any, value: Any, name: str = "answer") -> Any:  # noqa: PLR0911 - a table, one line a type
    """Return a JSON value as a type; what the type does not name is left out."""
    if is_dataclass(kind):
        return _read_row(kind, value, name)
    origin = get_origin(kind)
    if origin is Annotated:
        return _read_integer(value, name, kind.__metadata__[0])
    if origin in {Union, UnionType}:
        other = next(arm for arm in get_args(kind) if arm is not type(None))
        return None if value is None else read(other, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(read(get_args(kind)[0], each, name) for each in value)
    if kind is int:
        return _read_integer(value, name, _COUNT)
    if kind is datetime and isinstance(value, str):
        return _read_time(value, name)
    if kind in {str, bool} and type(value) is kind and (kind is bool or len(value) <= MAX_TEXT):
        return value
    if origin is Mapping and isinstance(value, dict):
        return value
    raise Unreadable(f"{name} is {type(value).__name__} and no {getattr(kind, '__name__', kind)}")


def _read_row(kind: Any, row: Any, name: str) -> Any:
    if not isinstance(row, dict):
        raise Unreadable(f"{name} is no object")
    values = {}
    for field_name, outside, hint, required in _shape(kind):
        if outside in row:
            values[field_name] = read(hint, row[outside], outside)
        elif required:
            raise Unreadable(f"{outside} is missing")
    return kind(**values)


def _read_integer(value: Any, name: str, bounds: Between) -> int:
    """Read a JSON integer or its decimal text; a float has lost digits already."""
    if type(value) is not int and not (isinstance(value, str) and _INTEGER.fullmatch(value)):
        raise Unreadable(f"{name} is {type(value).__name__} and no integer")
    number = int(value)
    if not bounds.least <= number <= bounds.most:
        raise Unreadable(f"{name} is out of bounds")
    return number


def _read_time(value: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as exc:
        raise Unreadable(f"{name} is no time") from exc
    if moment.tzinfo is None:
        raise Unreadable(f"{name} has no offset")
    return moment


@cache
def _shape(kind: Any) -> list[tuple[str, str, Any, bool]]:
    """Return each field's name here, its name in JSON, its type, and whether it must be there."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        (each.name, _CAMEL.sub(lambda m: m[1].upper(), each.name), hints[each.name], each.default is MISSING)
        for each in fields(kind)
    ]


def as_object(raw: bytes) -> dict[str, Any] | None:
    """Return a JSON object; None for anything else."""
    try:
        body = orjson.loads(raw)  # bounds how deep it nests, which the standard library does not
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) and _is_shallow(body) else None


def _is_shallow(body: Any) -> bool:
    """Say whether a value nests no deeper than what the scanner says: deeper ones can be read and not written again."""
    level = [body]
    for _ in range(MAX_DEPTH):
        level = [each for value in level for each in _children(value)]
        if not level:
            return True
    return False


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
