"""What every source said a moment ago: asked together, each at most once in a while, whoever wants to know."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from kernel.clock import Clock
from kernel.tasks.failure_log import FailureLog
from marketplace.pricing.decision import Limits, NoPrice, Observation, agreed
from marketplace.pricing.sources import PriceSource, Reading, SourceFailed

log = logging.getLogger(__name__)

READ_S: Final = 5.0  # for all that a source asks: a buyer waits for it
KEPT_MS: Final = 10_000  # buyers ask as often as they like, and sources are paid for or limited


class _Kept:
    """One source with what it said last."""

    def __init__(self, source: PriceSource, clock: Clock) -> None:
        self.source = source
        self._clock = clock
        self._asking = asyncio.Lock()
        self._at: int | None = None
        self._reading = Reading({})
        self._failures = FailureLog(log, f"[pricing] {source.name}")

    async def price(self, asset: str) -> Observation | None:
        """Return what it says of an asset, with its age by now; None when it says nothing."""
        async with self._asking:  # whoever comes meanwhile is answered with the same
            if self._at is None or self._clock.elapsed_ms() - self._at >= KEPT_MS:
                self._reading, self._at = await self._read(), self._clock.elapsed_ms()
            said = self._reading.prices.get(asset)
            waited_s = (self._clock.elapsed_ms() - self._at) / 1000
        return None if said is None else replace(said, age_s=said.age_s + waited_s)

    async def _read(self) -> Reading:
        try:
            async with asyncio.timeout(READ_S):
                reading = await self.source.read()
        except SourceFailed as exc:
            self._failures.failed(str(exc))
            return Reading({})
        except TimeoutError:
            self._failures.failed(f"no answer within {READ_S:g} s")
            return Reading({})
        if reading.failures:
            self._failures.failed("; ".join(f"{asset}: {why}" for asset, why in reading.failures.items()))
        else:
            self._failures.recovered()
        return reading


class PriceBoard:
    """Prices that sources agree on."""

    def __init__(self, sources: Sequence[PriceSource], limits: Limits, clock: Clock) -> None:
        self._kept = [_Kept(source, clock) for source in sources]
        self._limits = limits
        self.assets = frozenset(asset for source in sources for asset in source.assets)
        self._failures = {asset: FailureLog(log, f"[pricing] {asset}") for asset in self.assets}

    async def price(self, asset: str) -> tuple[Decimal, tuple[Observation, ...]]:
        """
        Return what an asset is worth in dollars, and who said so.

        Raises:
            NoPrice: nobody can be relied upon now.
        """
        asked = [kept for kept in self._kept if asset in kept.source.assets]
        said = await asyncio.gather(*(kept.price(asset) for kept in asked))
        failures = self._failures[asset]
        try:
            found = agreed(asset, [each for each in said if each is not None], self._limits)
        except NoPrice as exc:
            failures.failed(str(exc))
            raise
        failures.recovered()
        return found
