"""Between bytes, JSON objects and the structs of the wire."""

from __future__ import annotations

import functools
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
import orjson

from protocol.wire import Value, Wire

MAX_DEPTH = 32
MAX_TEXT = 4096
_INTEGERS = range(-(2**63), 2**63)  # what a store and every reader of JSON can carry

_MISSING = re.compile("Object missing required field `(.+)`")
_OTHER_TYPE = re.compile("Expected `(.+)`, got `(.+)`")

T = TypeVar("T")
W = TypeVar("W", bound=Wire)


class Unreadable(Exception):
    """What was told is not what it should be; the message names the field."""


def encode(told: Any) -> bytes:
    """Return the bytes of a struct, or of plain values with structs in them."""
    return _ENCODER.encode(told)


def plain(told: Wire) -> dict[str, Any]:
    """Return a struct as the JSON object it is on the wire."""
    found: dict[str, Any] = msgspec.json.decode(_ENCODER.encode(told))
    return found


def as_object(raw: bytes) -> dict[str, Any] | None:
    """Return a JSON object; None for anything else, and for what nests deeper than anybody here would."""
    try:
        # It bounds by itself how deep a body nests. msgspec leaves that to the interpreter's limit, which anybody in
        # the process may have raised: then a body of brackets alone ends the process.
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) and _is_shallow(body) else None


def read(kind: type[T], told: Any, *, max_text: int = MAX_TEXT) -> T:
    """
    Return a JSON value as what it stands for; what the type does not name is left out.

    Raises:
        Unreadable: it is something else, or a field is missing.
    """
    _check_sizes(told, max_text)
    try:
        return msgspec.convert(told, kind, dec_hook=_read)
    except msgspec.ValidationError as exc:
        raise Unreadable(_sentence(str(exc))) from exc


def _sentence(said: str) -> str:
    """Return what the library says is wrong, beginning with the name of the field."""
    what, _, place = said.partition(" - at `")
    name = place.rstrip("`").rpartition(".")[2].partition("[")[0].lstrip("$") or "answer"
    if (missing := _MISSING.fullmatch(what)) is not None:
        return f"{missing[1]} is missing"
    other = _OTHER_TYPE.fullmatch(what)
    return f"{name} {what[:1].lower()}{what[1:]}" if other is None else f"{name} is {other[2]} and no {other[1]}"


def of(kind: type[W], facts: Any, /, **changed: Any) -> W:
    """Return a struct made of facts that have its fields' names, or a row's; `changed` are those that differ."""
    plan = _plan(kind, tuple(changed), isinstance(facts, Mapping))
    values = dict(zip(plan.names, plan.fetch(facts), strict=True))
    for name, made in plan.made:
        value = values[name]
        values[name] = None if value is None else made(value)
    return kind(**values, **changed)


def _written(value: Any) -> str:
    if isinstance(value, Value):
        return value.written()
    raise NotImplementedError(f"{type(value).__name__} has no place on the wire")


def _read(kind: type[Any], told: Any) -> Any:
    if issubclass(kind, Value):
        return kind.read(told)
    raise NotImplementedError(f"{kind.__name__} has no place on the wire")


_ENCODER = msgspec.json.Encoder(enc_hook=_written)


class _Plan(NamedTuple):
    """How a struct is made: a list of intents holds hundreds of them, and each has thirty fields."""

    names: tuple[str, ...]
    fetch: Callable[[Any], tuple[Any, ...]]
    made: tuple[tuple[str, type[Any]], ...]  # an amount is a plain integer in the daemon


@functools.cache
def _plan(kind: type[Wire], changed: tuple[str, ...], from_row: bool) -> _Plan:  # noqa: FBT001 - a key of the cache
    fields = [field for field in msgspec.structs.fields(kind) if field.name not in changed]
    made = [(field.name, value) for field in fields if (value := _value_of(field.type)) is not None]
    return _Plan(
        tuple(field.name for field in fields), _fetching([f.name for f in fields], from_row=from_row), tuple(made)
    )


def _fetching(names: list[str], *, from_row: bool) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    get = operator.itemgetter(*names) if from_row else operator.attrgetter(*names)
    return get if len(names) > 1 else lambda facts: (get(facts),)  # alone it does not come in a tuple


def _value_of(hint: Any) -> type[Any] | None:
    """Return which kind of value a field holds; None for what JSON has by itself."""
    arms = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else (hint,)
    return next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, Value)), None)


def _is_shallow(body: Any) -> bool:
    """Say whether a value nests no deeper than what is said here: deeper ones can be read and not written again."""
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


def _check_sizes(told: Any, max_text: int) -> None:
    """Refuse what is longer, or counts further, than anything that is ever said here."""
    waiting: list[tuple[str, Any]] = [("answer", told)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, each) for each in value]
        elif isinstance(value, str) and len(value) > max_text:
            raise Unreadable(f"{name[:MAX_TEXT]} is longer than {max_text} characters")
        elif isinstance(value, int) and value not in _INTEGERS:
            raise Unreadable(f"{name[:MAX_TEXT]} is out of bounds")
