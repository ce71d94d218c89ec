"""Restarts a worker that hangs: in the middle of a poll, and for minutes not a step further."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from kernel.logging import fields
from scanner.upkeep.health import ChainHealth
from scanner.upkeep.metrics import Metrics

log = logging.getLogger(__name__)

STUCK_S = 300.0  # longer than any single step with all its time-outs
PATIENCE_S = 10.0  # to end after being cancelled


class Watched(Protocol):
    """What is asked of a worker."""

    health: ChainHealth

    @property
    def steps(self) -> int:
        """How often it got anywhere: a head, a page, a batch; grows for ever."""

    @property
    def busy(self) -> bool:
        """Whether it is in the middle of a poll."""

    async def run(self) -> None:
        """Work for ever."""


class Watchdog:
    """
    Runs one worker, and runs it again when it hangs.

    Nothing is lost by it: what was found before is stored, and the checkpoint says where to go on.
    """

    def __init__(self, worker: Watched, metrics: Metrics, *, stuck_s: float = STUCK_S) -> None:
        self._worker = worker
        self._metrics = metrics
        self._stuck_s = stuck_s

    async def run(self) -> None:
        """Work for ever; whatever ends the worker by itself ends this as well."""
        chain = self._worker.health.chain_id
        while True:
            working = asyncio.create_task(self._worker.run(), name=f"chain {chain}")
            try:
                await self._until_stuck(working)
            finally:
                working.cancel()
                ended, _ = await asyncio.wait([working], timeout=PATIENCE_S)
            if not ended:
                raise RuntimeError(f"the worker of chain {chain} hangs and cannot be cancelled")
            self._worker.health.restarts += 1
            self._worker.health.last_error = f"made no progress for {self._stuck_s:.0f} s and was restarted"
            self._metrics.restarts.labels(str(chain)).inc()
            log.error("[scanner] a hanging worker is restarted", extra=fields(chain=chain))

    async def _until_stuck(self, working: asyncio.Task[None]) -> None:
        steps = self._worker.steps
        since = asyncio.get_running_loop().time()
        while True:
            ended, _ = await asyncio.wait([working], timeout=self._stuck_s / 10)
            if ended:
                await working
            now = asyncio.get_running_loop().time()
            if not self._worker.busy or self._worker.steps != steps:
                steps, since = self._worker.steps, now
            elif now - since >= self._stuck_s:
                return
