"""What shapes are made of."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeAlias

from msgspec import Meta

from protocol.wire import Change, Moment, Wire


class Time(Moment):
    """A moment in unix milliseconds."""

    schema: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
    }


class BaseUnits(Change):
    """An amount in base units, or a difference of two."""

    schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": "^-?[0-9]+$"}


def one_of(words: type[StrEnum] | tuple[str, ...]) -> Meta:
    return Meta(extra_json_schema={"enum": [str(word) for word in words]})


Money: TypeAlias = Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$")]


Count: TypeAlias = Annotated[int, Meta(ge=0)]


Open: TypeAlias = Mapping[str, Any]  # evidence and the scanner's own block: what is in them depends on what was seen


State: TypeAlias = Annotated[str, one_of(("ok", "degraded", "down"))]


class Page(Wire):
    total: Count
    page: Count
    limit: Count
