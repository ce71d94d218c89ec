"""Group commit: many callers, one transaction, and nobody is answered before it is durable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from kernel.tasks.wakeup import Wakeup

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """
    Collects what callers submit while the previous transaction runs and flushes it as one.

    A flush answers in order, with a result or an exception an item; an exception raised by the flush
    itself goes to every caller of that batch.
    """

    def __init__(self, flush: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], *, limit: int = 256) -> None:
        self._flush = flush
        self._limit = limit
        self._queue: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._wakeup = Wakeup()

    async def submit(self, item: T) -> R:
        """Hand in one item and wait until its batch is durable."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        self._wakeup.wake()
        return await future

    async def run(self) -> None:
        """Flush for ever: a named task of the daemon."""
        while True:
            await self._wakeup.wait()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(self._limit, len(self._queue)))]
                await self._flush_batch(batch)

    async def _flush_batch(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results: Sequence[R | Exception] = await self._flush([item for item, _ in batch])
        except Exception as exc:  # noqa: BLE001 - every caller of the batch gets it
            results = [exc] * len(batch)
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():  # the caller went away; what it asked for is stored all the same
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
