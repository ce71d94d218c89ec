"""What every poll and scrape asks of the store takes the engine no more steps with thousands waiting than with few."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from bench.scale import fill, questions
from kernel.store.database import Database, open_database
from kernel.store.postgresql import PostgresDatabase
from scanner.model import IntentStatus
from scanner.store import intents, tables
from scanner.store.maintenance import check
from tests.harness import empty_store
from tests.scanner.facts import NOW, an_intent

FEW, MANY = 200, 6_000


async def steps(folder: Path, waiting: int) -> dict[str, int]:
    """Return how many instructions of SQLite's machine each question takes."""
    path = folder / f"{waiting}.db"
    path.write_bytes(empty_store())
    found = {}
    async with open_database(path) as db:
        await fill(db, waiting)
        for name, question in (await questions(db)).items():
            count = 0

            def step() -> int:
                nonlocal count
                count += 1
                return 0

            async with db.read() as tx:
                connection = (await tx.get_raw_connection()).driver_connection
                assert connection is not None
                await connection.set_progress_handler(step, 1)
                try:
                    await question(tx)
                finally:
                    await connection.set_progress_handler(None, 0)
            found[name] = count
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flat")


async def test_no_question_of_a_poll_grows_with_who_waits(folder: Path) -> None:
    few, many = await steps(folder, FEW), await steps(folder, MANY)
    assert all(few.values())
    assert {name: (few[name], many[name]) for name in few if many[name] > 2 * few[name]} == {}


async def test_counts_are_those_of_the_rows_whatever_becomes_of_them(db: Database) -> None:
    by_rows = select(tables.intents.c.chain_id, tables.intents.c.status, func.count()).group_by("chain_id", "status")

    async def hold() -> None:
        async with db.read() as tx:
            counted = {(row[0], row[1]): row[2] for row in await tx.execute(by_rows)}
            assert await intents.count_by_status(tx) == counted

    await hold()
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(f"o-{n}", chain_id=97 + n % 2) for n in range(7)])
    await hold()
    async with db.write() as tx:
        for number in range(4):
            await intents.change(tx, f"o-{number}", [IntentStatus.PENDING], NOW, status=IntentStatus.EXPIRED)
        await intents.change(tx, "o-0", [IntentStatus.EXPIRED], NOW, expired_at=NOW)
    await hold()
    async with db.write() as tx:
        await tx.execute(delete(tables.intents).where(tables.intents.c.intent_id.in_(["o-0", "o-4", "o-5"])))
    await hold()
    with suppress(ZeroDivisionError):
        async with db.write() as tx:
            await intents.add_many(tx, [an_intent("never")])
            raise ZeroDivisionError
    await hold()


def test_a_check_names_counts_that_are_wrong(store_path: Path) -> None:
    assert check(store_path).problems == ()
    with closing(sqlite3.connect(store_path)) as store:
        store.execute("INSERT INTO intent_counts VALUES (97, 'pending', 1)")
        store.commit()
    assert check(store_path).problems == ("counts of intents that are wrong: 1",)


async def test_a_count_is_written_once_a_statement_however_many_rows_it_changes(pg: PostgresDatabase) -> None:
    """Written once a row, the newest version of the count is found through all those before it."""
    asked = "SELECT n_tup_ins + n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = 'intent_counts'"
    await fill(pg, FEW)
    async with pg.write() as tx:
        before = (await tx.exec_driver_sql(asked)).scalar_one()
        await tx.execute(update(tables.intents).values(status=IntentStatus.PENDING))
        await tx.execute(delete(tables.intents))
        written = (await tx.exec_driver_sql(asked)).scalar_one() - before
        assert not await intents.count_by_status(tx)
    assert 0 < written <= 5


async def test_a_row_is_judged_by_an_index_however_many_came_before_it(pg: PostgresDatabase) -> None:
    """The engine plans what a trigger asks while the table is empty: 500 rows once took five seconds at 10,000."""
    rows = 2_000
    async with pg.write() as tx:  # one connection throughout, and nobody has analysed the table
        await tx.exec_driver_sql("ALTER TABLE intents SET (autovacuum_enabled = false)")
        for start in range(0, rows, 500):
            await intents.add_many(tx, [an_intent(f"order-{start + number}") for number in range(500)])
        await tx.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    async with pg.read() as tx:
        read = await tx.exec_driver_sql("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'intents'")
        assert read.scalar_one() < 10 * rows
