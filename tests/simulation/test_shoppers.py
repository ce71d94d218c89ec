"""Buyers of a simulation do what no real chain and clock would punish."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.purchases import PlannedPurchase
from tests.chaos.schedule import plan
from tests.chaos.shoppers import LONGEST_WAIT_S
from tests.simulation import shoppers
from tests.simulation.shoppers import SimShoppers

NOW = 1_790_000_000
ANSWER = {
    "checkoutBlock": {"tokenAddress": "token"},
    "paymentReference": "0x00",
    "intent": {"status": "confirmed"},
}


class Chain:
    """Notes when somebody pays."""

    canonical = staticmethod(str)

    def __init__(self) -> None:
        self.paid: list[str] = []
        self.moments: list[int] = []  # to which its time was moved on

    async def now(self) -> int:
        return NOW

    async def advance_to(self, moment: int) -> None:
        self.moments.append(moment)

    async def mine(self, _: int) -> None:
        pass

    def body(self, _: PlannedPurchase, number: int) -> dict[str, Any]:
        return {"destination": f"address-{number}"}

    async def pay(self, _: PlannedPurchase, order: Any, *__: Any, **___: Any) -> None:
        self.paid.append(order.intent_id)


class Supervisor:
    """A scanner that knows no time of the chain until it is told."""

    hears = False
    doubts_time = False

    @property
    def api(self) -> Any:
        async def call(*_: Any) -> tuple[int, Any]:
            return 200, ANSWER

        return SimpleNamespace(call=call)


def buyers_of(chain: Chain, supervisor: Any) -> SimShoppers:
    receiver: Any = SimpleNamespace(url="http://127.0.0.1:9/hook", skew_s=0)
    environment: Any = chain
    return SimShoppers(supervisor, environment, receiver, plan(1, family="ton"))


REUSED = PlannedPurchase(at=0.0, number=1, kind="reused", rail="direct", amount=1000, pauses=(0.0,), talkative=False)


async def test_the_chains_time_goes_on_while_an_address_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scanner takes it to: what was paid by a clock that had stood still looked older than its order."""
    stopwatch = [0.0]
    monkeypatch.setattr("tests.chaos.shoppers.time", SimpleNamespace(monotonic=lambda: stopwatch[0]))
    chain, slow = Chain(), Supervisor()

    async def call(method: str, *_: Any) -> tuple[int, Any]:
        stopwatch[0] += 8.5 if method == "POST" else 0.0
        return 200, ANSWER

    monkeypatch.setattr(Supervisor, "api", SimpleNamespace(call=call))
    slow.hears = True
    await buyers_of(chain, slow).buy(REUSED)

    assert chain.moments == [NOW + 2, NOW + 2 + 1 + 9]


async def test_an_address_is_paid_again_once_the_scanner_knows_the_chains_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shoppers, "POLL_S", 0.001)
    chain, supervisor = Chain(), Supervisor()
    buying = asyncio.create_task(buyers_of(chain, supervisor).buy(REUSED))
    for _ in range(50):
        await asyncio.sleep(0)
    assert chain.paid == ["order-1"]

    supervisor.hears = True
    await buying
    assert chain.paid == ["order-1", "order-4001"]


LATE = PlannedPurchase(at=0.0, number=1, kind="late", rail="direct", amount=1000, pauses=(0.0,), talkative=False)


async def test_an_order_that_cannot_expire_while_the_clock_is_doubted_is_paid_late_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the time of its block it is late, whenever the scanner reads on: its buyer waited as long as the run lasted."""
    stopwatch = [0.0]
    clock = SimpleNamespace(monotonic=lambda: stopwatch[0], time=lambda: NOW)
    monkeypatch.setattr("tests.chaos.shoppers.time", clock)
    monkeypatch.setattr("tests.chaos.shoppers.POLL_S", 0)
    chain, supervisor = Chain(), Supervisor()
    answer = ANSWER | {"expiresAt": "2026-09-21T14:13:20Z", "intent": {"status": "pending"}}

    async def call(*_: Any) -> tuple[int, Any]:
        stopwatch[0] += 1.0
        return 200, answer

    monkeypatch.setattr(Supervisor, "api", SimpleNamespace(call=call))

    async def waited(moment: float) -> None:
        while stopwatch[0] < moment:  # noqa: ASYNC110 - each of its questions takes a second of this
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        supervisor.doubts_time = True
        buying = asyncio.create_task(buyers_of(chain, supervisor).buy(LATE))
        await waited(LONGEST_WAIT_S / 2)
        assert chain.paid == []  # it may go on by itself

        supervisor.doubts_time = False
        await waited(LONGEST_WAIT_S * 2)
        assert chain.paid == []  # it reads, and has to say that the order expired

        supervisor.doubts_time = True
        await buying
    assert chain.paid == ["order-1"]
