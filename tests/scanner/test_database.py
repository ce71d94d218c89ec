"""The store's connections: one writer, whole transactions or nothing, and readers who never wait."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from chains.types import Cursor, Rail
from kernel.errors import Collision
from kernel.store.bulk import SLICE
from kernel.store.database import Database, open_database
from scanner.store import checkpoints, intents
from scanner.store.errors import StoreError
from tests.scanner.facts import CHAIN, NOW, SQLITE_ALONE, an_intent


async def count(db: Database) -> int:
    async with db.read() as tx:
        found: int = (await tx.execute(text("SELECT count(*) FROM intents"))).scalar_one()
        return found


async def test_a_transaction_that_raises_leaves_nothing(db: Database) -> None:
    async def half() -> None:
        async with db.write() as tx:
            await intents.add_many(tx, [an_intent()])
            raise KeyError

    with pytest.raises(KeyError):
        await half()

    assert await count(db) == 0


@SQLITE_ALONE
async def test_a_writer_cancelled_in_the_middle_leaves_nothing_and_no_open_transaction(
    db: Database, store_path: Path
) -> None:
    inside = asyncio.Event()

    async def write() -> None:
        async with db.write() as tx:
            await intents.add_many(tx, [an_intent()])
            inside.set()
            await asyncio.Event().wait()

    writer = asyncio.create_task(write())
    await inside.wait()
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer

    assert await count(db) == 0
    with sqlite3.connect(store_path, timeout=0.1) as another:  # a lock left behind would refuse it
        another.execute("BEGIN IMMEDIATE")
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent()])
    assert await count(db) == 1


@pytest.mark.parametrize("yields", range(12))
async def test_a_writer_cancelled_at_any_step_has_written_all_or_nothing(db: Database, yields: int) -> None:
    """Whatever the driver's thread is doing at that moment."""

    async def write() -> None:
        async with db.write() as tx:
            await intents.add_many(tx, [an_intent("a")])
            await intents.add_many(tx, [an_intent("b")])

    writer = asyncio.create_task(write())
    for _ in range(yields):
        await asyncio.sleep(0.0005)  # the moment of the cancellation is what varies here
    writer.cancel()
    await asyncio.wait([writer])

    assert await count(db) in {0, 2}
    async with asyncio.timeout(2), db.write() as tx:
        await intents.add_many(tx, [an_intent("c")])
    assert await count(db) in {1, 3}


async def test_a_writer_cancelled_while_it_queues_lets_the_next_one_in(db: Database) -> None:
    async def write(name: str) -> None:
        async with db.write() as tx:
            await intents.add_many(tx, [an_intent(name)])

    async with db.write():
        queued = asyncio.create_task(write("a"))
        following = asyncio.create_task(write("b"))
        await asyncio.sleep(0)
        queued.cancel()
    await asyncio.wait([queued, following])

    assert queued.cancelled()
    async with db.read() as tx:
        assert set(await intents.get_many(tx, ["a", "b"])) == {"b"}


async def test_a_reader_sees_the_last_committed_state_and_does_not_wait_for_the_writer(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent()])
        async with asyncio.timeout(2):
            assert await count(db) == 0

    assert await count(db) == 1


async def test_the_very_first_writer_does_not_wait_for_a_reader(db: Database) -> None:
    async with db.read() as tx:
        await tx.execute(text("SELECT count(*) FROM intents"))
        async with db.write() as writer:
            await intents.add_many(writer, [an_intent()])


async def test_a_reader_sees_one_moment_however_long_it_reads(db: Database) -> None:
    async with db.write():
        pass  # see the test above
    async with db.read() as tx:
        assert (await tx.execute(text("SELECT count(*) FROM intents"))).scalar_one() == 0
        async with db.write() as writer:
            await intents.add_many(writer, [an_intent()])
        assert (await tx.execute(text("SELECT count(*) FROM intents"))).scalar_one() == 0


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(StoreError, match=r"read-?only"):
        async with db.read() as tx:
            await intents.add_many(tx, [an_intent()])


@SQLITE_ALONE
@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)]
)
async def test_what_is_acknowledged_survives_a_power_cut(db: Database, pragma: str, value: object) -> None:
    async with db.write() as tx:
        assert (await tx.execute(text(f"PRAGMA {pragma}"))).scalar_one() == value


