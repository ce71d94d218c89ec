"""A busy machine stops a test, or its server, for seconds: that decides nothing of what the test shows."""

from __future__ import annotations

import asyncio
import time

from kernel.store.postgresql import STATEMENT_S, PostgresDatabase, PostgresSettings
from tests import postgres
from tests.harness import empty_database

IDLE_S = PostgresSettings(url="", schema="", setting="").idle_s
MORE_S = 0.5


async def test_a_test_that_is_stopped_amid_a_transaction_goes_on(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db, db.write() as tx:
        await tx.exec_driver_sql("INSERT INTO heartbeats (id, at) VALUES (1, 1)")
        time.sleep(IDLE_S + MORE_S)  # noqa: ASYNC251 - nothing of this process may go on
        assert (await tx.exec_driver_sql("SELECT count(*) FROM heartbeats")).scalar_one() == 1


async def test_a_server_that_is_stopped_amid_a_statement_goes_on(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        async with db.write() as tx:
            await tx.exec_driver_sql("INSERT INTO heartbeats (id, at) VALUES (1, 1)")
            _stop_soon(postgresql)
            await tx.exec_driver_sql("SELECT pg_sleep(0.2)")
        assert await _count(db) == 1


async def test_a_server_that_is_stopped_while_a_transaction_begins_goes_on(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        assert await _count(db) == 0
        postgresql.pause()
        asyncio.get_running_loop().call_later(STATEMENT_S + MORE_S, postgresql.resume)
        assert await _count(db) == 0


def _stop_soon(server: postgres.Server) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(0.1, server.pause)
    loop.call_later(STATEMENT_S + MORE_S, server.resume)


async def _count(db: PostgresDatabase) -> int:
    async with db.read() as tx:
        return int((await tx.exec_driver_sql("SELECT count(*) FROM heartbeats")).scalar_one())
