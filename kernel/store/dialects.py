"""
What SQLite and PostgreSQL say differently in a statement, in one place.

A statement is written once over these elements and compiled for either engine: a list of values, rows handed in,
rows handed back as one text, and conditions that a partial index has to be asked for in its own words.
`upsert` is PostgreSQL's INSERT, whose `on_conflict_do_*` both compile.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Select,
    String,
    Text,
    UnaryExpression,
    bindparam,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.engine import Compiled, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator, TypeEngine

from kernel.store.connection import Connection
from kernel.store.ddl import POSTGRESQL, SQLITE, Spelling

__all__ = [
    "Insert",
    "JsonRows",
    "Spelt",
    "StrangersText",
    "among",
    "as_json_rows",
    "begins_with",
    "columns_of",
    "defer_foreign_keys",
    "each_of",
    "fetch_in_parts",
    "fetch_json_rows",
    "given_rows",
    "greatest",
    "is_postgresql",
    "least",
    "list_name",
    "storable",
    "upsert",
    "without_index",
]

PART = 5_000  # rows of an answer that may be any number
_cursors = itertools.count()


def is_postgresql(tx: Connection) -> bool:
    """Say which engine a transaction runs on."""
    return tx.dialect.name == "postgresql"


def plain_type(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return how a column's values lie in the store: text, a whole number, or a truth."""
    if isinstance(kind, Boolean):
        return Boolean()
    return BigInteger() if kind.python_type is int and not isinstance(kind, TypeDecorator) else Text()


class _Values(TypeDecorator[Any]):
    """Any number of values in one parameter: an array, or JSON where there are none."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(self.item) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Iterable[Any] | None, dialect: Dialect) -> Any:
        values = list(value or ())
        return list(map(storable, values)) if dialect.name == "postgresql" else orjson.dumps(values).decode()


class _Condition(ColumnElement[bool]):
    """A condition, and no truth in a column: SQLite would be asked whether it `= 1`, which no index answers."""

    type = Boolean()

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002
        return self

    def _negate(self) -> ColumnElement[bool]:
        return UnaryExpression(self, operator=operators.inv, type_=Boolean())


class among(_Condition, FunctionElement[bool]):  # noqa: N801 - reads as the function it is
    """
    Say that a column is one of any number of values, bound as `name=<collection>`.

    A parameter a value would be written into the statement anew for every list of another length.
    """

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        super().__init__(column, bindparam(name, type_=_Values(plain_type(column.type))))


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - a rendered parameter


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} = ANY ({values})"


class each_of(FunctionElement[Any]):  # noqa: N801
    """A table of one column, `value`, of the texts bound as `name=<collection>`: they are walked through one by one."""

    inherit_cache = True

    def __init__(self, name: str) -> None:
        super().__init__(bindparam(name, type_=_JsonTexts()))


class _JsonTexts(TypeDecorator[Any]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Iterable[str] | None, dialect: Dialect) -> str:  # noqa: ARG002
        return orjson.dumps(list(value or ())).decode()


@compiles(each_of, "sqlite")
def _each_sqlite(element: each_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(each_of, "postgresql")
def _each_postgresql(element: each_of, compiler: SQLCompiler, **kw: Any) -> str:
    # An array's `unnest` has no name for its column that both engines would understand.
    return f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **kw)} AS jsonb))"


class _RowsAsText(FunctionElement[str]):
    type = Text()
    inherit_cache = True


@compiles(_RowsAsText, "sqlite")
def _rows_sqlite(element: _RowsAsText, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_group_array(json_array({compiler.process(element.clauses, **kw)}))"


@compiles(_RowsAsText, "postgresql")
def _rows_postgresql(element: _RowsAsText, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(coalesce(json_agg(json_build_array({compiler.process(element.clauses, **kw)})), '[]') AS text)"


class JsonRows:
    """
    A question answered with all its rows as one text, compiled once an engine.

    The engine makes the text in one step while the event loop runs on; row by row, the thread that asks and the event
    loop would take the interpreter from each other for every row.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self._rows = statement
        self._statement = select(_RowsAsText(*statement.subquery().c))
        self._prepared: dict[str, _Prepared] = {}

    def compile(self, dialect: Dialect) -> Compiled:
        return self._statement.compile(dialect=dialect)

    async def fetch(self, tx: Connection, values: Mapping[str, Any]) -> list[list[Any]]:
        dialect = tx.dialect
        prepared = self._prepared.get(dialect.name)
        if prepared is None:
            prepared = self._prepared[dialect.name] = _Prepared(self._statement, dialect)
        found = await tx.exec_driver_sql(prepared.sql, prepared.values(values))
        rows: list[list[Any]] = orjson.loads(found.scalar_one())
        return rows

    async def fetch_in_parts(self, tx: Connection, values: Mapping[str, Any]) -> AsyncIterator[list[list[Any]]]:
        if not is_postgresql(tx):
            yield await self.fetch(tx, values)
            return
        # A transaction that says nothing while a million rows are worked through is ended by the server.
        prepared = _Prepared(self._rows, tx.dialect)
        name = f"parts_{next(_cursors)}"
        await tx.exec_driver_sql(f"DECLARE {name} NO SCROLL CURSOR FOR {prepared.sql}", prepared.values(values))
        while found := (await tx.exec_driver_sql(f"FETCH {PART} FROM {name}")).all():
            yield [list(row) for row in found]
        await tx.exec_driver_sql(f"CLOSE {name}")


