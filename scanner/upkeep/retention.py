"""Forgets what is old: delivered events, transfers of nobody's, and, where the operator wants it, ended intents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from config.settings import RetentionSettings
from kernel.clock import DAY_MS, Clock
from kernel.store.database import Database, Tx
from scanner.store import retention
from scanner.upkeep.metrics import Metrics

STEP = 200  # rows in one transaction: whoever registers or pays waits until it is over

T = TypeVar("T", str, int)
Chore = Callable[[], Awaitable[None]]


class Retention:
    """Forgets in small steps; 0 days is for ever. What was not delivered is never forgotten."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        metrics: Metrics,
        settings: RetentionSettings,
        *,
        chain_time: Callable[[], int | None] | None = None,
        locks: Collection[str] = (),
    ) -> None:
        """
        `chain_time` tells the time of the newest block of any chain, in unix ms; None when none is known.

        `locks` are those of all chains.
        """
        self._locks = locks
        self._db = db
        self._now = clock.now_ms
        self._chain_time = chain_time or clock.now_ms
        self._metrics = metrics
        self._settings = settings

    async def old(self, tx: Tx) -> Sequence[Chore]:
        """
        Return what there is to do, most often nothing.

        Old is what is so by the earlier of both clocks: a host's that is ahead would forget too much.
        """
        on_chain = self._chain_time()
        if on_chain is None:
            return ()
        now = min(self._now(), on_chain)
        chores: list[Chore] = []
        if (before := _before(now, self._settings.events_days)) is not None:
            if _any(await retention.old_events(tx, before=before, after=-1, limit=STEP)):
                chores.append(partial(self._walk, "events", before, retention.old_events, retention.forget_events))
            if await retention.any_old_attempt(tx, before=before):
                chores.append(partial(self._forget_attempts, before))
        if (before := _before(now, self._settings.unmatched_days)) is not None:
            if await retention.old_strays(tx, before=before, limit=1):
                chores.append(partial(self._forget_strays, before))
            if await retention.any_old_stray_block(tx, before=before):
                chores.append(partial(self._forget_stray_blocks, before))
        if (before := _before(now, self._settings.intents_days)) is not None and _any(
            await retention.old_intents(tx, before=before, after=-1, limit=STEP)
        ):
            chores.append(partial(self._forget_intents, before))
        return chores

    async def _walk(
        self,
        kind: str,
        before: int,
        old: Callable[..., Awaitable[tuple[list[T], int | None]]],
        forget: Callable[[Tx, Collection[T]], Awaitable[int]],
    ) -> None:
        after: int | None = -1
        while after is not None:
            async with self._db.read() as tx:
                ids, after = await old(tx, before=before, after=after, limit=STEP)
            if ids:
                async with self._db.write() as tx:
                    await self._db.lock(tx, *self._locks)  # a page may be about to count what came late
                    gone = await forget(tx, ids)
                self._metrics.forgotten.labels(kind).inc(gone)

    async def _forget_attempts(self, before: int) -> None:
        while await self._any_old_attempt(before):
            async with self._db.write() as tx:
                gone = await retention.forget_attempts(tx, before=before, limit=STEP)
            self._metrics.forgotten.labels("attempts").inc(gone)

    async def _any_old_attempt(self, before: int) -> bool:
        async with self._db.read() as tx:
            return await retention.any_old_attempt(tx, before=before)

    async def _forget_strays(self, before: int) -> None:
        while ids := await self._old_strays(before):
            async with self._db.write() as tx:
                await self._db.lock(tx, *self._locks)
                gone = await retention.forget_strays(tx, ids)
            self._metrics.forgotten.labels("unmatched").inc(gone)

    async def _forget_stray_blocks(self, before: int) -> None:
        """Forget what no row stands for any more."""
        more = True
        while more:
            async with self._db.write() as tx:
                await self._db.lock(tx, *self._locks)
                more = await retention.forget_stray_blocks(tx, before=before, limit=STEP) == STEP

    async def _old_strays(self, before: int) -> list[int]:
        async with self._db.read() as tx:
            return await retention.old_strays(tx, before=before, limit=STEP)

    async def _forget_intents(self, before: int) -> None:
        async def forget(tx: Tx, ids: Collection[str]) -> int:
            return await retention.forget_intents(tx, ids, before=before)

        await self._walk("intents", before, retention.old_intents, forget)


def _any(page: tuple[Sequence[Any], int | None]) -> bool:
    """Say whether a walk that begins with a page has anything to do, there or further on."""
    old, after = page
    return bool(old) or after is not None


def _before(now: int, days: float) -> int | None:
    return now - int(days * DAY_MS) if days else None
