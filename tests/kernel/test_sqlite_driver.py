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
from kernel.store.sqlite_driver import OneStepConnection, RollingBack, connect

SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) FROM n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[OneStepConnection]:
    opened = await connect(tmp_path / "some.db", timeout_s=1)
    opened._conn.isolation_level = None  # as the product has it: the module below begins nothing by itself
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
    store.begin_with("BEGIN")
    async with store.cursor() as cursor:
        await cursor.execute("SELECT 1")


async def names(store: OneStepConnection) -> list[str]:
    async with store.cursor() as cursor:
        await cursor.execute("SELECT name FROM coins")
        return [row[0] for row in await cursor.fetchall()]


async def test_a_statement_is_one_crossing(store: OneStepConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    crossings = count_crossings(store, monkeypatch)
    async with store.cursor() as cursor:
        await cursor.execute("SELECT 1 AS one")
        rows = await cursor.fetchall()

    assert (list(rows), len(crossings)) == ([(1,)], 1)


async def test_a_transaction_begins_with_its_first_statement_and_its_end_is_not_waited_for(
    store: OneStepConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossings = count_crossings(store, monkeypatch)
    await begin(store)
    assert (store.in_transaction, len(crossings)) == (True, 1)

    goes_on = threading.Event()
    busy = asyncio.create_task(store._execute(goes_on.wait))
    await asyncio.sleep(0)  # it is handed over
    async with asyncio.timeout(5):
        await store.rollback()  # while the thread does something else
    goes_on.set()
    await busy

    assert await names(store) == []
    assert not store.in_transaction


async def test_the_end_of_no_transaction_is_no_crossing(
    store: OneStepConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossings = count_crossings(store, monkeypatch)
    store.begin_with("BEGIN IMMEDIATE")
    await store.commit()
    store.begin_with("BEGIN IMMEDIATE")
    await store.rollback()
    await names(store)

    assert len(crossings) == 1
    assert not store.in_transaction


@pytest.mark.parametrize("many", [False, True])
async def test_a_statement_that_was_given_up_on_before_it_ran_is_rolled_back(
    store: OneStepConnection, many: bool
) -> None:
    """It runs in the thread all the same, after nobody waits for it any more."""
    goes_on = threading.Event()
    busy = asyncio.create_task(store._execute(goes_on.wait))
    store.begin_with("BEGIN IMMEDIATE")
    cursor = store.cursor()
    insert = "INSERT INTO coins (name) VALUES (?)"
    given_up = asyncio.create_task(
        cursor.executemany(insert, [("USDT",)]) if many else cursor.execute(insert, ("USDT",))
    )
    await asyncio.sleep(0)  # both are handed over
    given_up.cancel()
    await asyncio.wait([given_up])

    await store.rollback()
    goes_on.set()
    await busy

    assert await names(store) == []
    assert not store.in_transaction


async def test_a_beginning_that_failed_is_tried_again(store: OneStepConnection, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "some.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._conn.execute("PRAGMA busy_timeout=0")
    store.begin_with("BEGIN IMMEDIATE")
    async with store.cursor() as cursor:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await cursor.execute("INSERT INTO coins (name) VALUES ('USDT')")
        other.execute("ROLLBACK")
        other.close()
        await cursor.execute("INSERT INTO coins (name) VALUES ('USDT')")
        assert store.in_transaction
    await store.rollback()

    assert await names(store) == []


async def test_a_rollback_that_failed_is_done_before_the_next_transaction(
    store: OneStepConnection, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    await begin(store)
    store._conn.rollback = fails  # type: ignore[method-assign]
    await store.rollback()
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        await begin(store)
    assert "a transaction could not be rolled back: disk I/O error" in caplog.text

    del store._conn.rollback  # type: ignore[method-assign]
    await begin(store)
    await store.rollback()
    await names(store)
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
            async with store.write() as tx:
                await tx.exec_driver_sql("SELECT 1")
        other.close()
        with pytest.raises(StoreError) as wrong:
            async with store.write() as tx:
                await tx.exec_driver_sql("INSERT INTO nothing VALUES (1)")
        assert not isinstance(wrong.value, StoreBusy)


class Unwilling(RollingBack):
    """Its disk fails when it is to roll back."""

    def rollback(self) -> None:
        raise sqlite3.OperationalError("disk I/O error")


def test_a_connection_whose_rollback_fails_is_closed_all_the_same(tmp_path: Path) -> None:
    held = sqlite3.connect(tmp_path / "store", factory=Unwilling)
    held.isolation_level = None
    held.execute("BEGIN IMMEDIATE")

    with pytest.raises(sqlite3.OperationalError, match="disk"):
        held.close()

    with sqlite3.connect(tmp_path / "store", timeout=0) as another:
        another.execute("BEGIN IMMEDIATE")
    another.close()
