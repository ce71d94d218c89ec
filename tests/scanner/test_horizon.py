"""No list reads past a hole that a slower transaction fills later."""

from __future__ import annotations

import asyncio

from kernel.store.database import Database
from kernel.store.horizon import EVERYTHING, Horizon
from kernel.store.postgresql import PostgresDatabase
from scanner.reading.target_index import TargetIndex
from scanner.store import intent_search, intents
from scanner.store.intent_search import IntentFilter
from tests.scanner.facts import CHAIN, NOW, an_intent


async def page(db: PostgresDatabase, horizon: Horizon, after: str | None, *, patience_s: float = 0) -> list[str]:
    last = await horizon.settled(patience_s=patience_s)
    async with db.read() as tx:
        found = await intent_search.page(tx, IntentFilter(), after=after, limit=10, last=last)
    return [intent.intent_id for intent in found.intents]


async def add(db: PostgresDatabase, name: str) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent(name)])


async def test_what_a_slow_registration_fills_in_is_listed_in_its_place(pg: PostgresDatabase) -> None:
    horizon = Horizon(pg, "intents", "number")
    await add(pg, "first")
    assert await page(pg, horizon, None) == ["first"]
    async with pg.write() as slow:
        await intents.add_many(slow, [an_intent("slow")])
        await _add_elsewhere(pg)
        assert await page(pg, horizon, "first") == []  # `fast` is there, and may not be shown before `slow` is
        assert await page(pg, horizon, "first", patience_s=0.1) == []
    assert await page(pg, horizon, "first", patience_s=1) == ["slow", "fast"]


async def _add_elsewhere(pg: PostgresDatabase) -> None:
    """Register on another chain: the counts of one would make it wait for the other."""
    async with pg.write() as tx:
        await intents.add_many(tx, [an_intent("fast", chain_id=CHAIN + 1)])


async def test_whoever_waits_sees_what_was_there_when_he_asked(pg: PostgresDatabase) -> None:
    horizon = Horizon(pg, "intents", "number")
    written = asyncio.Event()

    async def slowly() -> None:
        async with pg.write() as tx:
            await intents.add_many(tx, [an_intent("slow")])
            written.set()
            await asyncio.sleep(0.2)  # as long as a slow transaction takes

    task = asyncio.create_task(slowly())
    await written.wait()
    assert await page(pg, horizon, None, patience_s=1) == ["slow"]
    await task


async def test_the_addresses_in_memory_miss_no_slow_registration(pg: PostgresDatabase) -> None:
    horizon = Horizon(pg, "intents", "number")
    index = TargetIndex(CHAIN, (), late_ms=0)

    async def watched() -> frozenset[str]:
        settled = await horizon.settled(patience_s=0)
        async with pg.read() as tx:
            found = await index.refresh(tx, moment=NOW, now=0.0, settled=settled)
        return frozenset(found.beneficiaries | found.destinations)

    await add(pg, "first")
    await watched()
    async with pg.write() as slow:
        await intents.add_many(slow, [an_intent("slow", destination_key="0xslow")])
        await _add_elsewhere(pg)
        assert "0xslow" not in await watched()
    assert "0xslow" in await watched()


async def test_where_one_writes_at_a_time_nothing_is_asked(sqlite: Database) -> None:
    assert await Horizon(sqlite, "intents", "number").settled() == EVERYTHING
