"""Backends that register and buyers who pay, whatever happens to the scanner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from scanner.clock import rfc3339
from tests.chaos.backend import Backend
from tests.chaos.facts import Order
from tests.chaos.ground import Ground
from tests.chaos.keeper import Keeper
from tests.chaos.schedule import PARTS, Purchase
from tests.harness import MERCHANT, USDC, USDT, intent_body

EXTRA = ["payment.detected", "payment.confirming", "payment.partial", "payment.reorged", "payment.anomaly"]
PATIENCE_S = 0.2
CALL_S = 8
TTL_S = 3
OK, CONFLICT, TOO_BUSY = 200, 409, 500


class Street:
    """Every purchase of a run; `orders` grows as they are acknowledged."""

    def __init__(self, keeper: Keeper, ground: Ground, backend: Backend, *, seed: int, confirmations: int) -> None:
        self.orders: list[Order] = []
        self.refused: list[str] = []
        self._keeper = keeper
        self._ground = ground
        self._backend = backend
        self._seed = seed
        self._confirmations = confirmations

    async def buy(self, purchase: Purchase) -> None:
        """Register, bring the order to its end when that is the story, and pay it part by part."""
        order = await self._order(purchase)
        self.orders.append(order)
        if order.ended is not None:
            await self._end(order)
        for (share, right), pause in zip(PARTS[purchase.kind], purchase.pauses, strict=True):
            await asyncio.sleep(pause)
            await self._pay(purchase, order, share, right=right)

    async def _pay(self, purchase: Purchase, order: Order, share: int, *, right: bool) -> None:
        reference = order.reference if order.rail == "proxy" else None
        if purchase.kind == "stranger":
            reference = f"0x{0xA0000000_00000000 + purchase.number:016x}"
        to = _address(0x5, self._seed, purchase.number) if purchase.kind == "wrong_destination" else order.destination
        await self._ground.pay(USDT if right else USDC, to, order.amount * share // 1000, reference)

    async def _order(self, purchase: Purchase) -> Order:
        number = purchase.number
        direct = purchase.rail == "direct"
        body = intent_body(
            intentId=f"order-{number}",
            rail=purchase.rail,
            destination=_address(0x2, self._seed, number) if direct else MERCHANT,
            amount=str(purchase.amount),
            confirmations=self._confirmations,
            callbackUrl=self._backend.url,
            events=EXTRA if purchase.talkative else None,
        )
        while True:
            if purchase.kind == "late":
                body["expiresAt"] = rfc3339(int((time.time() + self._backend.skew_s + TTL_S) * 1000))
            status, answer = await self._call("POST", "/intents", body)
            if status == OK:
                break
            # Its time ran out before anybody heard of it, or the answer was lost: the next one is another order.
            assert purchase.kind == "late", answer
            body["intentId"] += "x"
            if direct:
                number += 1000
                body["destination"] = _address(0x2, self._seed, number)
        ended = purchase.kind if purchase.kind in {"late", "cancelled"} else None
        return Order(
            intent_id=str(body["intentId"]),
            rail=purchase.rail,
            token=USDT.lower(),
            destination=str(body["destination"]).lower(),
            amount=purchase.amount,
            reference=str(answer["paymentReference"]),
            ended=ended,
        )

    async def _end(self, order: Order) -> None:
        """Return when the scanner says that the order has ended."""
        if order.ended == "cancelled":
            status, answer = await self._call("DELETE", f"/intents/{order.intent_id}")
            assert status in {OK, CONFLICT}, answer
        while (await self._call("GET", f"/intents/{order.intent_id}"))[1]["intent"]["status"] != "expired":
            await asyncio.sleep(PATIENCE_S)

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await persist(self._keeper, lambda api: api.call(method, path, body))


async def persist(keeper: Keeper, call: Callable[[Any], Awaitable[tuple[int, Any]]]) -> tuple[int, Any]:
    """Ask until the scanner answers: it may be away, or its store may be busy."""
    while True:
        if (api := keeper.api) is not None:
            try:
                async with asyncio.timeout(CALL_S):
                    status, answer = await call(api)
            except (aiohttp.ClientError, TimeoutError):
                pass
            else:
                if status < TOO_BUSY:
                    return status, answer
        await asyncio.sleep(PATIENCE_S)


def _address(kind: int, seed: int, number: int) -> str:
    return f"0x{kind:x}{seed:029x}{number:010x}"