class _Prepared:
    """A question in an engine's words, and how its parameters are written."""

    def __init__(self, statement: Select[Any], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        given = {bind.key for bind in compiled.binds.values() if bind.required}
        expanded = compiled.construct_expanded_state(dict.fromkeys(given))
        writers: dict[str, Any] = {**compiled._bind_processors, **expanded.processors}  # noqa: SLF001 - as SQLAlchemy does
        self.sql = expanded.statement
        self._places = [
            (name, writers.get(name), None)
            if name in given
            else (None, None, _written(writers.get(name), expanded.parameters[name]))
            for name in expanded.positiontup or ()
        ]

    def values(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(
            constant if name is None else given[name] if write is None else write(given[name])
            for name, write, constant in self._places
        )


def _written(write: Any, value: Any) -> Any:
    return value if write is None else write(value)


def as_json_rows(statement: Select[Any]) -> JsonRows:
    """Let a statement answer with all its rows as one text, for `fetch_json_rows`."""
    return JsonRows(statement)


async def fetch_json_rows(tx: Connection, statement: JsonRows, **values: Any) -> list[list[Any]]:
    """Return the rows of an `as_json_rows` statement as the store holds them: amounts are text, truth is truthy."""
    return await statement.fetch(tx, values)


def fetch_in_parts(tx: Connection, statement: JsonRows, **values: Any) -> AsyncIterator[list[list[Any]]]:
    """Return the rows as `fetch_json_rows` does, of one snapshot, as many at a time as are quickly worked through."""
    return statement.fetch_in_parts(tx, values)


def given_rows(columns: Mapping[str, ColumnElement[Any]], dialect: Dialect) -> dict[str, ColumnElement[Any]]:
    """
    Return the columns of a table that is bound as the parameters of a statement.

    SQLite takes all rows as JSON in `rows`, PostgreSQL a list for each column, named as it is.
    """
    if dialect.name == "sqlite":
        each = func.json_each(bindparam("rows")).table_valued("value")
        return {name: each.c.value.op("->>")(literal_column(str(place), String)) for place, name in enumerate(columns)}
    types = {name: plain_type(column.type) for name, column in columns.items()}
    lists = [bindparam(list_name(name), type_=ARRAY(kind)) for name, kind in types.items()]
    table = func.unnest(*lists).table_valued(*columns, name="given").render_derived()
    return {name: _typed(table.c[name], kind) for name, kind in types.items()}


def storable(value: Any) -> Any:
    """
    Return a value as PostgreSQL can hold it: its texts have no place for the character 0.

    A receiver that answered with one could not be written down, and was told the same for ever.
    """
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value


class StrangersText(TypeDecorator[str]):
    """Text a stranger chose, row by row; what is written in bulk goes through `storable` anyway."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        stored: str | None = storable(value) if dialect.name == "postgresql" else value
        return stored


def list_name(name: str) -> str:
    """Return the name of the parameter that holds a column of the given rows."""
    return f"list_{name}"


def _typed(column: Any, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    column.type = kind
    return column  # type: ignore[no-any-return]  # a column of a function has no type of its own


class without_index(FunctionElement[Any]):  # noqa: N801
    """
    A column in a condition that is checked on each row and never leads to one.

    Else SQLite may look for all rows with that status, and through all given rows for each.
    """

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(without_index)
def _plain(element: without_index, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(without_index, "sqlite")
def _unindexed(element: without_index, compiler: SQLCompiler, **kw: Any) -> str:
    return f"+{compiler.process(element.clauses, **kw)}"


class begins_with(_Condition, FunctionElement[bool]):  # noqa: N801
    """Say that a text begins with another, by its characters and not by the order of some language."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], prefix: str) -> None:
        super().__init__(column, literal(prefix), literal(prefix[:-1] + chr(ord(prefix[-1]) + 1)))


@compiles(begins_with, "sqlite")
def _begins_sqlite(element: begins_with, compiler: SQLCompiler, **kw: Any) -> str:
    column, first, after = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} >= {first} AND {column} < {after}"  # as an index is asked


@compiles(begins_with, "postgresql")
def _begins_postgresql(element: begins_with, compiler: SQLCompiler, **kw: Any) -> str:
    column, first, _ = element.clauses
    return f"starts_with({compiler.process(column, **kw)}, {compiler.process(first, **kw)})"


class _Extreme(FunctionElement[int]):
    type = BigInteger()
    inherit_cache = True


class least(_Extreme):  # noqa: N801
    """The smaller of numbers, none of which is null: the engines differ about null."""

    inherit_cache = True


class greatest(_Extreme):  # noqa: N801
    """The larger of numbers, none of which is null."""

    inherit_cache = True


@compiles(least, "sqlite")
def _min(element: least, compiler: SQLCompiler, **kw: Any) -> str:
    return f"min({compiler.process(element.clauses, **kw)})"


@compiles(greatest, "sqlite")
def _max(element: greatest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)})"


