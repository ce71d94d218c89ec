"""An event that is set many times and wakes one task once."""

from __future__ import annotations

import asyncio


class Wakeup:
    """Set by schedules and by whoever needs the work at once; the one task that waits on it does the work."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set, and reset it; return False when `timeout_s` passed first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
