"""Rate limits that several processes keep: each tells once a second what it let through, and asks what others did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from kernel.clock import Clock
from kernel.store import rates
from kernel.store.database import Database
from kernel.store.rates import SlotCount
from kernel.tasks.periodic import PeriodicTask
from kernel.web.rate_limiter import Limit, RateLimiter

EVERY_S = 1.0
FORGET_MS = 10_000
SLOTS = 60  # into which the time of a limit is cut: what is counted in one passes when it does
MAX_ROWS = 20_000  # of a limit and process

Key = tuple[str, int]  # a client, and a slot


class SharedRates:
    """
    Keeps the counts of a process and those of the others together.

    Each process refuses by what it let through itself, at once and also while the database is away. Between two
    exchanges it knows of nobody else: a client that asks all of them within that second gets as much of each.
    """

    def __init__(self, db: Database, limiters: Sequence[RateLimiter], clock: Clock, process: str) -> None:
        self._db = db
        self._clock = clock
        self._process = process
        self._by_name: Mapping[str, RateLimiter] = {name: limiter for limiter in limiters for name in limiter.limits}
        if len(self._by_name) != sum(len(limiter.limits) for limiter in limiters):
            raise ValueError("two limits have the same name")
        self._rows: dict[str, dict[Key, None]] = {name: {} for name in self._by_name}  # in the table, or soon
        self._untold: dict[tuple[str, Key], int] = {}
        self._forgotten_ms = clock.elapsed_ms()
        for limiter in limiters:
            limiter.on_taken = self.count

    def count(self, name: str, client: str) -> None:
        """Remember what was let through until the others are told."""
        key = (client, self._clock.now_ms() // _slot_ms(self._limit(name)))
        rows = self._rows[name]
        if key not in rows:
            if len(rows) >= MAX_ROWS:  # whoever has many addresses would fill the table: it is counted here alone
                return
            rows[key] = None
        self._untold[name, key] = self._untold.get((name, key), 0) + 1

    async def run(self) -> None:
        """Exchange counts, for ever."""
        chore = PeriodicTask("rate limits", self.exchange)
        while True:
            await self._clock.sleep(EVERY_S)
            await chore.once()

    async def exchange(self) -> None:
        """Tell what was let through since the last time, and learn what others did of the same clients."""
        self._drop_over()
        told, self._untold = self._untold, {}
        if told:
            try:
                async with self._db.write() as tx:
                    await rates.add(tx, self._process, [self._slot(*each, count) for each, count in told.items()])
                async with self._db.read() as tx:
                    found = await rates.of_others(tx, self._process, {client for _, (client, _) in told})
            except BaseException:
                for each, count in told.items():
                    self._untold[each] = self._untold.get(each, 0) + count
                raise
            self._learn(found)
        if self._clock.elapsed_ms() - self._forgotten_ms >= FORGET_MS:
            self._forgotten_ms = self._clock.elapsed_ms()
            async with self._db.write() as tx:
                await rates.forget(tx, self._clock.now_ms())

    def _drop_over(self) -> None:
        """Make room: what no limit looks at any more is of no use to anybody."""
        now = self._clock.now_ms()
        for name, rows in self._rows.items():
            while rows and self._over_at(name, (oldest := next(iter(rows)))[1]) <= now:
                del rows[oldest]
                self._untold.pop((name, oldest), None)

    def _slot(self, name: str, key: Key, count: int) -> SlotCount:
        client, slot = key
        return SlotCount(client, name, slot, count, self._over_at(name, slot))

    def _over_at(self, name: str, slot: int) -> int:
        """Return when a slot is over, as if all in it had come at its end: longer by a slot, never shorter."""
        limit = self._limit(name)
        return (slot + 1) * _slot_ms(limit) + limit.per_s * 1000

    def _limit(self, name: str) -> Limit:
        return self._by_name[name].limits[name]

    def _learn(self, found: Sequence[SlotCount]) -> None:
        offset_ms = self._clock.now_ms() - self._clock.elapsed_ms()
        counts: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for each in found:
            if each.limit_name in self._by_name:  # another process may have one that is off here
                at = each.over_at - self._limit(each.limit_name).per_s * 1000 - offset_ms
                counts[each.limit_name, each.client].append((at, each.count))
        for (name, client), listed in counts.items():
            self._by_name[name].learn(name, client, listed)


def _slot_ms(limit: Limit) -> int:
    return max(1, -(-limit.per_s // SLOTS)) * 1000
