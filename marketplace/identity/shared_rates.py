"""Rate limits that several processes keep: each tells once a second what it let through, and asks what others did."""

from __future__ import annotations

from collections import defaultdict

from kernel.clock import Clock
from kernel.tasks.periodic import PeriodicTask
from kernel.web.rate_limiter import Limit, RateLimiter
from marketplace.store import rates
from marketplace.store.database import Database
from marketplace.store.rates import SlotCount

EVERY_S = 1.0
FORGET_MS = 60_000
SLOTS = 60  # into which the time of a limit is cut: what is counted in one passes when it does
MAX_UNTOLD = 20_000  # while the database is away; each process counts for itself meanwhile


class SharedRates:
    """
    Keeps the counts of a process and those of the others together.

    Between two exchanges each process knows what it let through itself: a client that asks all of them within that
    second gets as much of each.
    """

    def __init__(self, db: Database, limiter: RateLimiter, clock: Clock, process: str) -> None:
        self._db = db
        self._limiter = limiter
        self._clock = clock
        self._process = process
        self._untold: dict[tuple[str, str, int], int] = {}
        self._forgotten_ms = clock.elapsed_ms()
        limiter.on_taken = self.count

    def count(self, name: str, client: str) -> None:
        """Remember what was let through until the others are told."""
        key = (name, client, self._clock.now_ms() // _slot_ms(self._limiter.limits[name]))
        if key in self._untold or len(self._untold) < MAX_UNTOLD:
            self._untold[key] = self._untold.get(key, 0) + 1

    async def run(self) -> None:
        """Exchange counts, for ever."""
        chore = PeriodicTask("rate limits", self.exchange)
        while True:
            await self._clock.sleep(EVERY_S)
            await chore.once()

    async def exchange(self) -> None:
        """Tell what was let through since the last time, and learn what others did of the same clients."""
        told, self._untold = self._untold, {}
        found: list[SlotCount] = []
        if told:
            try:
                async with self._db.write() as tx:
                    await rates.add(tx, self._process, [self._slot(*key, count) for key, count in told.items()])
                async with self._db.read() as tx:
                    found = await rates.of_others(tx, self._process, {client for _, client, _ in told})
            except BaseException:
                self._keep(told)
                raise
        self._learn(found)
        if self._clock.elapsed_ms() - self._forgotten_ms >= FORGET_MS:
            self._forgotten_ms = self._clock.elapsed_ms()
            longest_ms = max((limit.per_s for limit in self._limiter.limits.values()), default=0) * 1000
            async with self._db.write() as tx:
                await rates.forget(tx, self._clock.now_ms() - longest_ms)

    def _keep(self, told: dict[tuple[str, str, int], int]) -> None:
        for key, count in told.items():
            if key in self._untold or len(self._untold) < MAX_UNTOLD:
                self._untold[key] = self._untold.get(key, 0) + count

    def _slot(self, name: str, client: str, slot: int, count: int) -> SlotCount:
        return SlotCount(name, client, slot, count, (slot + 1) * _slot_ms(self._limiter.limits[name]))

    def _learn(self, found: list[SlotCount]) -> None:
        offset_ms = self._clock.now_ms() - self._clock.elapsed_ms()
        counts: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for each in found:
            # As if all of it had come at the end of its slot: a limit may hold a little longer, never shorter.
            counts[each.limit_name, each.client].append((each.ends_at - offset_ms, each.count))
        for (name, client), listed in counts.items():
            self._limiter.learn(name, client, listed)


def _slot_ms(limit: Limit) -> int:
    return max(1, -(-limit.per_s // SLOTS)) * 1000
