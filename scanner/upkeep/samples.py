"""Writes down once a minute how a chain is doing, for whoever looks at the last hours."""

from __future__ import annotations

import logging

from kernel.clock import Clock
from kernel.store.database import Database
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner.store import samples
from scanner.store.errors import StoreError
from scanner.store.samples import Sample
from scanner.worker import ChainWorker

log = logging.getLogger(__name__)


class ChainSampler:
    """Follows one chain that this process leads."""

    def __init__(self, worker: ChainWorker, db: Database, clock: Clock) -> None:
        self.wakeup = Wakeup()
        self._worker = worker
        self._db = db
        self._clock = clock
        self._outage = FailureLog(log, f"[scanner] samples of chain {worker.chain.chain_id}")

    async def run(self) -> None:
        """Write at every ring, for ever."""
        while True:
            await self.wakeup.wait()
            try:
                await self.sample()
                self._outage.recovered()
            except StoreError as exc:
                self._outage.failed(str(exc))

    async def sample(self) -> None:
        """Write down how the chain is doing now, and how long payments since the last time took to be seen."""
        health = self._worker.health
        slowest = self._worker.take_slowest_detection()
        sample = Sample(
            at=self._clock.now_ms(),
            head=None if health.head is None else health.head.position,
            lag_seconds=health.lag_seconds,
            detection_ms=None if slowest is None else round(slowest * 1000),
        )
        async with self._db.write() as tx:
            await samples.add(tx, self._worker.chain.chain_id, sample)
