"""The chain under the simulated marketplace: a reorganisation moves and delays what is paid out as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.chaos.market_chain import MarketChainActor


class SimMarketActor(MarketChainActor):
    """The laboratory's; on a chain in memory a payout comes back as any other transaction does."""

    async def execute(self, instruction: Mapping[str, Any]) -> str:
        """Carry an instruction out; wherever it stands later, it is never lost."""
        sent = await super().execute(instruction)
        self.controller.sent.add(sent)
        self.controller.needed.add(sent)
        return sent
