"""What processes on one database tell each other of the chains: to those that do not lead them, and what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from chains.errors import ChainUnavailable
from chains.types import Condition, Head, Rail
from kernel.clock import SystemClock
from kernel.errors import StoreError
from kernel.store.postgresql import PostgresDatabase
from scanner.cluster import Together, chain_lock
from scanner.model import ChainTime
from scanner.registration.intents import Registrations
from scanner.store.reports import Report
from scanner.upkeep.health import ChainHealth, ChainState, Read, Stuck, Sweep
from tests.harness import FakeClock
from tests.scanner.facts import CHAIN, NOW
from tests.scanner.test_registration import a_draft
from tests.scanner.transactions import Transactions


class Worker:
    """A chain's worker that is told what to know."""

    def __init__(self, clock: Any) -> None:
        self.health = ChainHealth(CHAIN)
        self.time: ChainTime | None = ChainTime(clock.now_ms() - 5_000, 77)
        self.failure: Exception | None = None
        self.called: list[str] = []

    def condition(self) -> Condition:
        return Condition(lag_s=3, problems=("an endpoint lies",))

    def chain_time(self) -> ChainTime | None:
        return self.time

    async def poll(self) -> None:
        self.called.append("poll")
        if self.failure is not None:
            raise self.failure

    def begin(self) -> None:
        self.called.append("begin")

    def forget_targets(self) -> None:
        self.called.append("forget")

    def measure_again(self) -> None:
        self.called.append("measure")


@asynccontextmanager
async def process(pg: PostgresDatabase, name: str) -> AsyncIterator[tuple[Together, Worker]]:
    clock = SystemClock()
    cluster = Together(pg, clock, node_id=name, version="1", lease_s=4, chains=[CHAIN])
    worker = Worker(clock)
    cluster.workers = {CHAIN: worker}
    await cluster.join()
    task = asyncio.create_task(cluster.run())
    try:
        yield cluster, worker
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def two(pg: PostgresDatabase) -> AsyncIterator[tuple[Together, Worker, Together]]:
    async with process(pg, "leader") as (leader, worker):
        async with asyncio.timeout(10):
            while not leader.leads(CHAIN):  # noqa: ASYNC110 - at the next beat
                await asyncio.sleep(0.02)
        async with process(pg, "follower") as (follower, _):
            yield leader, worker, follower


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - looked for once a second
            await asyncio.sleep(0.02)


async def test_who_does_not_lead_a_chain_knows_its_time_from_the_leader(pg: PostgresDatabase) -> None:
    async with two(pg) as (_, worker, follower):
        await until(lambda: follower.chain_time(CHAIN) is not None)
        known = follower.chain_time(CHAIN)
        assert known is not None
        assert known.position == 77
        assert abs(known.ms - SystemClock().now_ms() + 5_000) < 5_000
        worker.time = None
        await until(lambda: follower.chain_time(CHAIN) is None)


async def test_everything_the_leader_knows_is_shown_by_all(pg: PostgresDatabase) -> None:
    async with two(pg) as (leader, worker, follower):
        worker.health.state = ChainState.FAILING
        worker.health.head = Head(120, "0xaa", 1_790_000_000, finalized=100)
        worker.health.read = {Rail.PROXY: Read(119, 1_790_000_000), Rail.DIRECT: Read(110, None)}
        worker.health.stuck = [Stuck("0xbb", NOW, "no receipt")]
        worker.health.sweep = Sweep(1, 2)
        worker.health.last_error = "nobody answers"

        async with asyncio.timeout(10):
            while True:
                shown = (await follower.view()).published.get(CHAIN)
                if shown is not None and shown.health.last_error is not None:
                    break
                await asyncio.sleep(0.05)
        assert shown.health == worker.health
        assert shown.condition == worker.condition()
        view, its = await follower.view(), await leader.view()
        assert view.leaders == its.leaders == {CHAIN: "leader"}
        assert [(n.node_id, n.leads) for n in view.nodes] == [("leader", (CHAIN,)), ("follower", ())]


