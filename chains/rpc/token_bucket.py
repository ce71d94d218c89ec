"""A token bucket: how a family stays below the request rate its upstream service allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

MAX_PAUSE_S = 30.0  # a service that names hours would leave a chain without another endpoint blind for hours
ROUNDING_S = 1e-6  # a float a hair below one token must not become a wait of nothing, over and over


class TokenBucket:
    """
    Lets `per_second` requests through, in the order they asked.

    With the default `burst` of 1 requests are spaced evenly. A larger burst saves latency after a
    pause, but lets `per_second + burst` requests into one second: services count that as too many.
    `clock` counts monotonic seconds.
    """

    def __init__(
        self,
        per_second: float,
        *,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError("a token bucket needs a positive rate and a burst of at least 1")
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(burst)
        self._counted_at = clock()  # lies in the future while paused
        self._queue = asyncio.Lock()  # wakes its waiters in the order they came

    @property
    def paused_s(self) -> float:
        """Seconds until requests are let through again; 0 when they are now."""
        return max(0.0, self._counted_at - self._clock())

    async def acquire(self) -> None:
        """Wait for the right to make one request. A caller that gives up while waiting uses no token."""
        async with self._queue:
            while (wait := self._wait()) > 0:
                await self._sleep(wait)
            self._tokens -= 1

    def pause_for(self, seconds: float) -> None:
        """Let nothing through for so many seconds, as the service asked; a shorter pause never ends a longer one."""
        until = self._clock() + min(seconds, MAX_PAUSE_S)
        if until > self._counted_at:
            self._counted_at = until
            self._tokens = 1.0  # the first request after it, then one after the other

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: a request that failed has counted all the same."""

    def _wait(self) -> float:
        """Return the seconds until the next token, after counting those that came in since the last look."""
        now = self._clock()
        if now < self._counted_at:
            return self._counted_at - now
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        missing = 1.0 - self._tokens
        return missing / self._per_second if missing > ROUNDING_S else 0.0
