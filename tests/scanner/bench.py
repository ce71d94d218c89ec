"""A worker on a scripted chain, with everything it needs in sight."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import select

from chains.types import Cursor, Rail
from config.catalog import Token
from kernel.store.database import Database
from scanner.lifecycle import with_depth
from scanner.model import EventType, Intent, Reason, StoredTransfer
from scanner.store import checkpoints, intents, transfers
from scanner.store.tables import events
from scanner.upkeep.metrics import Metrics
from scanner.worker import ChainWorker
from tests.harness import FakeClock
from tests.scanner.facts import CHAIN, LATE_MS
from tests.scanner.fake_chain import FakeChain, a_chain


class Bench:
    """A worker with everything it needs, in sight."""

    def __init__(
        self, db: Database, clock: FakeClock, *, tokens: list[Token] | None = None, late_ms: int = LATE_MS, **chain: Any
    ) -> None:
        self.db = db
        self.clock = clock
        self.chain = FakeChain()
        self.metrics = Metrics()
        self.wakeups = 0
        self.seconds = 1000.0  # of the monotonic clock
        self.worker = ChainWorker(
            chain=a_chain(**chain),
            adapter=self.chain,
            tokens=tokens or [],
            db=db,
            clock=clock,
            metrics=self.metrics,
            late_watch_ms=late_ms,
            on_events=self._ring,
            monotonic=lambda: self.seconds,
        )

    def _ring(self) -> None:
        self.wakeups += 1

    async def wait_for(self, *new: Intent) -> None:
        async with self.db.write() as tx:
            await intents.add_many(tx, new)

    async def intent(self, intent_id: str = "order-1") -> Intent:
        async with self.db.read() as tx:
            found = await intents.get(tx, intent_id)
        assert found is not None
        return found

    async def depth(self, intent_id: str = "order-1") -> int:
        """Return how deep the intent's payment is below the head, as somebody who asks is told."""
        head = self.worker.health.head
        return with_depth(await self.intent(intent_id), head.position if head else None).confirmations

    async def reasons(self, intent_id: str = "order-1") -> list[Reason | None]:
        async with self.db.read() as tx:
            return [t.reason for t in (await transfers.of_intents(tx, [intent_id]))[intent_id]]

    async def event_types(self) -> list[str]:
        async with self.db.read() as tx:
            return sorted((await tx.execute(select(events.c.event_type))).scalars())

    async def checkpoint(self, rail: Rail = Rail.PROXY) -> Cursor | None:
        async with self.db.read() as tx:
            held = await checkpoints.get(tx, CHAIN, rail)
        return None if held is None else held.cursor

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"amn_scanner_{name}", {"chain": str(CHAIN), **labels}) or 0.0

    async def stored(self, intent_id: str = "order-1") -> list[StoredTransfer]:
        async with self.db.read() as tx:
            return (await transfers.of_intents(tx, [intent_id]))[intent_id]

    async def bodies(self, event: EventType) -> list[dict[str, Any]]:
        async with self.db.read() as tx:
            found = await tx.execute(select(events.c.body).where(events.c.event_type == event))
            return [orjson.loads(body) for body in found.scalars()]

    async def read_twice(self) -> None:
        """Poll, take the last looks that are due, and poll again."""
        await self.worker.poll()
        await self.worker.second.turn()
        await self.worker.poll()
