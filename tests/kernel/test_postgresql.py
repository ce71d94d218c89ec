"""Connections to PostgreSQL: what a failure means, what was kept, and migrations by several processes at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

import asyncpg
import pytest

from kernel.clock import SystemClock
from kernel.errors import Collision, ConfigError, StoreError, UnknownOutcome
from kernel.store import leases as leases_module
from kernel.store import postgresql as postgresql_module
from kernel.store.database import Tx
from kernel.store.leases import Leases
from kernel.store.postgresql import ConnectionLost, PostgresDatabase, PostgresSettings, once_reachable, open_postgresql
from scanner.store import intents
from scanner.store.migrate import migrate_postgresql
from tests import postgres
from tests.harness import database_at, empty_database
from tests.scanner.facts import an_intent

pytestmark = pytest.mark.limits
INSERT = "INSERT INTO heartbeats (id, at) VALUES (1, {})"
# A real loss at the worst moment: the server ends the connection while it commits.
DIES_IN_COMMIT = [
    "\nCREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS\n  $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$\n",
    "\nCREATE CONSTRAINT TRIGGER dies AFTER INSERT ON heartbeats\n  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()\n",
]


async def count(db: PostgresDatabase) -> int:
    async with db.read() as tx:
        return int((await tx.exec_driver_sql("SELECT count(*) FROM heartbeats")).scalar_one())


async def write(db: PostgresDatabase, *statements: str) -> None:
    async with db.write() as tx:
        for statement in statements:
            await tx.exec_driver_sql(statement)


async def test_a_connection_lost_while_it_commits_is_an_unknown_outcome(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        await write(db, *DIES_IN_COMMIT)
        with pytest.raises(UnknownOutcome, match="not known"):
            await write(db, INSERT.format(1))
        assert await count(db) == 0


async def test_a_connection_lost_before_is_a_failure_that_changed_nothing(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        with pytest.raises(ConnectionLost):
            await write(db, INSERT.format(1), "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1")
        assert await count(db) == 0


@pytest.fixture(scope="module")
def without_standby() -> Iterator[postgres.Server]:
    """A server that waits for a standby that is not there, when asked for what lasts."""
    server = postgres.Server.start({"synchronous_standby_names": "ANY 1 (nobody)"})
    yield server
    server.stop()


@pytest.fixture
async def waiting(without_standby: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PostgresDatabase]:
    monkeypatch.setattr(postgresql_module, "COMMIT_S", 0.6)
    async with empty_database(without_standby) as db:
        yield db


async def commit_waiting(db: PostgresDatabase, said: str = INSERT.format(1), *, statement_s: float = 5) -> None:
    async with db.write(statement_s=statement_s) as tx:
        await tx.exec_driver_sql("SET LOCAL synchronous_commit = on")  # the tests' server does without
        await tx.exec_driver_sql(said)


async def test_what_no_standby_has_is_not_taken_for_stored(waiting: PostgresDatabase) -> None:
    with pytest.raises(UnknownOutcome, match="not known"):  # the server's own time-out is the shorter one
        await commit_waiting(waiting, statement_s=0.2)
    assert await count(waiting) == 0  # nor does anybody see it


async def test_the_time_of_a_transaction_ends_none_that_waits_for_the_standby(
    waiting: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await needs_transaction_timeout(waiting)
    monkeypatch.setattr(postgresql_module, "STATEMENTS", 1)
    with pytest.raises(UnknownOutcome, match="not known"):
        await commit_waiting(waiting, statement_s=0.3)
    assert await _committing(waiting) == 1
    assert await count(waiting) == 0


async def test_a_transaction_that_lasts_too_long_is_ended_whoever_keeps_it(
    postgresql: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is never idle for long, and none of its statements takes long."""
    async with empty_database(postgresql) as db:
        await needs_transaction_timeout(db)
        monkeypatch.setattr(postgresql_module, "STATEMENTS", 1)

        async def never_done() -> None:
            async with asyncio.timeout(10), db.write(statement_s=0.3) as tx:
                while True:
                    await tx.exec_driver_sql("SELECT pg_sleep(0.01)")

        with pytest.raises(ConnectionLost):
            await never_done()


async def needs_transaction_timeout(db: PostgresDatabase) -> None:
    async with db.read() as tx:
        version = (await tx.exec_driver_sql("SELECT current_setting('server_version_num')::int")).scalar_one()
    if version < 170_000:
        pytest.skip("transaction_timeout is of PostgreSQL 17")


async def test_who_is_cancelled_while_it_commits_shows_nobody_what_no_standby_has(waiting: PostgresDatabase) -> None:
    task = asyncio.create_task(commit_waiting(waiting))
    await _until_committing(waiting)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await _committing(waiting)
    assert await count(waiting) == 0


async def test_a_successor_ends_no_commit_that_waits_for_the_standby(
    waiting: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "BLOCKED_S", 0.1)
    successor = Leases(waiting, SystemClock(), node_id="other", version="1", lease_s=4, names=["chain:1"])
    await successor.join()
    with pytest.raises(UnknownOutcome):
        await commit_waiting(waiting, "UPDATE leases SET term = 'mine' WHERE name = 'chain:1'")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await successor.take("chain:1")
    assert await _committing(waiting) == 1


@postgres.needed
async def test_a_standby_is_written_to_when_it_was_promoted() -> None:
    """Until then nothing can be stored there: whoever starts meanwhile waits, and nobody is told of a broken store."""
    server = postgres.Server.start()
    server.halt()
    (server.folder / "data" / "standby.signal").touch()
    server = postgres.Server.again(server.folder, {})
    try:
        server.wait()
        settings = database_at(server.url("postgres"))
        async with open_postgresql(settings) as db:
            with pytest.raises(ConnectionLost, match="standby"):
                await write(db, "SELECT 1")
            waited: list[float] = []

            async def promote(seconds: float) -> None:
                waited.append(seconds)
                await server.run("SELECT pg_promote()")

            await once_reachable(settings.setting, partial(write, db, "SELECT 1"), promote)
        assert len(waited) == 1
    finally:
        server.stop()


