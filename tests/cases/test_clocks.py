"""A host clock that is off turns no payment away, and is named."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devnet.receiver import receiver
from devnet.scripted_rpc import ScriptedNode, serve, tx_hash
from tests.cases.evm_nodes import TOKENS, Street, shop
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
        town = Street([node], scanner, hooks)
        await town.polled()
        node.head += blocks_before
        await town.polled()
        intent = await town.direct(1, amount="1000")
        node.pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        node.head += 6
        await town.api.status_is(intent["intentId"], "confirmed")
        assert await town.api.reasons() == []
        assert any("clock" in problem for problem in (await town.api.chain())["problems"])


@asynccontextmanager
async def unread_town(folder: Path, *, ahead_s: int, node: ScriptedNode) -> AsyncIterator[Street]:
    """Run the daemon by a host clock that is ahead, over a node that does not answer yet."""
    node.down = True
    clock = FakeClock(int((time.time() + ahead_s) * 1000))
    async with (
        serve(node) as url,
        receiver() as hooks,
        running(environment(folder, url), clock=clock) as scanner,
    ):
        yield Street([node], scanner, hooks)


@pytest.mark.parametrize("ahead_s", [1200, 660, 86_400])
async def test_nor_what_was_registered_before_the_chain_could_be_read(tmp_path, ahead_s):
    node = ScriptedNode(TOKENS)
    async with unread_town(tmp_path, ahead_s=ahead_s, node=node) as town:
        intent = await town.direct(1, amount="1000")
        node.down = False
        node.pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        node.head += 6
        await town.api.status_is(intent["intentId"], "confirmed")
        assert await town.api.reasons() == []


async def test_what_came_long_before_it_is_not_its_own_all_the_same(tmp_path):
    node = ScriptedNode(TOKENS)
    node.pay(USDT, shop(1), 1000, tx=tx_hash("long before"))
    node.head += ELEVEN_MINUTES
    async with unread_town(tmp_path, ahead_s=1200, node=node) as town:
        intent, other = await town.direct(1, amount="1000"), await town.direct(2, amount="1000")
        node.down = False
        node.pay(USDT, shop(2), 1000, tx=tx_hash("paid"))
        node.head += 6
        await town.api.status_is(other["intentId"], "confirmed")
        assert (await town.api.intent(intent["intentId"]))["status"] == "pending"
