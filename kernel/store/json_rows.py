"""Many values in one statement, many rows in one answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection


def in_json(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """
    Say that a column is one of any number of values, bound as `name=json_param(values)`.

    A parameter a value would be written into the statement anew for every list of another length.
    """
    each = func.json_each(bindparam(name)).table_valued("value")
    return column.in_(select(each.c.value))


def json_param(values: Iterable[str | int]) -> str:
    """Return the values `in_json` compares with."""
    return orjson.dumps(list(values)).decode()


def as_json_rows(statement: Select[Any]) -> Select[str]:
    """
    Let a statement answer with all its rows as one text, for `fetch_json_rows`.

    The engine makes it in one step while the event loop runs on; row by row, the thread that asks and
    the event loop would take the interpreter from each other for every row.
    """
    each = statement.subquery()
    return select(func.json_group_array(func.json_array(*each.c)))


async def fetch_json_rows(tx: AsyncConnection, statement: Select[str], **values: Any) -> list[list[Any]]:
    """Return the rows of an `as_json_rows` statement as SQLite holds them: amounts are text, truth is 0 or 1."""
    rows: list[list[Any]] = orjson.loads((await tx.execute(statement, values)).scalar_one())
    return rows
