"""Copy a stopped store from SQLite to an empty database of PostgreSQL, in one transaction that counts what arrived."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Boolean, Column, MetaData, Table

from kernel.errors import StoreError
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import Tx
from kernel.store.dialects import plain_type, storable
from kernel.store.postgresql import PostgresDatabase, PostgresSettings, open_postgresql

LONG_S = 6 * 3600.0
# Longer than a process can be silent and come back.
LATELY = "SELECT 1 FROM nodes WHERE seen_at > now_ms() - 60000 LIMIT 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What one service's stores consist of."""

    metadata: MetaData
    not_copied: Collection[str]  # tables about processes, not about what they keep
    sealed: Collection[tuple[str, str]]  # (table, column) of texts that are sealed
    amounts: Callable[[Column[Any]], bool]  # whether a column of text is an amount


async def copy_store(
    kind: Copied, source: Path, target: PostgresSettings, opens: SecretCipher, seals: SecretCipher
) -> dict[str, int]:
    """
    Copy every row, sealed anew, and return how many of each table.

    Both have this version's schema, and the caller holds the source's lock.

    Raises:
        StoreError: the target is not empty, or what arrived is not what was sent; nothing was changed.
    """
    patient = replace(target, idle_s=LONG_S)
    async with open_postgresql(patient, statement_s=LONG_S) as db:
        with closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as origin:
            return await _copy(kind, origin, db, opens, seals)


async def _copy(
    kind: Copied, origin: sqlite3.Connection, db: PostgresDatabase, opens: SecretCipher, seals: SecretCipher
) -> dict[str, int]:
    tables = [table for table in kind.metadata.sorted_tables if table.name not in kind.not_copied]
    copied = {}
    async with db.write(statement_s=LONG_S) as tx:
        await _require_empty(tx, tables)
        # They judge one change after the other, and what is copied was judged when it was written.
        await _triggers(tx, tables, "DISABLE")
        for table in tables:
            tally = _Tally(table, kind)
            sealed = {column for name, column in kind.sealed if name == table.name}
            rows = _rows(origin, table, tally, {c: lambda text: seals.encrypt(opens.decrypt(text)) for c in sealed})
            await _send(tx, db.settings.schema, table, rows)
            await _check(tx, table, tally)
            await _go_on_counting(tx, table)
            copied[table.name] = tally.count
        await tx.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")  # rows that refer to nothing are refused here
        await _triggers(tx, tables, "ENABLE")
    return copied


async def _triggers(tx: Tx, tables: Sequence[Table], what: str) -> None:
    for table in tables:
        await tx.exec_driver_sql(f"ALTER TABLE {table.name} {what} TRIGGER USER")


async def _require_empty(tx: Tx, tables: Sequence[Table]) -> None:
    if (await tx.exec_driver_sql(LATELY)).first() is not None:
        raise StoreError("the database is in use, or was a moment ago: stop every process on it first")
    for table in tables:
        if (await tx.exec_driver_sql(f"SELECT 1 FROM {table.name} LIMIT 1")).first() is not None:  # noqa: S608
            raise StoreError(f"the database is not empty: there are rows in {table.name}")


class _Tally:
    """How many rows passed, and the sum of each column of numbers or amounts."""

    def __init__(self, table: Table, kind: Copied) -> None:
        self.count = 0
        self.summed = [
            (place, column.name)
            for place, column in enumerate(table.columns)
            if plain_type(column.type).python_type is int or kind.amounts(column)
        ]
        self.sums = dict.fromkeys((name for _, name in self.summed), 0)

    def add(self, row: Sequence[Any]) -> None:
        self.count += 1
        for place, name in self.summed:
            self.sums[name] += int(row[place] or 0)


def _rows(
    origin: sqlite3.Connection, table: Table, tally: _Tally, anew: Mapping[str, Callable[[str], str]]
) -> Iterator[tuple[Any, ...]]:
    names = [column.name for column in table.columns]
    order = ", ".join(column.name for column in table.primary_key)
    writers = [_writer(column, anew.get(column.name)) for column in table.columns]
    for row in origin.execute(f"SELECT {', '.join(names)} FROM {table.name} ORDER BY {order}"):  # noqa: S608
        tally.add(row)
        yield tuple(None if value is None else write(value) for value, write in zip(row, writers, strict=True))


def _writer(column: Column[Any], anew: Callable[[str], str] | None) -> Callable[[Any], Any]:
    if anew is not None:
        return anew
    return bool if isinstance(column.type, Boolean) else storable


async def _send(tx: Tx, schema: str, table: Table, rows: Iterator[tuple[Any, ...]]) -> None:
    driver: Any = (await tx.get_raw_connection()).driver_connection
    names = [column.name for column in table.columns]
    await driver.copy_records_to_table(table.name, schema_name=schema, records=rows, columns=names, timeout=LONG_S)


async def _check(tx: Tx, table: Table, tally: _Tally) -> None:
    sums = "".join(f", coalesce(sum(CAST({name} AS numeric)), 0)" for name in tally.sums)
    found = (await tx.exec_driver_sql(f"SELECT count(*){sums} FROM {table.name}")).one()  # noqa: S608
    arrived = dict(zip(["rows", *tally.sums], map(int, found), strict=True))
    sent = {"rows": tally.count, **tally.sums}
    wrong = [f"{name} is {arrived[name]} and was {sent[name]}" for name in sent if arrived[name] != sent[name]]
    if wrong:
        raise StoreError(f"{table.name}: {'; '.join(wrong)}: nothing was copied")


async def _go_on_counting(tx: Tx, table: Table) -> None:
    """Let the next row have the number after the last."""
    for column in table.columns:
        asked = f"SELECT pg_get_serial_sequence('{table.name}', '{column.name}')"
        sequence = (await tx.exec_driver_sql(asked)).scalar_one()
        if sequence is not None:
            last = f"SELECT max({column.name}) FROM {table.name}"  # noqa: S608
            await tx.exec_driver_sql(f"SELECT setval('{sequence}', coalesce(({last}), 1), ({last}) IS NOT NULL)")
