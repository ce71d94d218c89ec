"""A host clock that is off turns no payment away, and is named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from devnet.evm.scripted_node import ScriptedNode, serve, tx_hash
from devnet.receiver import receiver
from kernel.clock import SystemClock
from kernel.store.database import Database
from scanner.store import tables
from tests.cases.scanned_nodes import TOKENS, ScannedNodes, shop
from tests.harness import USDT, FakeClock, environment, running

ELEVEN_MINUTES = 660  # blocks


@pytest.mark.parametrize("blocks_before", [0, 1, 30])
@pytest.mark.parametrize("ahead_s", [1200, 660, 86_400])
async def test_a_payment_is_confirmed_while_the_hosts_clock_is_ahead(tmp_path, ahead_s, blocks_before):
    node, clock = ScriptedNode(TOKENS), FakeClock(int((time.time() + ahead_s) * 1000))
    async with (
        serve(node) as url,
        receiver() as hooks,
        running(environment(tmp_path, url), clock=clock) as scanner,
    ):
        system = ScannedNodes([node], scanner, hooks)
        await system.polled()
        node.head += blocks_before
        await system.polled()
        intent = await system.direct(1, amount="1000")
        node.pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        node.head += 6
        await system.api.status_is(intent["intentId"], "confirmed")
        assert await system.api.reasons() == []
        assert any("clock" in problem for problem in (await system.api.chain())["problems"])


@asynccontextmanager
async def unread_town(folder: Path, *, ahead_s: int, node: ScriptedNode) -> AsyncIterator[ScannedNodes]:
    """Run the daemon by a host clock that is ahead, over a node that does not answer yet."""
    node.down = True
    clock = FakeClock(int((time.time() + ahead_s) * 1000))
    async with (
        serve(node) as url,
        receiver() as hooks,
        running(environment(folder, url), clock=clock) as scanner,
    ):
        yield ScannedNodes([node], scanner, hooks)


@pytest.mark.parametrize("ahead_s", [1200, 660, 86_400])
async def test_nor_what_was_registered_before_the_chain_could_be_read(tmp_path, ahead_s):
    node = ScriptedNode(TOKENS)
    async with unread_town(tmp_path, ahead_s=ahead_s, node=node) as system:
        intent = await system.direct(1, amount="1000")
        node.down = False
        node.pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        node.head += 6
        await system.api.status_is(intent["intentId"], "confirmed")
        assert await system.api.reasons() == []


async def test_what_came_long_before_it_is_not_its_own_all_the_same(tmp_path):
    node = ScriptedNode(TOKENS)
    node.pay(USDT, shop(1), 1000, tx=tx_hash("long before"))
    node.head += ELEVEN_MINUTES
    async with unread_town(tmp_path, ahead_s=1200, node=node) as system:
        intent, other = await system.direct(1, amount="1000"), await system.direct(2, amount="1000")
        node.down = False
        node.pay(USDT, shop(2), 1000, tx=tx_hash("paid"))
        node.head += 6
        await system.api.status_is(other["intentId"], "confirmed")
        assert (await system.api.intent(intent["intentId"]))["status"] == "pending"


class Wall:
    """A machine's clock that somebody sets."""

    def __init__(self) -> None:
        self.off_s = 0

    def clock(self) -> SystemClock:
        return SystemClock(wall_ns=lambda: time.time_ns() + self.off_s * 10**9)


@asynccontextmanager
async def refused_once(folder: Path, wall: Wall, node: ScriptedNode, **settings: str) -> AsyncIterator[ScannedNodes]:
    """Run the daemon until the webhook of a payment was refused once; the next attempt is in two seconds."""
    env = {"WEBHOOK_RETRY_DELAYS_SEC": "2,1", "WEBHOOK_RETRY_HOURS": "0"} | settings
    async with (
        serve(node) as url,
        receiver() as hooks,
        running(environment(folder, url, **env), clock=wall.clock()) as scanner,
    ):
        hooks.behave(statuses=[503])
        system = ScannedNodes([node], scanner, hooks)
        await system.polled()
        intent = await system.direct(1, amount="1000")
        node.pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        node.head += 6
        await system.api.until(intent["intentId"], lambda shown: len(attempts(shown)) == 1)
        yield system


def attempts(intent: dict[str, Any]) -> list[Any]:
    return [each for delivery in intent["deliveries"] for each in delivery["attempts"]]


def seconds_of(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


async def the_intent(system: ScannedNodes) -> dict[str, Any]:
    (intent,) = (await system.api.get("/intents"))["intents"]
    return dict(await system.api.intent(intent["intentId"]))


@pytest.mark.long
@pytest.mark.parametrize("back_s", [1200, 365 * 86_400])
async def test_a_clock_that_is_set_back_delays_no_webhook(tmp_path, back_s):
    wall = Wall()
    async with refused_once(tmp_path, wall, ScriptedNode(TOKENS)) as system:
        wall.off_s = -back_s
        system.hooks.behave(statuses=[200])
        shown = await the_intent(system)
        await system.api.until(shown["intentId"], lambda intent: intent["webhookDeliveredAt"], timeout_s=10)
        reported = system.hooks.deliveries[-1]
        assert abs(int(reported.headers["webhook-timestamp"]) + back_s - reported.at) < 5
        shown = await the_intent(system)
        assert abs(int(reported.headers["webhook-timestamp"]) - seconds_of(shown["webhookDeliveredAt"])) < 5


@pytest.mark.long
async def test_one_that_is_set_forward_ends_no_wait_early(tmp_path):
    wall = Wall()
    async with refused_once(tmp_path, wall, ScriptedNode(TOKENS), WEBHOOK_RETRY_DELAYS_SEC="4") as system:
        wall.off_s = 1200
        await asyncio.sleep(2)  # half of the wait: nothing must be sent in this time
        system.scanner.daemon.dispatcher.wakeup.wake()  # as any other event would
        await asyncio.sleep(1)  # still within the wait: nothing must be sent
        assert len(system.hooks.deliveries) == 1
        system.hooks.behave(statuses=[200])
        shown = await the_intent(system)
        await system.api.until(shown["intentId"], lambda intent: intent["webhookDeliveredAt"], timeout_s=10)


async def test_nor_does_one_that_is_set_back_while_nobody_runs(tmp_path):
    wall, node = Wall(), ScriptedNode(TOKENS)
    async with refused_once(tmp_path, wall, node, WEBHOOK_RETRY_DELAYS_SEC="3,1"):
        pass
    wall.off_s = -1200
    async with (
        serve(node) as url,
        running(environment(tmp_path, url, WEBHOOK_RETRY_DELAYS_SEC="3,1"), clock=wall.clock()) as scanner,
    ):
        await tried_again(scanner.database, 2)


async def tried_again(db: Database, times: int) -> None:
    """Wait until so many attempts are written down: the receiver of the first run is gone."""
    async with asyncio.timeout(10):
        while True:
            async with db.read() as tx:
                if (await tx.execute(select(func.count()).select_from(tables.attempts))).scalar_one() >= times:
                    return
            await asyncio.sleep(0.05)  # seen in the store
