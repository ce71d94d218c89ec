"""A host clock that is off turns no payment away, and is named."""

from __future__ import annotations

import time

import pytest

from devnet.receiver import receiver
from devnet.scripted_rpc import ScriptedNode, serve, tx_hash
from tests.cases.evm_nodes import TOKENS, Street, shop
from tests.harness import USDT, FakeClock, environment, running


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
