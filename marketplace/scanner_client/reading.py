"""From JSON to dataclasses: what is not of its type is said by name, what is not asked for is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import orjson

_INTEGER = re.compile(r"-?[0-9]{1,79}")
_CAMEL = re.compile(r"_([a-z])")


class Unreadable(Exception):
    """A value that is not of its type; the message names the field."""


def read(kind: Any, value: Any, name: str = "answer") -> Any:  # noqa: PLR0911 - a table, one line a type
    """Return a JSON value as a type; what the type does not name is left out."""
    if is_dataclass(kind):
        return _read_row(kind, value, name)
    origin = get_origin(kind)
    if origin in {Union, UnionType}:
        other = next(arm for arm in get_args(kind) if arm is not type(None))
        return None if value is None else read(other, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(read(get_args(kind)[0], each, name) for each in value)
    if kind is int and (type(value) is int or (isinstance(value, str) and _INTEGER.fullmatch(value))):
        return int(value)
    if kind is datetime and isinstance(value, str):
        return _read_time(value, name)
    if kind in {str, bool} and type(value) is kind:
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
    hints = get_type_hints(kind)
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
    return body if isinstance(body, dict) else None
