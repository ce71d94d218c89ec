"""Chores: redelivery of what was given up, and the start-up check that nothing confirmed went untold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from kernel.clock import Clock
from kernel.logging import fields
from kernel.store.database import Database, Tx
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner import events
from scanner.model import EventType
from scanner.store import intents, outbox, summaries, transfers
from scanner.store.errors import StoreError
from scanner.upkeep.retention import Retention

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000
STEP = 500  # rows in one transaction: whoever registers or pays waits until it is over


class Redelivery:
    """Runs when its wakeup is set. `retry_hours` of 0 switches the sweep off."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        retry_hours: float,
        on_events: Callable[[], None],
        retention: Retention | None = None,
        leader: Database | None = None,
        locks: Collection[str] = (),
    ) -> None:
        """`leader` is the store as whoever leads housekeeping writes to it; `locks` are those of all chains."""
        self._leader = leader or db
        self._locks = locks
        self._retention = retention
        self.wakeup = Wakeup()
        self._db = db
        self._clock = clock
        self._retry_ms = int(retry_hours * HOUR_MS)
        self._on_events = on_events
        self._outage = FailureLog(log, "[scanner] housekeeping")

    async def run(self) -> None:
        """Sweep at every ring, for ever."""
        while True:
            await self.wakeup.wait()
            try:
                await self.turn()
                self._outage.recovered()
            except StoreError as exc:
                self._outage.failed(str(exc))

    async def turn(self) -> None:
        """Do what there is to do. What that is, is asked in one read, so that a quiet minute writes nothing."""
        async with self._leader.read() as tx:
            given_up = await self._anything_given_up(tx)
            to_tell = await self._anything_to_tell(tx)
            old = () if self._retention is None else await self._retention.old(tx)
        if given_up:
            await self.sweep()
        if to_tell:
            await self.tell_together()
        for forget in old:
            await forget()

    async def _anything_given_up(self, tx: Tx) -> bool:
        before = self._clock.now_ms() - self._retry_ms
        return self._retry_ms > 0 and await outbox.any_given_up(tx, failed_before=before)

    async def tell_together(self) -> int:
        """Queue what was kept back to be told together; return how many events that is."""
        total = 0
        while True:
            async with self._leader.read() as tx:
                if not await self._anything_to_tell(tx):
                    break
            async with self._leader.write() as tx:
                await self._leader.lock(tx, *self._locks)  # a page counts what waits to be told as well
                rows = await summaries.due(tx, now=self._clock.now_ms(), limit=STEP)
                await outbox.add(tx, rows)
            total += len(rows)
        if total:
            self._on_events()
        return total

    async def _anything_to_tell(self, tx: Tx) -> bool:
        return await summaries.anything_due(tx, now=self._clock.now_ms())

    async def sweep(self) -> int:
        """
        Start a new round for what was given up `retry_hours` ago or earlier.

        Judged by when it was given up, not by when the sweep last ran: restarts do not postpone it.
        """
        if not self._retry_ms:
            return 0
        now = self._clock.now_ms()
        return await self.retry_failed(failed_before=now - self._retry_ms)

    async def retry_failed(self, *, failed_before: int) -> int:
        """Start a new round for everything given up before a moment; return how many intents it concerns."""
        async with self._db.write() as tx:
            retried = await outbox.requeue_failed(tx, self._clock.now_ms(), failed_before=failed_before)
        if retried:
            log.info("[webhook] retrying failed deliveries", extra=fields(intents=retried))
            self._on_events()
        return retried

    async def ensure_confirmed_events(self) -> int:
        """
        Queue the webhook of every confirmed intent that has none, whatever its age.

        The outbox is written with the state change, so this finds nothing unless somebody changed the
        store by hand; it is the belt beside the braces.
        """
        async with self._db.read() as tx:
            waiting = await intents.undelivered(tx)
            ids = {events.event_id(intent, EventType.CONFIRMED, "") for intent in waiting}
            queued = await outbox.existing(tx, ids)
            missing = [i for i in waiting if events.event_id(i, EventType.CONFIRMED, "") not in queued]
            held = await transfers.of_intents(tx, {intent.intent_id for intent in missing})
        log.info(
            "[scanner] reconciling confirmed intents", extra=fields(undelivered=len(waiting), requeued=len(missing))
        )
        if missing:
            now = self._clock.now_ms()
            rows = [events.confirmed(i, [t for t in held[i.intent_id] if t.settled], now) for i in missing]
            async with self._db.write() as tx:
                await outbox.add(tx, rows)
            self._on_events()
        return len(missing)
