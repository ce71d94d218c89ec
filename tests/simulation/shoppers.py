"""Buyers whose payment the chain takes back and makes again, after it had settled what they bought."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from tests.chaos.facts import Order
from tests.chaos.judge import SETTLED
from tests.chaos.purchases import PlannedPurchase
from tests.chaos.shoppers import AGAIN, LONGEST_WAIT_S, POLL_S, Shoppers
from tests.simulation.plans import MOVED

NOBODY_PAYS_IT = 2**62  # unix seconds: whatever comes to its address before that is somebody else's


class SimShoppers(Shoppers):
    """The laboratory's, and those whom only a reorganisation deeper than was asked for can hurt."""

    async def buy(self, purchase: PlannedPurchase) -> None:
        if purchase.kind == MOVED:
            await self._move(purchase)
        else:
            await super().buy(purchase)

    async def _acknowledged(self, purchase: PlannedPurchase, body: dict[str, Any], *, since: int) -> Order:
        """
        Take over an address, and let nobody pay there before the scanner has heard what time it is on the chain.

        What is registered without that time is dated later, by how far the host's clock is ahead by then. Tron and
        TON make their time as they go here, and faster than any clock: the payment would look older than its order.
        """
        order = await super()._acknowledged(purchase, body, since=since)
        for _ in range(int(LONGEST_WAIT_S / POLL_S)):
            if self._supervisor.hears:  # type: ignore[attr-defined]
                break
            await asyncio.sleep(POLL_S)
        return order

    def _is_time_doubted(self) -> bool:
        return self._supervisor.doubts_time  # type: ignore[attr-defined, no-any-return]

    async def _move(self, purchase: PlannedPurchase) -> None:
        """
        Settle an order, register another for its address, and let the first one's payment come again after that.

        By the time of its block it would be the second one's now. It settled the first one, and stays that.
        """
        order = await self._registered(purchase)
        before = await self._chain_env.height()  # type: ignore[attr-defined]
        await self._chain_env.pay(purchase, order, 1000, right=True)
        if not await self._is_settled(order.intent_id):
            return
        since = await self._chain_env.now() + 2
        await self._chain_env.advance_to(since)
        again = replace(purchase, number=purchase.number + AGAIN)
        body = await self._body(again, again.number) | {"destination": order.destination}
        self.orders.append(await self._acknowledged(again, body, since=NOBODY_PAYS_IT))
        await self._chain_env.advance_to(since + 1)
        await asyncio.sleep(purchase.pauses[0])
        await self._chain_env.delay(before)  # type: ignore[attr-defined]

    async def _is_settled(self, intent_id: str) -> bool:
        until = time.monotonic() + LONGEST_WAIT_S
        while (await self._call("GET", f"/intents/{intent_id}"))[1]["intent"]["status"] not in SETTLED:
            if time.monotonic() > until:
                return False  # a reorganisation took the payment for good
            await self._chain_env.mine(1)
            await asyncio.sleep(POLL_S)
        return True
