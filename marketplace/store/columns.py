"""How amounts, enums and JSON lie in columns."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import Column, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from kernel.store.ddl import Whole


class BaseUnits(TypeDecorator[int]):
    """An amount in base units: SQLite's INTEGER is 64-bit and 10 ether in wei does not fit."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else int(value)


class Json(TypeDecorator[Any]):
    """A small document that is kept whole and never queried."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any | None:  # noqa: ARG002
        return None if value is None else orjson.loads(value)


class OneOf(TypeDecorator[StrEnum]):
    """A member of a StrEnum, stored as its text."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(self.kind(value))

    def process_result_value(self, value: Any | None, dialect: Dialect) -> StrEnum | None:  # noqa: ARG002
        return None if value is None else self.kind(value)


def identity() -> Column[Any]:
    """Return the primary key most tables have: a UUID as text."""
    return Column("id", Text, primary_key=True)


def times() -> tuple[Column[Any], Column[Any]]:
    """Return when a row came to be and when it last changed."""
    return Column("created_at", Whole, nullable=False), Column("updated_at", Whole, nullable=False)


def known(column: str, kind: type[StrEnum]) -> str:
    """Return a CHECK that keeps a column to its words."""
    return f"{column} IN ({', '.join(repr(str(member)) for member in kind)})"
