"""A coalescing bell: many rings, one wake."""

from __future__ import annotations

import asyncio


class Wakeup:
    """Rung by schedules and by people in a hurry; the one task that waits on it does the work."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for a ring and take it; return False when `timeout_s` passed without one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
