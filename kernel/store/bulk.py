"""One statement for many rows: what is written a thousand at a time."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Insert, Update, select, true
from sqlalchemy.engine import Dialect

from kernel.store.connection import Connection
from kernel.store.dialects import (
    POSTGRESQL_DIALECT,
    SQLITE_DIALECT,
    columns_of,
    given_rows,
    is_postgresql,
    list_name,
    storable,
)

SLICE = 500  # rows in one go: binding holds the event loop

Row = Mapping[str, ColumnElement[Any]]


class _Compiled:
    """A statement in an engine's words, with the values it always has and the places of those it is given."""

    def __init__(self, statement: Insert | Update, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self.names: list[str] = list(compiled.positiontup or ())
        self._constant = [compiled.params.get(name) for name in self.names]

    def values(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(given.get(name, value) for name, value in zip(self.names, self._constant, strict=True))


class Bulk:
    """
    A statement that takes all its rows at once, and so is one step of the engine.

    Row by row, the thread that writes and the event loop would take the interpreter from each other for
    every row. Values are bound as the store holds them (amounts as text).
    """

    def __init__(self, columns: Mapping[str, ColumnElement[Any]], build: Callable[[Row], Insert | Update]) -> None:
        """`columns` names the values of a row, each with a column of its kind; `build` makes a statement of them."""
        self._columns = columns
        self._names = tuple(columns)
        self._build = build

    @cached_property
    def sqlite(self) -> _Compiled:
        return _Compiled(self._build(given_rows(self._columns, SQLITE_DIALECT)), SQLITE_DIALECT)

    @cached_property
    def postgresql(self) -> _Compiled:
        return _Compiled(self._build(given_rows(self._columns, POSTGRESQL_DIALECT)), POSTGRESQL_DIALECT)

    async def run(self, tx: Connection, columns: Mapping[str, Iterable[Any]]) -> None:
        """Run once for each row of `columns`, of which at least one is finite."""
        rows = list(zip(*(columns[name] for name in self._names), strict=False))
        for start in range(0, len(rows), SLICE):
            part = rows[start : start + SLICE]
            await (self._run_postgresql if is_postgresql(tx) else self._run)(tx, part)

    async def run_once(self, tx: Connection, columns: Mapping[str, Iterable[Any]]) -> None:
        """
        Run for all rows in one statement.

        Raises:
            ValueError: they are more than one statement takes.
        """
        given = {name: list(columns[name]) for name in self._names}
        if any(len(values) > SLICE for values in given.values()):
            raise ValueError(f"more than {SLICE} rows")
        await self.run(tx, given)

    async def _run(self, tx: Connection, rows: list[tuple[Any, ...]]) -> None:
        said = self.sqlite
        await tx.exec_driver_sql(said.sql, said.values({"rows": orjson.dumps(rows).decode()}))

    async def _run_postgresql(self, tx: Connection, rows: list[tuple[Any, ...]]) -> None:
        said = self.postgresql
        lists = {
            list_name(name): list(map(storable, column))
            for name, column in zip(self._names, zip(*rows, strict=True), strict=True)
        }
        await tx.exec_driver_sql(said.sql, said.values(lists))


class BulkInsert(Bulk):
    """An INSERT of many rows; whole slices are bound value by value, which SQLite reads five times faster."""

    def __init__(self, statement: Insert, names: Sequence[str]) -> None:
        """Compile both forms."""
        super().__init__(
            columns_of(statement.table, names),
            # Without a condition SQLite would take ON CONFLICT for a join's ON.
            lambda row: statement.from_select(list(names), select(*row.values()).where(true()), include_defaults=False),
        )
        compiled = statement.compile(dialect=SQLITE_DIALECT, column_keys=list(names))
        row = f"({', '.join('?' * len(names))})"
        self._slice_sql = str(compiled).replace(f"VALUES {row}", f"VALUES {', '.join([row] * SLICE)}")
        self._order = operator.itemgetter(*map(self._names.index, (compiled.positiontup or [])[: len(names)]))
        self._constants = [compiled.params[name] for name in (compiled.positiontup or [])[len(names) :]]

    async def _run(self, tx: Connection, rows: list[tuple[Any, ...]]) -> None:
        if len(rows) < SLICE:
            await super()._run(tx, rows)
        else:
            values = itertools.chain.from_iterable(map(self._order, rows))
            await tx.exec_driver_sql(self._slice_sql, (*values, *self._constants))
