"""What a stranger who knows an address of ours sends to it, beside an honest purchase or after one that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.chaos.market_facts import Bought
from tests.chaos.market_ground import MarketGround
from tests.chaos.payments import MANY
from tests.harness import USDC

LISTED_THOUSANDTHS = 7  # of the price: what somebody on the sanctions list sends
COIN = 10**15  # wei
GIVES_COIN_ONLY = "coin"  # nobody is paid out of its address: whoever does gives it coin first


class Stranger:
    """Sends to the addresses of payments."""

    def __init__(self, ground: MarketGround) -> None:
        self._ground = ground
        self._before: dict[str, Callable[[Bought], Coroutine[Any, Any, None]]] = {
            "dusted": self._dust,
            "spammed": self._spam,
            "zeroes": self._send_nothing,
            "listed": self._pay_from_the_list,
            "plainly": self._pay_the_shop,
            "coin": self._send_coin,
        }

    async def come_before(self, bought: Bought) -> None:
        """Do what a stranger does before the buyer pays."""
        if bought.kind in self._before:
            await self._before[bought.kind](bought)

    async def send_crumbs(self, bought: Bought, *, needed: bool = False) -> str:
        """Send many crumbs of the right token in one transaction."""
        return await self._ground.crowd(bought.token, bought.destination, 1, bought.reference, MANY, needed=needed)

    async def race(self, bought: Bought, cancelling: Coroutine[Any, Any, None]) -> None:
        """Send crumbs while the buyer cancels."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.send_crumbs(bought, needed=True))
            group.create_task(cancelling)

    async def _dust(self, bought: Bought) -> None:
        """Where a balance pays, nobody looks afterwards: there the crumbs are deep before the buyer pays."""
        sent = await self.send_crumbs(bought, needed=bought.is_balance)
        if bought.is_balance:
            await self._ground.buried(sent)

    async def _spam(self, bought: Bought) -> None:
        await self._ground.crowd(USDC, bought.destination, 1, bought.reference, MANY)

    async def _send_nothing(self, bought: Bought) -> None:
        await self._ground.crowd(bought.token, bought.destination, 0, bought.reference, MANY)

    async def _pay_from_the_list(self, bought: Bought) -> None:
        crumb = bought.price * LISTED_THOUSANDTHS // 1000
        payer = self._ground.listed_wallet()
        await self._ground.give(bought.token, bought.destination, crumb, bought.reference, needed=False, payer=payer)

    async def _pay_the_shop(self, bought: Bought) -> None:
        await self._ground.crowd(bought.token, bought.destination, 1, None, MANY)

    async def _send_coin(self, bought: Bought) -> None:
        await self._ground.give_coin(bought.destination, COIN)
