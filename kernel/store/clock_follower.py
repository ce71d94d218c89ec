"""Take over what the machine's clock was set by, and move what waits in the store with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from kernel.clock import Clock
from kernel.store.database import Database, Tx
from kernel.tasks.periodic import PeriodicTask

log = logging.getLogger(__name__)

CHECK_S = 1.0
LEAST_MS = 60_000  # what is set by less delays nothing by more
AGAIN_MS = 30_000  # what was in hand when the clock was set is written by then


class Waits(Protocol):
    """The times in a store that something waits for, measured by the host's clock."""

    async def move(self, tx: Tx, *, step_ms: int, now: int) -> None:
        """Move what lies ahead of `now`, in unix ms, as far as the clock was set: negative when it was set back."""

    async def doubt(self, tx: Tx, *, now: int) -> int:
        """Shorten every wait that cannot be true, because it is too long or began ahead of `now`; return how many."""


class ClockFollower:
    """
    Follows the machine's clock by steps.

    When the clock was set back by twenty minutes, a webhook due in five seconds once waited for twenty minutes.
    When it was set forward, the last wait before giving up was cut short.
    """

    def __init__(
        self, clock: Clock, db: Database, waits: Waits, *, on_moved: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._db = db
        self._waits = waits
        self._on_moved = on_moved
        self._doubt_at: int | None = None  # by the stopwatch

    async def run(self) -> None:
        """Look every second, for ever."""
        chore = PeriodicTask("clock", self.look)
        while True:
            await self._clock.sleep(CHECK_S)
            await chore.once()

    async def look(self) -> None:
        """Follow the clock if it was set."""
        step = self._clock.wall_ms() - self._clock.now_ms()
        if abs(step) < LEAST_MS:
            self._clock.follow(step)
        else:
            await self._follow(step)
        if self._doubt_at is not None and self._clock.elapsed_ms() >= self._doubt_at:
            await self.doubt()
            self._doubt_at = None

    async def doubt(self) -> None:
        """Shorten what cannot be true: at the start, where nobody knows what the clock said a moment ago."""
        async with self._db.write() as tx:
            shortened = await self._waits.doubt(tx, now=self._clock.now_ms())
        if shortened:
            log.warning("[clock] %d waits began ahead of the host's clock, or are too long: shortened", shortened)
            self._on_moved()

    async def _follow(self, step: int) -> None:
        followed = 0
        try:
            async with self._db.write() as tx:
                now = self._clock.now_ms()
                if self._doubt_at is not None:
                    # What was in hand when it was set before: moved once more, it would look like any long wait.
                    await self._waits.doubt(tx, now=now)
                await self._waits.move(tx, step_ms=step, now=now)
                # Until it is committed and known, the earlier time counts: by the later one all that waits is due.
                followed = min(step, 0)
                self._clock.follow(followed)
        except BaseException:
            self._clock.follow(-followed)
            raise
        self._clock.follow(step - followed)
        log.warning("[clock] the host's clock was set by %+d s: what waits was moved with it", step // 1000)
        self._doubt_at = self._clock.elapsed_ms() + AGAIN_MS
        self._on_moved()
