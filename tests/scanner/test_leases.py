"""Leases: one leader at a time, by the database's clock, and whoever lost one writes nothing any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from kernel.clock import SystemClock
from kernel.errors import StoreError
from kernel.store.leases import LANE, LeasedDatabase, Leases, NotLeading
from kernel.store.postgresql import MARGIN_S, STATEMENT_S, PostgresDatabase, PostgresSettings, open_postgresql

CHAIN = "chain:97"
LEASE_S = 0.6
LONG_S = 30.0


def leases(
    db: PostgresDatabase, name: str = "node", *, lease_s: float = LONG_S, names: tuple[str, ...] = (CHAIN,)
) -> Leases:
    return Leases(db, SystemClock(), node_id=name, version="1", lease_s=lease_s, names=list(names))


async def joined(db: PostgresDatabase, name: str = "node", **more: object) -> Leases:
    found = leases(db, name, **more)  # type: ignore[arg-type]
    await found.join()
    return found


async def forget(db: PostgresDatabase, of: Leases) -> None:
    """Let a process have been silent for longer than its lease."""
    async with db.write() as tx:
        await tx.execute(text("UPDATE nodes SET seen_at = 0 WHERE incarnation = :i"), {"i": of.incarnation})


async def beat_of(db: PostgresDatabase) -> int:
    async with db.read() as tx:
        return int((await tx.exec_driver_sql("SELECT coalesce(sum(at), 0) FROM heartbeats")).scalar_one())


async def write(db: LeasedDatabase, at: int) -> None:
    async with db.write() as tx:
        await tx.execute(
            text("INSERT INTO heartbeats VALUES (1, :at) ON CONFLICT (id) DO UPDATE SET at = excluded.at"), {"at": at}
        )


async def test_the_first_takes_what_is_free_and_the_second_does_not(pg: PostgresDatabase) -> None:
    one, other = await joined(pg, "one"), await joined(pg, "other")
    await one.beat()
    await other.beat()

    assert (one.leads, other.leads) == ([CHAIN], [])
    assert await other.take(CHAIN) is False


async def test_what_many_take_at_once_one_has(pg: PostgresDatabase) -> None:
    several = [await joined(pg, str(number)) for number in range(4)]
    await asyncio.gather(*(each.beat() for each in several))

    assert sorted(len(each.leads) for each in several) == [0, 0, 0, 1]


async def test_several_share_what_there_is(pg: PostgresDatabase) -> None:
    names = tuple(f"chain:{number}" for number in range(5))
    one = await joined(pg, "one", names=names)
    await one.beat()
    assert len(one.leads) == 5
    other = await joined(pg, "other", names=names)
    for _ in range(4):
        await one.beat()
        await other.beat()

    assert sorted([len(one.leads), len(other.leads)]) == [2, 3]
    assert set(one.leads).isdisjoint(other.leads)


async def test_a_lease_that_is_over_is_taken_and_its_former_leader_writes_nothing(pg: PostgresDatabase) -> None:
    one, other = await joined(pg, "one"), await joined(pg, "other")
    await one.beat()
    former = LeasedDatabase(pg, one, CHAIN)
    await write(former, 1)
    await forget(pg, one)
    await other.beat()
    assert other.leads == [CHAIN]

    with pytest.raises(NotLeading):
        await write(former, 2)
    assert one.leads == []
    await write(LeasedDatabase(pg, other, CHAIN), 3)
    assert await beat_of(pg) == 3


async def test_a_leader_that_slept_and_was_not_missed_goes_on(pg: PostgresDatabase) -> None:
    one = await joined(pg, "one")
    await one.beat()
    await forget(pg, one)

    await write(LeasedDatabase(pg, one, CHAIN), 1)
    await one.beat()
    assert one.leads == [CHAIN]


async def test_a_page_that_takes_longer_than_a_lease_keeps_its_lease(pg: PostgresDatabase) -> None:
    """It is renewed beside the page, whose transaction holds the row."""
    one, other = await joined(pg, "one", lease_s=LEASE_S), await joined(pg, "other", lease_s=LEASE_S)
    await one.beat()
    async with LeasedDatabase(pg, one, CHAIN).write() as tx:
        for _ in range(4):
            await asyncio.sleep(LEASE_S / 2)  # time is what is tested
            await one.beat()
            await other.beat()
        await tx.exec_driver_sql("INSERT INTO heartbeats VALUES (1, 7)")

    assert (one.leads, other.leads) == ([CHAIN], [])
    assert await beat_of(pg) == 7


@asynccontextmanager
async def patient(pg: PostgresDatabase) -> AsyncIterator[PostgresDatabase]:
    """Connections whose idle transactions the server does not end by itself."""
    settings = PostgresSettings(url=pg.settings.url, schema=pg.settings.schema, setting="DATABASE_URL", idle_s=60)
    async with open_postgresql(settings) as opened:
        yield opened


async def test_whoever_keeps_the_row_of_a_lease_that_is_over_is_ended(pg: PostgresDatabase) -> None:
    """A process stopped in the middle of a transaction holds it for ever, whatever time-outs the server has."""
    one, other = await joined(pg, "one"), await joined(pg, "other")
    await one.beat()
    async with patient(pg) as slow:
        stopped = LeasedDatabase(slow, one, CHAIN)
        taken = asyncio.Event()

        async def stop_inside() -> None:
            async with stopped.write() as tx:
                await tx.exec_driver_sql("INSERT INTO heartbeats VALUES (1, 1)")
                await taken.wait()
                await tx.exec_driver_sql("SELECT 1")

        task = asyncio.create_task(stop_inside())
        while not (await _locked(pg)):  # noqa: ASYNC110 - seen in the database
            await asyncio.sleep(0.01)
        await forget(pg, one)
        await other.beat()
        taken.set()

        assert other.leads == [CHAIN]
        with pytest.raises(StoreError):
            await task
        assert await beat_of(pg) == 0


async def _locked(pg: PostgresDatabase) -> bool:
    async with pg.write() as tx:
        found = await tx.exec_driver_sql("SELECT name FROM leases FOR UPDATE SKIP LOCKED")
        return not found.all()


async def test_who_cannot_renew_stops_leading_by_himself(pg: PostgresDatabase) -> None:
    one = await joined(pg, "one", lease_s=LEASE_S)
    await one.beat()
    running = asyncio.create_task(one.run())
    ended = asyncio.Event()
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    leading = asyncio.create_task(one.lead(CHAIN, work))
    await started.wait()
    async with pg.write() as tx:
        await tx.exec_driver_sql("ALTER TABLE nodes RENAME TO gone")
    async with asyncio.timeout(5):
        await ended.wait()
    for task in (running, leading):
        task.cancel()
    await asyncio.wait([running, leading])


async def test_who_leaves_is_followed_at_once(pg: PostgresDatabase) -> None:
    one, other = await joined(pg, "one"), await joined(pg, "other")
    await one.beat()
    await one.leave()
    await other.beat()

    assert other.leads == [CHAIN]
    assert [node.node_id for node in (await other.standing()).nodes] == ["other"]


async def test_a_lane_is_of_one_process_until_that_is_gone(pg: PostgresDatabase) -> None:
    one, other = await joined(pg, "one"), await joined(pg, "other")
    assert await one.claim({"a", "b"}) == {"a", "b"}
    assert await other.claim({"b", "c"}) == {"c"}
    await forget(pg, one)
    assert await other.claim({"a", "b"}) == {"a", "b"}
    async with pg.write() as tx:
        assert await one.keep(tx, {"a", "b"}) == {}
        assert (await other.keep(tx, {"a", "b", "c"})).keys() == {"a", "b", "c"}
    await other.drop({"a"})
    assert await one.claim({"a"}) == {"a"}


@pytest.mark.parametrize("how", ["dropped", "taken"])
async def test_a_lane_that_comes_back_has_another_term(pg: PostgresDatabase, how: str) -> None:
    one, other = await joined(pg, "one"), await joined(pg, "other")
    terms = []
    for claims in (one, one, other, one):
        await claims.claim({"a"})
        async with pg.write() as tx:
            terms += (await claims.keep(tx, {"a"})).values()
        if len(terms) in {2, 3} and how == "taken":
            await forget(pg, claims)
        elif len(terms) in {2, 3}:
            await claims.drop({"a"})

    first, still, _, again = terms
    assert first == still
    assert again not in {first, None}


async def test_lanes_claimed_at_once_are_never_of_two(pg: PostgresDatabase) -> None:
    one, other = await joined(pg, "one"), await joined(pg, "other")
    names = {str(number) for number in range(20)}
    for _ in range(10):
        mine, theirs = await asyncio.gather(one.claim(names), other.claim(names))
        assert mine.isdisjoint(theirs)
        await one.drop(mine)
        await other.drop(theirs)


async def test_processes_that_are_long_gone_are_forgotten_with_their_lanes(pg: PostgresDatabase) -> None:
    one, other = await joined(pg, "one"), await joined(pg, "other")
    await one.claim({"a"})
    await forget(pg, one)
    await other.forget()

    async with pg.read() as tx:
        lanes = await tx.execute(text("SELECT count(*) FROM leases WHERE name LIKE :lanes"), {"lanes": f"{LANE}%"})
        assert lanes.scalar_one() == 0
    assert [node.node_id for node in (await other.standing()).nodes] == ["other"]


@pytest.mark.limits
async def test_a_leaders_statement_may_take_longer_than_any_answer(pg: PostgresDatabase) -> None:
    """A page of a busy chain does: with the time of an answer its leader would try it again for ever."""
    leader = await joined(pg, "leader")
    assert await leader.take(CHAIN)
    allowed = []
    for db in (pg, LeasedDatabase(pg, leader, CHAIN)):
        async with db.write() as tx:
            allowed.append((await tx.exec_driver_sql("SELECT current_setting('statement_timeout')")).scalar_one())
    assert allowed == ["5s", "30s"]


@pytest.mark.limits
@pytest.mark.long
async def test_a_leaders_statement_does_take_longer_than_any_answer(pg: PostgresDatabase) -> None:
    leader = await joined(pg, "leader")
    assert await leader.take(CHAIN)
    async with LeasedDatabase(pg, leader, CHAIN).write() as tx:
        await tx.exec_driver_sql(f"SELECT pg_sleep({STATEMENT_S + MARGIN_S + 0.5})")
        assert (await tx.exec_driver_sql("SELECT 1")).scalar_one() == 1
