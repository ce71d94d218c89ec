"""A stranger who sends thousands of payments in one transaction stops neither the process nor anybody's payment."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from devnet.evm.anvil import Anvil
from devnet.evm.local_node import call_data
from devnet.receiver import Receiver
from tests.harness import USDT, Running, environment, running

pytestmark = pytest.mark.anvil

DUST = 2_000
DUSTED, HONEST = (f"0x6{number:039x}" for number in (1, 2))
# 61 s once. By itself it is a few polls, and /health answers within 250 ms (`make bench ARGS=attack`); what else
# wants the machine while tests run makes both longer.
LONGEST_ANSWER_S = 5
LONGEST_CONFIRMATION_S = 20


async def listen(scanner: Running, took: list[float]) -> None:
    """Ask for /health all the time, as a liveness probe does."""
    while True:
        started = time.monotonic()
        await scanner.api.get("/health")
        took.append(time.monotonic() - started)
        await asyncio.sleep(0.05)  # between two probes


async def sell(scanner: Running, hooks: Receiver, to: str, amount: int) -> str:
    created = await scanner.api.create(rail="direct", destination=to, amount=str(amount), callbackUrl=hooks.url())
    return str(created["intentId"])


async def test_two_thousand_payments_of_one_unit_in_a_transaction_leave_others_their_service(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    stranger = await chain.deploy("Stranger")
    await chain.mined(await chain.send(USDT, call_data("mint(address,uint256)", stranger, 10**30)))
    took: list[float] = []
    async with running(environment(tmp_path, chain.url, POLL_INTERVAL_SEC="1")) as scanner:
        dusted = await sell(scanner, hooks, DUSTED, 10**18)
        honest = await sell(scanner, hooks, HONEST, 1000)
        listening = asyncio.create_task(listen(scanner, took))

        await chain.dust(stranger, USDT, DUSTED, DUST)
        await chain.transfer(USDT, HONEST, 1000)
        await chain.mine(12)
        await scanner.api.status_is(honest, "confirmed", timeout_s=LONGEST_CONFIRMATION_S)
        seen = await scanner.api.until(dusted, lambda intent: intent["transferCount"] == DUST, timeout_s=60)

        listening.cancel()
        assert (seen["status"], seen["amountReceived"]) == ("pending", str(DUST))
        assert max(took) < LONGEST_ANSWER_S
