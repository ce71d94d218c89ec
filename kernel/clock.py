"""Time as a collaborator, so that tests can own it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

HOUR_MS = 3_600_000


class Clock(Protocol):
    """Wall-clock time and waiting."""

    def now_ms(self) -> int:
        """Return unix time in milliseconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def rfc3339(ms: int) -> str:
    """Render unix milliseconds as RFC 3339 UTC with milliseconds."""
    seconds, rest = divmod(ms, 1000)
    # Three times as fast as a format of its own, and a list of intents holds hundreds.
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:03d}Z"


def shown(ms: int | None) -> str | None:
    """Render a time that may be missing."""
    return None if ms is None else rfc3339(ms)