async def test_a_driver_error_is_raised_as_the_stores(db: Database) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent()])

    with pytest.raises(StoreError, match=r"UNIQUE|unique constraint"):
        async with db.write() as tx:
            await intents.add_many(tx, [an_intent()])

    assert await count(db) == 1


async def known_blocks(db: Database) -> list[int]:
    async with db.read() as tx:
        return [cursor.position for cursor in await checkpoints.known_blocks(tx, CHAIN, Rail.PROXY)]


async def put(db: Database, *positions: int, keep_from: int = -1) -> None:
    for position in positions:
        async with db.write() as tx:
            await checkpoints.put(
                tx, CHAIN, Rail.PROXY, Cursor(position, f"h{position}"), time=position, now=NOW, keep_from=keep_from
            )


async def test_of_the_block_hashes_below_the_window_the_newest_is_kept(db: Database) -> None:
    await put(db, 10, 20, 30, 40)

    await put(db, 50, keep_from=30)

    assert await known_blocks(db) == [50, 40, 30]
    await put(db, 60, keep_from=35)
    assert await known_blocks(db) == [60, 50, 40, 30]


async def test_going_back_forgets_the_block_hashes_above_and_moves_the_checkpoint(db: Database) -> None:
    await put(db, 10, 20, 30)

    async with db.write() as tx:
        await checkpoints.rewind(tx, CHAIN, Rail.PROXY, Cursor(20, "h20"), now=NOW)
        await checkpoints.rewind(tx, CHAIN, Rail.PROXY, Cursor(30, "h30"), now=NOW)  # never forward

    assert await known_blocks(db) == [20, 10]
    async with db.read() as tx:
        # What was read up to a higher block says nothing of the time of the lower one.
        assert await checkpoints.get(tx, CHAIN, Rail.PROXY) == (Cursor(20, "h20"), None)
        assert await checkpoints.get(tx, CHAIN, Rail.DIRECT) is None
        assert await checkpoints.get(tx, CHAIN + 1, Rail.PROXY) is None


async def test_the_hash_of_a_block_is_the_one_it_was_last_read_with(db: Database) -> None:
    await put(db, 10)
    async with db.write() as tx:
        await checkpoints.put(tx, CHAIN, Rail.PROXY, Cursor(10, "other"), time=10, now=NOW, keep_from=-1)

    async with db.read() as tx:
        assert await checkpoints.known_blocks(tx, CHAIN, Rail.PROXY) == [Cursor(10, "other")]


async def add(db: Database, *ids: str) -> None:
    await db.run_alone(intents.ADD, lambda: intents.stored_columns([an_intent(each) for each in ids]))


async def test_a_statement_alone_is_stored_whole_or_not_at_all(db: Database) -> None:
    await add(db, "a", "b")
    with pytest.raises(Collision):
        await add(db, "c", "a")
    assert await count(db) == 2

    with pytest.raises(KeyError):
        await db.run_alone(intents.ADD, lambda: {}["nothing"])
    await add(db, "c")
    assert await count(db) == 3


async def test_a_statement_alone_takes_no_more_rows_than_fit_into_it(db: Database) -> None:
    with pytest.raises(ValueError, match="more than 500 rows"):
        await add(db, *map(str, range(SLICE + 1)))
    assert await count(db) == 0


async def test_a_statement_alone_waits_for_whoever_writes_and_leaves_no_lock(store_path: Path) -> None:
    async with open_database(store_path) as db:
        async with db.write() as tx:
            await intents.add_many(tx, [an_intent("a")])
            waiting = asyncio.create_task(add(db, "b"))
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting
        assert await count(db) == 2
        with closing(sqlite3.connect(store_path, timeout=0.1)) as another:
            another.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize("ends", ["close", "stop"])
async def test_a_connection_that_ends_amid_a_question_holds_no_lock(store_path: Path, ends: str) -> None:
    """A task that was cancelled there holds the question until it is collected, and its connection is closed."""
    async with open_database(store_path) as db:
        async with db.write() as tx:
            raw = (await tx.get_raw_connection()).driver_connection
            assert raw is not None
            await tx.exec_driver_sql("SELECT 1")  # with which the transaction begins
            plain = raw._conn
            asked = plain.execute("SELECT 1 UNION SELECT 2")
            assert asked.fetchone() == (1,)  # and another one would come
            await (raw.close() if ends == "close" else raw.stop())
            with closing(sqlite3.connect(store_path, timeout=0.1)) as another:
                another.execute("BEGIN IMMEDIATE")
        assert asked is not None