async def _until_committing(db: PostgresDatabase) -> None:
    async with asyncio.timeout(5):
        while not await _committing(db):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


async def _committing(db: PostgresDatabase) -> int:
    async with db.read() as tx:
        found = await tx.exec_driver_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return int(found.scalar_one())


async def test_connections_that_broke_in_the_pool_are_replaced(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        async with db.read(), db.read(), db.read():
            pass
        await postgresql.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'amn'")
        await write(db, INSERT.format(1))
        assert await count(db) == 1


async def test_the_same_key_at_the_same_time_is_a_collision(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        await write(db, INSERT.format(1))
        with pytest.raises(Collision):
            await write(db, INSERT.format(2))


async def test_two_that_wait_for_each_other_collide_and_one_goes_on(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        both = asyncio.Barrier(2)

        async def crosswise(first: str, second: str) -> None:
            async with db.write() as tx:
                await _advise(tx, first)
                await both.wait()
                await _advise(tx, second)

        ended = await asyncio.gather(crosswise("1", "2"), crosswise("2", "1"), return_exceptions=True)
        assert sorted(type(each).__name__ for each in ended) == ["Collision", "NoneType"]


async def _advise(tx: Tx, number: str) -> None:
    await tx.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")


async def test_a_mistake_of_ours_leaves_the_connection_as_it_was(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        with pytest.raises(StoreError, match="no_such_table"):
            await write(db, INSERT.format(1), "SELECT * FROM no_such_table")
        assert await count(db) == 0


async def test_who_is_cancelled_in_the_middle_leaves_no_transaction_open(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        inside = asyncio.Event()

        async def forever() -> None:
            async with db.write() as tx:
                await tx.exec_driver_sql(INSERT.format(1))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(forever())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(2):
            await write(db, INSERT.format(2))  # the row would be locked


async def test_a_transaction_in_which_nothing_is_said_is_ended_by_the_server(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        quick = PostgresSettings(url=db.settings.url, schema="amn_scanner", setting="DATABASE_URL", idle_s=0.2)
        pid = asyncio.get_running_loop().create_future()
        ended = asyncio.Event()

        async def idle(other: PostgresDatabase) -> None:
            async with other.write() as tx:
                await tx.exec_driver_sql(INSERT.format(1))
                pid.set_result((await tx.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one())
                await asyncio.wait_for(ended.wait(), 5)
                await tx.exec_driver_sql("SELECT 1")

        async with open_postgresql(quick) as other:
            task = asyncio.create_task(idle(other))
            await _until_gone(db, await pid)
            ended.set()
            with pytest.raises(ConnectionLost):
                await task
        assert await count(db) == 0


async def _until_gone(db: PostgresDatabase, pid: int) -> None:
    async with asyncio.timeout(5):
        found = 1
        while found:
            async with db.read() as tx:
                found = (
                    await tx.exec_driver_sql(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}")  # noqa: S608
                ).scalar_one()


async def test_texts_with_a_character_zero_are_kept_without_it(postgresql: postgres.Server) -> None:
    async with empty_database(postgresql) as db:
        async with db.write() as tx:
            await intents.add_many(tx, [an_intent(token_symbol="U\0SD")])
        async with db.read() as tx:
            found = await intents.get(tx, "order-1")
        assert found is not None
        assert found.token_symbol == "U\ufffdSD"


async def test_three_that_migrate_at_once_all_find_it_done(postgresql: postgres.Server) -> None:
    async with postgresql.database() as url:
        reached = await asyncio.gather(*(migrate_postgresql(database_at(url)) for _ in range(3)))
        assert len(set(reached)) == 1
        link = await asyncpg.connect(url)
        assert await link.fetchval("SELECT count(*) FROM amn_scanner.alembic_version") == 1
        await link.close()


async def test_a_database_of_a_newer_version_is_refused(postgresql: postgres.Server) -> None:
    async with postgresql.database() as url:
        await migrate_postgresql(database_at(url))
        link = await asyncpg.connect(url)
        await link.execute("UPDATE amn_scanner.alembic_version SET version_num = '9999'")
        await link.close()
        with pytest.raises(StoreError, match="DATABASE_URL: the database was written by a newer version"):
            await migrate_postgresql(database_at(url))


@pytest.mark.parametrize("url", ["postgresql://u:secret-word@h:port/db", "postgresql://u:secret-word@h/db?sslmode=no"])
async def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^DATABASE_URL: ") as refused:
        await migrate_postgresql(database_at(url))
    assert "secret-word" not in str(refused.value)


async def test_a_database_that_is_not_there_is_told_in_time() -> None:
    async with asyncio.timeout(10), open_postgresql(database_at("postgresql://u@127.0.0.1:9/db")) as db:
        with pytest.raises(ConnectionLost):
            await count(db)


async def test_a_step_of_a_start_is_done_again_when_the_database_was_lost_in_it() -> None:
    failures = [ConnectionLost("no answer"), UnknownOutcome("not known")]
    waited: list[float] = []

    async def step() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    assert await once_reachable("DATABASE_URL", step, sleep) == "done"
    assert len(waited) == 2


async def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    async def step() -> None:
        raise StoreError("too old")

    async def sleep(_: float) -> None:
        pytest.fail("it waits")

    with pytest.raises(StoreError, match="too old"):
        await once_reachable("DATABASE_URL", step, sleep)
