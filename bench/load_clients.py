"""Who asks the scanner for something during the load measurement: clients, buyers, monitoring."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from bench.load_setup import OTHER_CHAIN, POLL_S, LoadSetup
from devnet.evm.anvil import CHAIN_ID
from devnet.processes import ESCROW

REGISTER, READ, LIST, CANCEL = "POST /intents", "GET /intents/{id}", "GET /intents", "DELETE /intents/{id}"
METRICS, HEALTH = "GET /metrics", "GET /health"
CALLS = (REGISTER, READ, LIST, CANCEL, METRICS, HEALTH)
PAGE = 50
HEALTH_S = 0.1
LOOK_S = 0.5
AMOUNT = 1000


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """How many there are and what they want."""

    clients: int
    think_s: float  # between an answer and the next question, on average
    payments_a_second: float
    pace: float
    length: float  # seconds


async def run_clients(load: ClientLoad, setup: LoadSetup) -> None:
    """Let everybody come until the time is over and every payment has been reported."""
    numbers = itertools.count()
    async with asyncio.TaskGroup() as group:
        visitors = [group.create_task(_client(number, load, setup, numbers)) for number in range(load.clients)]
        watching = [group.create_task(each) for each in (_scrape(load, setup), _probe(setup), _look(setup))]
        await _buyers(load, setup, numbers)
        for visitor in visitors + watching:
            visitor.cancel()


async def _client(number: int, load: ClientLoad, setup: LoadSetup, numbers: itertools.count[int]) -> None:
    """A shop's backend: registers, reads, lists, and cancels every other intent; every fourth is on the other chain."""
    chance = random.Random(number)
    cursors = {"status=pending": "", "status=confirmed": "", "chainId=97": "", "": ""}  # each list is read page by page

    async def think() -> None:
        await asyncio.sleep(load.think_s * chance.uniform(0.5, 1.5))

    await asyncio.sleep(load.think_s * chance.random() * 4)
    for turn in itertools.count():
        name = await register(setup, numbers, chain=OTHER_CHAIN if turn % 4 == 0 else CHAIN_ID)
        await think()
        await setup.call(READ, "GET", f"/intents/{name}")
        await think()
        await _turn_page(setup, cursors, chance)
        await think()
        if turn % 2:
            await setup.call(CANCEL, "DELETE", f"/intents/{name}")
        else:
            await setup.call(READ, "GET", f"/intents/{name}")
        await think()


async def _turn_page(setup: LoadSetup, cursors: dict[str, str], chance: random.Random) -> None:
    """Read on in one of the lists, from the beginning after its end."""
    which = chance.choice(list(cursors))
    where = cursors[which] and f"cursor={cursors[which]}"
    query = "&".join(filter(None, (f"limit={PAGE}", which, where)))
    page = await setup.call(LIST, "GET", f"/intents?{query}")
    cursors[which] = page["nextCursor"] or ""


async def register(setup: LoadSetup, numbers: itertools.count[int], *, chain: int = CHAIN_ID) -> str:
    """Register an intent; return its id."""
    return str((await _registered(setup, numbers, chain))["intentId"])


async def _registered(setup: LoadSetup, numbers: itertools.count[int], chain: int) -> dict[str, Any]:
    body = {
        "intentId": f"order-{next(numbers)}",
        "chainId": chain,
        "token": "USDT",
        "destination": ESCROW,
        "amount": str(AMOUNT),
        "callbackUrl": setup.hooks.url(),
        "callbackSecret": "a shared secret",
    }
    answer: dict[str, Any] = await setup.call(REGISTER, "POST", "/intents", body)
    setup.measurements.intents += 1
    return answer


async def _buyers(load: ClientLoad, setup: LoadSetup, numbers: itertools.count[int]) -> None:
    """Buyers come at their times, however busy the scanner is; return when the last one's payment was reported."""
    async with asyncio.TaskGroup() as group:
        async for _ in _at_a_rate(load.payments_a_second, load.length):
            group.create_task(_buyer(setup, numbers))
    measurements = setup.measurements
    await setup.hooks.wait_until(lambda: len(measurements.reported) >= measurements.paid, timeout_s=300)


async def _buyer(setup: LoadSetup, numbers: itertools.count[int]) -> None:
    intent = await _registered(setup, numbers, CHAIN_ID)
    await setup.pay(intent["paymentReference"], AMOUNT)


async def _at_a_rate(a_second: float, length: float) -> AsyncIterator[None]:
    """Come back so often a second, and make up for what came late, until the time is over."""
    began = time.monotonic()
    for number in itertools.count():
        due = began + number / a_second
        if due >= began + length:
            await asyncio.sleep(max(0.0, began + length - time.monotonic()))
            return
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield


async def _scrape(load: ClientLoad, setup: LoadSetup) -> None:
    """Prometheus asks once a poll."""
    while True:
        await setup.call(METRICS, "GET", "/metrics")
        await asyncio.sleep(POLL_S / load.pace)


async def _probe(setup: LoadSetup) -> None:
    """What touches nothing is late by as much as the event loop is."""
    while True:
        await setup.call(HEALTH, "GET", "/health")
        await asyncio.sleep(HEALTH_S)


async def _look(setup: LoadSetup) -> None:
    while True:
        setup.look()
        await asyncio.sleep(LOOK_S)
