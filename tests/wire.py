"""Answers and events of the scanner for whoever stands in for it, made of the structs that the scanner itself uses."""

from __future__ import annotations

import types
import typing
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from protocol import codec
from protocol.wire import Moment, Units, Wire

W = TypeVar("W", bound=Wire)
A_TIME = Moment(1_790_000_000_000)
_EMPTY: dict[Any, Any] = {str: "", int: 0, bool: False, Units: Units(0), Moment: A_TIME}


def an_answer(kind: type[W], **known: Any) -> W:
    """Return an answer in which everything is nothing but what is `known`, by the names of its fields."""
    unknown = known.keys() - {field.name for field in msgspec.structs.fields(kind)}
    assert not unknown, f"{kind.__name__} has no {unknown}"
    return kind(**{field.name: _empty(field) for field in msgspec.structs.fields(kind)} | known)


def _empty(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    hint = field.type
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:  # with nothing: there is no other here
        return None
    if typing.get_origin(hint) is tuple:
        return ()
    return an_answer(hint) if isinstance(hint, type) and issubclass(hint, Wire) else _EMPTY[hint]


def shown(kind: type[W], **known: Any) -> dict[str, Any]:
    """Return the same as the JSON object it is."""
    return codec.plain(an_answer(kind, **known))


def response(kind: type[Wire], reported: dict[str, Any]) -> web.Response:
    """Answer with what a test may have changed; a field that is no longer there, or is no such field, is noticed."""
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert reported.keys() == names, f"a scanner's {kind.__name__} has not {reported.keys() ^ names}"
    return web.Response(body=codec.encode(reported), content_type="application/json")
