"""Connections to a store: awaited, and given back as they were taken whatever happens in between."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, select, true
from sqlalchemy.exc import OperationalError

from kernel.errors import StoreError
from kernel.store import database
from kernel.store.bulk import Bulk
from kernel.store.connection import take
from kernel.store.database import SqliteDatabase
from kernel.store.dialects import upsert
from kernel.store.sqlite_driver import RollingBack

coins = Table("coins", MetaData(), Column("id", Integer), Column("name", Text))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE coins (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        store.execute("CREATE TABLE sums (coin_id INTEGER REFERENCES coins (id))")
    return path


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteDatabase]:
    async with database.open_database(path) as opened:
        assert isinstance(opened, SqliteDatabase)
        yield opened
    for thread in threading.enumerate():  # of those that were given up on while they opened: they answer to this loop
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


async def count(store: SqliteDatabase) -> int:
    async with store.read() as tx:
        return int((await tx.exec_driver_sql("SELECT count(*) FROM coins")).scalar_one())


async def add(store: SqliteDatabase, *statements: str) -> None:
    async with store.write() as tx:
        for statement in statements:
            await tx.exec_driver_sql(statement)


async def test_a_commit_that_is_refused_leaves_no_transaction_open(store: SqliteDatabase, path: Path) -> None:
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await add(
            store, "PRAGMA defer_foreign_keys=ON", "INSERT INTO coins VALUES (1, 'a')", "INSERT INTO sums VALUES (7)"
        )

    assert await count(store) == 0
    with closing(sqlite3.connect(path, timeout=0.1)) as another:  # a lock left behind would refuse it
        another.execute("BEGIN IMMEDIATE")
    await add(store, "INSERT INTO coins VALUES (1, 'a')")
    assert await count(store) == 1


async def test_a_transaction_begins_once_and_holds_all_its_statements(store: SqliteDatabase) -> None:
    await add(store, "INSERT INTO coins VALUES (1, 'a')", "INSERT INTO coins VALUES (2, 'b')")
    assert await count(store) == 2
    with pytest.raises(StoreError, match="UNIQUE"):
        await add(store, "INSERT INTO coins VALUES (3, 'c')", "INSERT INTO coins VALUES (4, 'a')")
    assert await count(store) == 2


async def go_on_with_a_full_disk(store: SqliteDatabase, *statements: str) -> None:
    async with store.write() as tx:
        await tx.exec_driver_sql("INSERT INTO coins VALUES (2, 'b')")
        await tx.exec_driver_sql("PRAGMA max_page_count=1")
        with pytest.raises(OperationalError, match="full"):
            await tx.exec_driver_sql("INSERT INTO coins VALUES (4, hex(zeroblob(100000)))")
        for statement in statements:
            await tx.exec_driver_sql(statement)


@pytest.mark.parametrize("after", [(), ("INSERT INTO coins VALUES (3, 'c')",), ("SELECT * FROM coins",)])
async def test_nothing_is_kept_of_a_transaction_that_a_full_disk_has_ended(
    store: SqliteDatabase, after: tuple[str, ...]
) -> None:
    """SQLite undoes the whole of it there, whoever has caught the error: the rest would be kept by itself."""
    await add(store, "INSERT INTO coins VALUES (1, 'a')")

    with pytest.raises(StoreError, match="undone when one of its statements failed"):
        await go_on_with_a_full_disk(store, *after)

    assert await count(store) == 1
    await add(store, "PRAGMA max_page_count=1000000", "INSERT INTO coins VALUES (2, 'b')")
    assert await count(store) == 2


async def test_nothing_is_waited_for_when_a_connection_is_given_back(store: SqliteDatabase) -> None:
    """So nobody can be cancelled there, and it needs no task that goes on by itself."""
    for engine in (store._reader, store._writer):
        tx = await take(engine)
        await tx.exec_driver_sql("SELECT * FROM coins")
        with pytest.raises(StopIteration):  # it ended at the first step
            tx.close().send(None)
    await add(store, "INSERT INTO coins VALUES (1, 'a')")


async def test_what_is_stored_by_itself_is_not_undone_with_a_transaction_before_it(
    store: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose end had failed: what had been answered as stored was gone with it."""
    add_coin = Bulk(
        {"id": coins.c.id, "name": coins.c.name},
        lambda row: upsert(coins).from_select(["id", "name"], select(row["id"], row["name"]).where(true())),
    )
    refusals = [sqlite3.OperationalError("disk I/O error")]

    def rollback(connection: RollingBack) -> None:
        if refusals:
            raise refusals.pop()
        sqlite3.Connection.rollback(connection)

    monkeypatch.setattr(RollingBack, "rollback", rollback)
    with pytest.raises(StoreError, match="UNIQUE"):
        await add(store, "INSERT INTO coins VALUES (1, 'a')", "INSERT INTO coins VALUES (1, 'a')")

    await store.run_alone(add_coin, lambda: {"id": [2], "name": ["b"]})

    assert not refusals
    async with store.read() as tx:
        assert (await tx.exec_driver_sql("SELECT name FROM coins")).scalars().all() == ["b"]


@pytest.mark.parametrize("steps", range(12))
async def test_whoever_is_cancelled_at_any_step_leaves_every_connection_in_its_pool(
    store: SqliteDatabase, path: Path, steps: int
) -> None:
    async def work() -> None:
        async with store.read() as tx:
            await tx.exec_driver_sql("SELECT * FROM coins")
        await add(store, "INSERT INTO coins VALUES (1, 'a')", "INSERT INTO coins VALUES (2, 'b')")

    for _ in range(2 * database.READERS):  # more often than there are connections
        working = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        working.cancel()
        await asyncio.wait([working])
        assert await count(store) in {0, 2}
        async with asyncio.timeout(2):
            await add(store, "DELETE FROM coins")
        with closing(sqlite3.connect(path, timeout=1)) as another:
            another.execute("BEGIN IMMEDIATE")

    for engine in (store._reader, store._writer):
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
