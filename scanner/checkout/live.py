"""Tells open payment pages what changes: one question to the store a second, however many are open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner.checkout.state import Payment
from scanner.store.errors import StoreError

log = logging.getLogger(__name__)

LOOK_S = 1.0


class Watcher:
    """One open page: what it was told last, and what is new."""

    def __init__(self, told: Payment) -> None:
        self._told = told
        self._news: Payment | None = None
        self._wakeup = Wakeup()

    def tell(self, payment: Payment) -> None:
        if payment != self._told:
            self._told = self._news = payment
            self._wakeup.wake()

    def close(self) -> None:
        self._wakeup.wake()

    async def news(self, timeout_s: float) -> Payment | None:
        """Wait for a change and return it; None when there was none in time."""
        await self._wakeup.wait(timeout_s)
        news, self._news = self._news, None
        return news


class LivePayments:
    """Who watches what; `read` returns payments as they are now, by intent."""

    def __init__(self, read: Callable[[Collection[str]], Awaitable[Mapping[str, Payment]]]) -> None:
        self._read = read
        self._watchers: dict[str, set[Watcher]] = {}
        self._came = Wakeup()
        self._outage = FailureLog(log, "[api] open payment pages")
        self.closing = False

    @contextmanager
    def watching(self, payment: Payment) -> Iterator[Watcher]:
        """Tell a page that shows a payment what changes, until the block ends."""
        watcher, intent_id = Watcher(payment), payment.intent.intent_id
        self._watchers.setdefault(intent_id, set()).add(watcher)
        self._came.wake()
        try:
            yield watcher
        finally:
            self._watchers[intent_id].discard(watcher)
            if not self._watchers[intent_id]:
                del self._watchers[intent_id]

    def close(self) -> None:
        """Let every open page go: the process ends."""
        self.closing = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.close()

    async def run(self) -> None:
        """Look for ever, while anybody watches: a named task of the daemon."""
        while True:
            await self._came.wait()
            while self._watchers:
                await self._look()
                await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        try:
            found = await self._read(list(self._watchers))
        except StoreError as exc:
            self._outage.failed(str(exc))
            return
        self._outage.recovered()
        for intent_id, payment in found.items():
            for watcher in self._watchers.get(intent_id, ()):
                watcher.tell(payment)
