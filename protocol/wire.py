"""What values look like on the wire: amounts are text, times are RFC 3339, names are in camel case."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, dataclass_transform

import msgspec

MAX_UINT256 = 2**256 - 1
MAX_DIGITS = 79
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_PATTERN = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
_MILLISECOND = timedelta(milliseconds=1)
_INTEGER = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}")


@dataclass_transform(kw_only_default=True, frozen_default=True)  # for who checks types: the library inherits it
class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A JSON object. Whoever reads one ignores fields of a later version; whoever writes one writes every field."""


class Value:
    """A value that is text on the wire. Its class says how it is read, written and described."""

    schema: ClassVar[Mapping[str, Any]]  # of JSON Schema

    @classmethod
    def read(cls, told: Any) -> Any:
        """
        Return the value of what a JSON reader made of it.

        Raises:
            ValueError: it is none; the message says why.
        """
        raise NotImplementedError

    def written(self) -> str:
        """Return the text that stands for it."""
        raise NotImplementedError


class Units(int, Value):
    """An amount in base units. It travels as text: a JSON number loses digits on the way through most languages."""

    schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": "^[0-9]{1,90}$", "description": "Base units."}
    least: ClassVar[int] = 0  # a negative amount would be credited backwards

    @classmethod
    def read(cls, told: Any) -> Units:
        if type(told) is not int and not (isinstance(told, str) and _INTEGER.fullmatch(told)):
            raise ValueError(f"is {type(told).__name__} and no integer")  # a float has lost digits already
        number = cls(told)
        if not cls.least <= number <= MAX_UINT256:
            raise ValueError("is out of bounds")
        return number

    def written(self) -> str:
        return int.__repr__(self)


class Change(Units):
    """A difference of amounts in base units."""

    schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": "^-?[0-9]{1,90}$", "description": "Base units."}
    least: ClassVar[int] = -MAX_UINT256


class Moment(int, Value):
    """A moment in unix milliseconds."""

    schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": TIME_PATTERN, "description": "RFC 3339, UTC."}

    @classmethod
    def read(cls, told: Any) -> Moment:
        if not isinstance(told, str):
            raise ValueError(f"is {type(told).__name__} and no time")  # noqa: TRY004 - the library reads this one
        moment = datetime.fromisoformat(told)
        if moment.tzinfo is None:
            raise ValueError("has no offset")
        return cls((moment - EPOCH) // _MILLISECOND)

    def written(self) -> str:
        return rfc3339(self)

    @property
    def datetime(self) -> datetime:
        """The moment as a datetime of UTC."""
        return EPOCH + self * _MILLISECOND


def described(kind: type[Any]) -> Mapping[str, Any]:
    """Return the schema of a value that is text on the wire."""
    if issubclass(kind, Value):
        return kind.schema
    raise NotImplementedError(f"{kind.__name__} has no place on the wire")


def rfc3339(ms: int) -> str:
    """Render unix milliseconds as RFC 3339 UTC with milliseconds."""
    seconds, rest = divmod(ms, 1000)
    # Three times as fast as a format of its own, and a list of intents holds hundreds.
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:03d}Z"


def moment(ms: int | None) -> Moment | None:
    """Return a moment that may be missing."""
    return None if ms is None else Moment(ms)


def one_of(words: type[StrEnum]) -> msgspec.Meta:
    """
    Describe text that is one of these words.

    It is read as text: what a later version says besides is for whoever acts on it to refuse.
    """
    return msgspec.Meta(description=inspect.getdoc(words), extra_json_schema={"enum": [str(word) for word in words]})
