"""A real node announces its blocks, and a payment is told without waiting for a poll."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from tests.harness import MERCHANT, USDT, environment, running

pytestmark = pytest.mark.anvil
NEVER_S = "3600"


async def test_a_payment_is_told_at_its_depth_though_no_poll_is_due(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    socket = chain.url.replace("http:", "ws:")
    env = environment(tmp_path, chain.url, POLL_INTERVAL_SEC=NEVER_S, RPC_BSC_TESTNET_WS=socket)
    async with running(env) as scanner:
        while (await scanner.api.chain())["sockets"][0]["state"] != "connected":
            await chain.mine(1)  # what is announced before it subscribed is not heard
            await asyncio.sleep(0.05)
        created = await scanner.api.create(callbackUrl=hooks.url(), amount="5000")
        await chain.pay(USDT, MERCHANT, 5000, created["paymentReference"])
        await scanner.api.status_is(created["intentId"], "confirming")
        await chain.mine(5)
        (told,) = await hooks.wait_for(1)

    assert told.json["status"] == "confirmed"
