"""Backends that register and buyers who pay, whatever happens to the scanner."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import aiohttp

from protocol.wire import rfc3339
from tests.chaos.chain_environment import ChainEnvironment
from tests.chaos.facts import Order
from tests.chaos.judge import GRACE_S, SETTLED
from tests.chaos.purchases import IN_ONE_TRANSACTION, PARTS, SHORT, TTL_S, PlannedPurchase
from tests.chaos.schedule import Plan, deepest_reorg
from tests.chaos.supervisor import Supervision
from tests.chaos.webhook_receiver import WebhookReceiver
from tests.harness import intent_body

EXTRA = ["payment.detected", "payment.confirming", "payment.partial", "payment.reorged", "payment.anomaly"]
POLL_S = 0.2
LONGEST_WAIT_S = 60.0  # for a payment to be confirmed while endpoints are in trouble
CALL_S = 8
ENDED = {"late", "cancelled"}  # paid after the end
AGAIN = 4000  # added to the number of an order for the next one at its address
ANOTHER = 1000  # added to the number of an order that has to be made anew
OK, CONFLICT, TOO_BUSY = 200, 409, 500


class Shoppers:
    """Every purchase of a run; `orders` grows as they are acknowledged."""

    def __init__(
        self, supervisor: Supervision, chain_env: ChainEnvironment, receiver: WebhookReceiver, plan: Plan
    ) -> None:
        self.orders: list[Order] = []
        self._supervisor = supervisor
        self._chain_env = chain_env
        self._receiver = receiver
        self._deepest = deepest_reorg(plan.confirmations, plan.guards)
        self._confirmations = plan.confirmations if plan.family == "evm" else None
        self._nonsense = bool(plan.permanent_faults) and all(
            "strange_master" in kinds for kinds in plan.permanent_faults
        )

    async def buy(self, purchase: PlannedPurchase) -> None:
        """Register, bring the order to its end when its kind says so, and pay it part by part, or all at once."""
        order = await self._registered(purchase)
        beside = [await self._registered(purchase.beside)] if purchase.beside is not None else []
        if purchase.kind in ENDED:
            await self._end(order)
        if purchase.kind == "raced":
            await self._race(purchase, order)
            return
        if purchase.kind in IN_ONE_TRANSACTION:
            await asyncio.sleep(purchase.pauses[0])
            await self._chain_env.pay_together([(o, p.share) for o in (order, *beside) for p in PARTS[purchase.kind]])
            return
        for part, pause in zip(PARTS[purchase.kind], purchase.pauses, strict=True):
            await asyncio.sleep(pause)
            if part.count:
                await self._chain_env.pay_many(order, part)
            else:
                await self._chain_env.pay(purchase, order, part.share, right=part.right, how=part.how)
        if purchase.kind == "reused":
            await self._reuse(purchase, order)

    async def _race(self, purchase: PlannedPurchase, order: Order) -> None:
        """Pay and cancel at once: what the scanner answers to the latter is what holds."""
        async with asyncio.TaskGroup() as group:
            paying = self._chain_env.pay(purchase, order, PARTS[purchase.kind][0].share, right=True)
            group.create_task(paying)
            cancelling = group.create_task(self._call("DELETE", f"/intents/{order.intent_id}"))
        status, answer = cancelling.result()
        assert status in {OK, CONFLICT}, answer
        if status == OK:
            self.orders[self.orders.index(order)] = replace(order, cancelled=True)

    async def _reuse(self, purchase: PlannedPurchase, order: Order) -> None:
        """Register another intent for the address of a paid one, once their times cannot be mistaken."""
        until = time.monotonic() + LONGEST_WAIT_S
        while (await self._call("GET", f"/intents/{order.intent_id}"))[1]["intent"]["status"] not in SETTLED:
            if time.monotonic() > until:
                return  # a reorganisation took the payment for good: the address is not free
            await self._chain_env.mine(1)  # it may be all that is left to do
            await asyncio.sleep(POLL_S)
        since = await self._chain_env.now() + 2
        await self._chain_env.advance_to(since)
        again = replace(purchase, number=purchase.number + AGAIN)
        body = await self._body(again, again.number) | {"destination": order.destination}
        asked_at = time.monotonic()
        second = await self._acknowledged(again, body, since=since)
        self.orders.append(second)
        # A chain whose time stands still meanwhile is none: the scanner takes it to go on, and dates the order by that.
        await self._chain_env.advance_to(since + 1 + math.ceil(time.monotonic() - asked_at))
        await self._chain_env.mine(self._deepest + 1)  # no reorganisation takes the payment back to before that
        await self._chain_env.pay(again, second, PARTS[again.kind][0].share, right=True)

    async def _registered(self, purchase: PlannedPurchase) -> Order:
        order = await self._order(purchase)
        self.orders.append(order)
        return order

    async def _order(self, purchase: PlannedPurchase) -> Order:
        number = purchase.number
        while True:
            body = await self._body(purchase, number)
            status, answer = await self._call("POST", "/intents", body)
            if status == OK:
                break
            # Its time ran out before anybody heard of it, or the answer was lost: the next one is another order.
            assert purchase.kind in SHORT, answer
            number += ANOTHER
            # Where nobody pays any more no block is made, and the newest tells an ever older time than the scanner knows.
            await self._chain_env.mine(1)
        return self._as_order(purchase, body, answer)

    async def _acknowledged(self, purchase: PlannedPurchase, body: dict[str, Any], *, since: int) -> Order:
        status, answer = await self._call("POST", "/intents", body)
        assert status == OK, answer
        return self._as_order(purchase, body, answer, since=since)

    def _as_order(
        self, purchase: PlannedPurchase, body: dict[str, Any], answer: dict[str, Any], *, since: int = 0
    ) -> Order:
        return Order(
            intent_id=body["intentId"],
            rail=purchase.rail,
            token=self._chain_env.canonical(answer["checkoutBlock"]["tokenAddress"]),
            destination=self._chain_env.canonical(body["destination"]),
            amount=purchase.amount,
            reference=answer["paymentReference"],
            expires_at=int(datetime.fromisoformat(answer["expiresAt"]).timestamp()) if purchase.kind in SHORT else None,
            cancelled=purchase.kind == "cancelled",
            since=since,
            unreadable=purchase.kind == "other_token" and self._nonsense,
        )

    async def _body(self, purchase: PlannedPurchase, number: int) -> dict[str, Any]:
        body = {
            "intentId": f"order-{number}",
            "rail": purchase.rail,
            "amount": str(purchase.amount),
            "confirmations": self._confirmations,
            "callbackUrl": self._receiver.url,
            "events": EXTRA if purchase.talkative else None,
            **self._chain_env.body(purchase, number),
        }
        if purchase.kind in SHORT:
            ahead = max(time.time() + self._receiver.skew_s, await self._chain_env.now())
            body["expiresAt"] = rfc3339((int(ahead) + TTL_S) * 1000)
        return intent_body(**body)

    async def _end(self, order: Order) -> None:
        """Return when the scanner says that the order has ended: by a cancellation, or by the chain's time."""
        until = time.monotonic() + LONGEST_WAIT_S
        if order.cancelled:
            status, answer = await self._call("DELETE", f"/intents/{order.intent_id}")
            assert status in {OK, CONFLICT}, answer
        while (await self._call("GET", f"/intents/{order.intent_id}"))[1]["intent"]["status"] != "expired":
            if order.expires_at is not None:
                # More than once: a reorganisation may take the block back by which time had passed.
                await self._chain_env.advance_to(order.expires_at + GRACE_S + 1)
                if time.monotonic() > until and self._is_time_doubted():
                    return  # what is paid now is late by the time of its block, whenever the scanner reads it
            await asyncio.sleep(POLL_S)

    def _is_time_doubted(self) -> bool:
        """Say whether the scanner waits for its clock, or for an endpoint that bears out the only one it believes."""
        return False

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await call_until_answered(self._supervisor, lambda api: api.call(method, path, body))


async def call_until_answered(
    supervisor: Supervision, call: Callable[[Any], Awaitable[tuple[int, Any]]]
) -> tuple[int, Any]:
    """Ask until the scanner answers: it may be down, or its store may be busy."""
    while True:
        if (api := supervisor.api) is not None:
            try:
                async with asyncio.timeout(CALL_S):
                    status, answer = await call(api)
            except (aiohttp.ClientError, TimeoutError):
                pass
            else:
                if status < TOO_BUSY:
                    return status, answer
        await asyncio.sleep(POLL_S)
