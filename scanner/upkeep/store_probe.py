"""Whether the store can be written: found out by writing, and never by more than one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kernel.store.database import Database
from kernel.tasks.wakeup import Wakeup
from scanner.store import heartbeat
from scanner.store.errors import StoreError

PATIENCE_S = 3.0  # how long whoever asks waits for an answer
FRESH_S = 1.0  # how long an answer is as good as a new one


class StoreProbe:
    """
    Writes when it is asked, and says what came of it.

    A disk that is full, a file that was made read-only and a lock that somebody holds all let a process read on
    for hours: only a write tells. It waits in a task of its own, so that whoever asks need not.
    """

    def __init__(self, db: Database, now_ms: Callable[[], int], monotonic: Callable[[], float] | None = None) -> None:
        self._db = db
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._wakeup = Wakeup()
        self._answer: asyncio.Future[str | None] | None = None
        self._since = 0.0
        self._known: tuple[float, str | None] | None = None

    async def run(self) -> None:
        """Write at every ring, for ever: a named task of the daemon."""
        while True:
            await self._wakeup.wait()
            problem = await self._write()
            self._known = (self._time(), problem)
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(problem)
            self._answer = None

    async def problem(self) -> str | None:
        """Return why the store cannot be written; None when it can."""
        if self._known is not None and self._time() - self._known[0] < FRESH_S:
            return self._known[1]
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
            self._since = self._time()
            self._wakeup.wake()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.shield(self._answer)
        except TimeoutError:
            return f"the store cannot be written: a write has been waiting for {self._time() - self._since:.0f} s"

    def _time(self) -> float:
        return (self._monotonic or asyncio.get_running_loop().time)()

    async def _write(self) -> str | None:
        try:
            async with self._db.write() as tx:
                await heartbeat.beat(tx, self._now_ms())
        except StoreError as exc:
            return f"the store cannot be written: {exc}"
        return None
