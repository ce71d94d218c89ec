"""Writes down once a minute how chains are doing, for whoever looks at the last hours."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from kernel.clock import Clock
from kernel.store.database import Database
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner.cluster import Cluster
from scanner.store import samples
from scanner.store.errors import StoreError
from scanner.store.samples import Sample
from scanner.upkeep.health import ChainHealth

log = logging.getLogger(__name__)


class Sampled(Protocol):
    """What is asked of a chain's worker."""

    health: ChainHealth

    def take_slowest_detection(self) -> float | None:
        """Return how many seconds the slowest payment took to be seen since this was asked; None: nobody paid."""


class Sampler:
    """Follows the chains that this process leads: one write for all of them."""

    def __init__(self, workers: Mapping[int, Sampled], db: Database, clock: Clock, cluster: Cluster) -> None:
        self.wakeup = Wakeup()
        self._workers = workers
        self._db = db
        self._clock = clock
        self._cluster = cluster
        self._outage = FailureLog(log, "[scanner] samples of chains")

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
        """Write down how the chains are doing now, and how long payments since the last time took to be seen."""
        made = {i: self._of(worker) for i, worker in self._workers.items() if self._cluster.leads(i)}
        if not made:
            return
        async with self._db.write() as tx:
            # What another process has written since, which leads a chain by now, stays.
            for chain_id in await self._cluster.hold(tx, made):
                await samples.add(tx, chain_id, made[chain_id])

    def _of(self, worker: Sampled) -> Sample:
        health = worker.health
        slowest = worker.take_slowest_detection()
        return Sample(
            at=self._clock.now_ms(),
            head=None if health.head is None else health.head.position,
            lag_seconds=health.lag_seconds,
            detection_ms=None if slowest is None else round(slowest * 1000),
        )