async def test_a_poll_that_is_asked_for_is_made_by_the_leader(pg: PostgresDatabase) -> None:
    async with two(pg) as (_, worker, follower):
        await follower.poll(CHAIN)
        assert worker.called[-2:] == ["forget", "poll"]
        worker.failure = ChainUnavailable("no endpoint answered")
        with pytest.raises(ChainUnavailable, match="no endpoint answered"):
            await follower.poll(CHAIN)
        worker.failure = StoreError("no store")
        with pytest.raises(ChainUnavailable, match="no store"):
            await follower.poll(CHAIN)


async def test_what_was_registered_without_the_chains_time_is_measured_by_the_leader(
    pg: PostgresDatabase, clock: FakeClock
) -> None:
    async with two(pg) as (_, worker, follower):
        await until(lambda: follower.chain_time(CHAIN) is not None)
        registrations = Registrations(pg, clock, ttl_hours=1, count_blind=follower.count_blind)
        task = asyncio.create_task(registrations.run())
        assert "measure" not in worker.called
        await registrations.register(a_draft())
        await until(lambda: "measure" in worker.called)
        task.cancel()
        await asyncio.wait([task])


async def test_what_is_registered_just_when_another_comes_to_lead_is_measured_too(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had measured what there was when it began, and took what came before its first look for the same."""
    no_db: Any = None
    cluster = Together(no_db, clock, node_id="one", version="1", lease_s=4, chains=[CHAIN])
    worker = Worker(clock)
    cluster.workers = {CHAIN: worker}
    nothing = Report(CHAIN, None, None, None, None, asked=0, answered=0, failure=None, blind=3)
    async with asyncio.TaskGroup() as group:
        for led, blind, measured in (
            (False, 3, 0),
            (True, 4, 1),
            (True, 4, 1),
            (False, 5, 1),
            (True, 5, 1),
            (True, 6, 2),
        ):
            monkeypatch.setattr(cluster, "leads", {CHAIN: led}.get)
            cluster._take({CHAIN: nothing._replace(blind=blind)}, clock.now_ms())
            cluster._do_asked(group)
            assert worker.called.count("measure") == measured


async def test_what_is_told_and_what_others_tell_is_one_transaction(
    pg: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process does it once a second, for as long as it runs."""
    clock = SystemClock()
    cluster = Together(pg, clock, node_id="one", version="1", lease_s=4, chains=[CHAIN])
    cluster.workers = {CHAIN: Worker(clock)}
    await cluster.join()
    counted = Transactions(pg, monkeypatch)
    await cluster._tell_and_look()
    assert counted.take() == {"read": 1}
    assert await cluster.leases.take(chain_lock(CHAIN))
    counted.take()
    await cluster._tell_and_look()
    assert counted.take() == {"write": 1}


async def test_who_does_not_lead_a_chain_any_more_holds_none(pg: PostgresDatabase) -> None:
    """As it is before another process's samples of a chain would be overwritten."""
    async with two(pg) as (leader, _, follower), pg.write() as tx:
        assert await follower.hold(tx, [CHAIN]) == []
        assert await leader.hold(tx, [CHAIN]) == [CHAIN]
        await tx.execute(text("UPDATE leases SET term = 'another' WHERE name = :name"), {"name": chain_lock(CHAIN)})
        assert leader.leads(CHAIN)  # as far as it knows
        assert await leader.hold(tx, [CHAIN]) == []


async def test_a_worker_begins_anew_whenever_its_chain_is_taken(pg: PostgresDatabase) -> None:
    async with process(pg, "one") as (cluster, worker):
        working = asyncio.Event()

        async def work() -> None:
            working.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(cluster.lead(CHAIN, work))
        for number in (1, 2):
            await asyncio.wait_for(working.wait(), 10)
            assert worker.called == ["begin"] * number
            working.clear()
            await cluster.leases.release(f"chain:{CHAIN}")
        task.cancel()
        await asyncio.wait([task])
