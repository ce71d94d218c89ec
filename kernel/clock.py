"""Time as a collaborator, so that tests can own it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Clock(Protocol):
    """What time it is, how much of it has passed, and waiting."""

    def now_ms(self) -> int:
        """
        Return unix time in milliseconds, by which waits and events are measured.

        It passes evenly. When the machine's clock is set, only `follow` sets this time with it.
        """

    def wall_ms(self) -> int:
        """Return what the machine's clock says, in unix milliseconds: for what others compare with their own."""

    def elapsed_ms(self) -> int:
        """Return a time that nobody sets, for what is done every so often."""

    def follow(self, step_ms: int) -> None:
        """Set `now_ms` forward by this much, or back when it is negative."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clocks."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        stopwatch_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._stopwatch_ns = stopwatch_ns
        self._offset_ms = self.wall_ms() - self.elapsed_ms()

    def now_ms(self) -> int:
        return self.elapsed_ms() + self._offset_ms

    def wall_ms(self) -> int:
        return self._wall_ns() // 1_000_000

    def elapsed_ms(self) -> int:
        return self._stopwatch_ns() // 1_000_000

    def follow(self, step_ms: int) -> None:
        self._offset_ms += step_ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
