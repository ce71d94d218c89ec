"""The store's driver crosses to its thread once a statement, and behaves as the one below it does."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernel.errors import StoreBusy, StoreError
from kernel.store import database
from kernel.store.sqlite_driver import OneStepConnection, connect

SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) FROM n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[OneStepConnection]:
    opened = await connect(tmp_path / "some.db", timeout_s=1)
    async with opened.cursor() as cursor:
        await cursor.execute("CREATE TABLE coins (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    yield opened
    await opened.close()


def count_crossings(store: OneStepConnection, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Keep what is handed over to the thread from now on."""
    crossings: list[object] = []
    execute = store._execute

    async def counted(*given: object) -> object:
        crossings.append(given)
        return await execute(*given)

    monkeypatch.setattr(store, "_execute", counted)
    return crossings


async def begin(store: OneStepConnection) -> None:
    async with store.cursor() as cursor:
        await cursor.execute("BEGIN")


async def test_a_statement_is_one_crossing(store: OneStepConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    crossings = count_crossings(store, monkeypatch)
    async with store.cursor() as cursor:
        await cursor.execute("SELECT 1 AS one")
        rows = await cursor.fetchall()

    assert (list(rows), len(crossings)) == ([(1,)], 1)


async def test_the_end_of_no_transaction_is_no_crossing(
    store: OneStepConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossings = count_crossings(store, monkeypatch)
    await store.rollback()
    await store.commit()
    assert not crossings

    await begin(store)
    await store.rollback()
    assert len(crossings) == 2
    assert not store.in_transaction


async def test_a_transaction_whose_beginning_was_given_up_is_rolled_back(store: OneStepConnection) -> None:
    """It begins in the thread all the same, after nobody waits for it any more."""
    goes_on = threading.Event()
    busy = asyncio.create_task(store._execute(goes_on.wait))
    beginning = asyncio.create_task(store._execute(store._conn.execute, "BEGIN"))
    await asyncio.sleep(0)  # both are handed over
    beginning.cancel()
    await asyncio.wait([beginning])
    goes_on.set()

    await store.rollback()

    await busy
    assert not store.in_transaction


async def test_rows_are_handed_out_once(store: OneStepConnection) -> None:
    async with store.cursor() as cursor:
        await cursor.execute("INSERT INTO coins (name) VALUES (?) RETURNING id, name", ("USDT",))

        assert [column[0] for column in cursor.description] == ["id", "name"]
        assert list(await cursor.fetchall()) == [(1, "USDT")]
        assert list(await cursor.fetchall()) == []


async def test_changes_are_counted(store: OneStepConnection) -> None:
    async with store.cursor() as cursor:
        await cursor.executemany("INSERT INTO coins (name) VALUES (?)", [("USDT",), ("USDC",)])
        assert cursor.rowcount == 2
        await cursor.execute("UPDATE coins SET name = name || '!' WHERE id = 2")
        assert cursor.rowcount == 1


async def test_errors_are_the_drivers_own_and_the_cursor_can_be_closed(store: OneStepConnection) -> None:
    async with store.cursor() as cursor:
        await cursor.execute("INSERT INTO coins (name) VALUES ('USDT')")
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            await cursor.execute("INSERT INTO coins (name) VALUES ('USDT')")

    async with store.cursor() as cursor:
        await cursor.execute("SELECT count(*) FROM coins")
        assert list(await cursor.fetchall()) == [(1,)]


async def test_a_statement_that_was_given_up_on_is_closed_after_it_ended(store: OneStepConnection) -> None:
    cursor = store.cursor()
    running = asyncio.create_task(cursor.execute(SLOW))
    await asyncio.sleep(0)  # it is handed over
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await cursor.close()

    async with store.cursor() as after:
        await after.execute("SELECT count(*) FROM coins")
        assert list(await after.fetchall()) == [(0,)]


async def test_who_waits_in_vain_for_anothers_lock_is_told_that_trying_again_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    path = tmp_path / "some.db"
    async with database.open_database(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="database is locked"):
            async with store.write():
                pass
        other.close()
        with pytest.raises(StoreError) as wrong:
            async with store.write() as tx:
                await tx.exec_driver_sql("INSERT INTO nothing VALUES (1)")
        assert not isinstance(wrong.value, StoreBusy)
