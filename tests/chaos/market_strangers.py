"""What a stranger who knows an address of ours sends to it, beside an honest purchase or after one that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.chaos.market_chain import MarketChainController
from tests.chaos.market_facts import OpenedPayment
from tests.chaos.purchases import MANY
from tests.harness import USDC

LISTED_THOUSANDTHS = 7  # of the price: what somebody on the sanctions list sends
COIN = 10**15  # wei
GIVES_COIN_ONLY = "coin"  # nobody is paid out of its address: whoever does gives it coin first


class Stranger:
    """Sends to the addresses of payments."""

    def __init__(self, controller: MarketChainController) -> None:
        self._controller = controller
        self._before: dict[str, Callable[[OpenedPayment], Coroutine[Any, Any, None]]] = {
            "dusted": self._dust,
            "spammed": self._spam,
            "zeroes": self._send_nothing,
            "listed": self._pay_from_the_list,
            "hidden": self._pay_from_the_list_behind_dust,
            "plainly": self._pay_the_shop,
            "coin": self._send_coin,
        }

    async def come_before(self, opened: OpenedPayment) -> None:
        """Do what a stranger does before the buyer pays."""
        if opened.kind in self._before:
            await self._before[opened.kind](opened)

    async def send_dust(self, opened: OpenedPayment, *, needed: bool = False) -> str:
        """Send many dust transfers of the right token in one transaction."""
        return await self._controller.pay_many_fresh(
            opened.token, opened.destination, 1, opened.reference, MANY, needed=needed
        )

    async def race(self, opened: OpenedPayment, cancelling: Coroutine[Any, Any, None]) -> None:
        """Send dust while the buyer cancels."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.send_dust(opened, needed=True))
            group.create_task(cancelling)

    async def pay_from_the_list_but_dust(self, opened: OpenedPayment) -> None:
        """Let somebody on the sanctions list pay nearly everything, and somebody else what is missing."""
        payer, amount = self._controller.listed_wallet(), opened.price - MANY
        await self._controller.pay_from_fresh_wallet(
            opened.token, opened.destination, amount, opened.reference, needed=True, payer=payer
        )
        await self.send_dust(opened, needed=True)

    async def _dust(self, opened: OpenedPayment) -> None:
        """On a balance rail nothing looks afterwards: there the dust is deep before the buyer pays."""
        sent = await self.send_dust(opened, needed=opened.is_balance)
        if opened.is_balance:
            await self._controller.buried(sent)

    async def _spam(self, opened: OpenedPayment) -> None:
        await self._controller.pay_many_fresh(USDC, opened.destination, 1, opened.reference, MANY)

    async def _send_nothing(self, opened: OpenedPayment) -> None:
        await self._controller.pay_many_fresh(opened.token, opened.destination, 0, opened.reference, MANY)

    async def _pay_from_the_list(self, opened: OpenedPayment) -> None:
        dust = opened.price * LISTED_THOUSANDTHS // 1000
        payer = self._controller.listed_wallet()
        await self._controller.pay_from_fresh_wallet(
            opened.token, opened.destination, dust, opened.reference, needed=False, payer=payer
        )

    async def _pay_from_the_list_behind_dust(self, opened: OpenedPayment) -> None:
        await self._pay_from_the_list(opened)
        await self._dust(opened)

    async def _pay_the_shop(self, opened: OpenedPayment) -> None:
        await self._controller.pay_many_fresh(opened.token, opened.destination, 1, None, MANY)

    async def _send_coin(self, opened: OpenedPayment) -> None:
        await self._controller.send_coin_from_fresh_wallet(opened.destination, COIN)