@compiles(least, "postgresql")
def _least(element: least, compiler: SQLCompiler, **kw: Any) -> str:
    return f"least({compiler.process(element.clauses, **kw)})"


@compiles(greatest, "postgresql")
def _greatest(element: greatest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kw)})"


class Spelt(_Condition):
    """A condition in each engine's words: exactly as its partial index says it."""

    inherit_cache = True
    _traverse_internals = [("sqlite", InternalTraversal.dp_string), ("postgresql", InternalTraversal.dp_string)]  # noqa: RUF012

    def __init__(self, condition: Callable[[Spelling], str]) -> None:
        self.sqlite, self.postgresql = condition(SQLITE), condition(POSTGRESQL)


@compiles(Spelt, "sqlite")
def _spelt_sqlite(element: Spelt, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001
    return f"({element.sqlite})"


@compiles(Spelt, "postgresql")
def _spelt_postgresql(element: Spelt, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ARG001
    return f"({element.postgresql})"


async def defer_foreign_keys(tx: Connection) -> None:
    """Check foreign keys when the transaction ends, not before."""
    await tx.exec_driver_sql("SET CONSTRAINTS ALL DEFERRED" if is_postgresql(tx) else "PRAGMA defer_foreign_keys=ON")


def columns_of(table: FromClause, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """Return some columns of a table by name."""
    return {name: table.c[name] for name in names}


SQLITE_DIALECT = sqlite.dialect()
POSTGRESQL_DIALECT = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
