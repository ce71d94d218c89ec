"""Endpoints that refuse batches in any spelling, long headers, passing faults: payments are confirmed all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devnet.evm.batch_refusals import BATCH_REFUSALS
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.evm.scripted_node import ScriptedNode, serve, tx_hash
from devnet.receiver import receiver
from tests.cases.scanned_nodes import TOKENS, ScannedNodes, shop
from tests.harness import USDT, environment, running
from tests.rounds import a_few_and_the_rest_long

pytestmark = pytest.mark.usefixtures("soon_asked_again")
PAYMENTS = 12


@asynccontextmanager
async def behind(folder: Path, **settings: str) -> AsyncIterator[tuple[FaultyRpc, ScannedNodes]]:
    """Run the daemon over one node behind an endpoint with manners of its own."""
    node = ScriptedNode(TOKENS)
    async with (
        serve(node) as target,
        FaultyRpc(target) as front,
        receiver() as hooks,
        running(environment(folder, front.url, **settings)) as scanner,
    ):
        yield front, ScannedNodes([node], scanner, hooks)


async def paid(system: ScannedNodes, first: int = 1) -> list[str]:
    """Pay a dozen intents, each in a block of its own; return them."""
    numbers = range(first, first + PAYMENTS)
    intents = [(await system.direct(number, amount="1000"))["intentId"] for number in numbers]
    for number in numbers:
        system.nodes[0].pay(USDT, shop(number), 1000, tx=tx_hash(f"payment {number}"))
    system.grow(6)
    return intents


async def confirmed(system: ScannedNodes, intents: list[str], timeout_s: float = 20) -> None:
    for intent_id in intents:
        await system.api.status_is(intent_id, "confirmed", timeout_s)


@pytest.mark.parametrize("most", [1, 3, 7])
@pytest.mark.parametrize("spelling", a_few_and_the_rest_long(BATCH_REFUSALS, every=9))
async def test_a_batch_refused_in_any_spelling_is_asked_smaller_in_the_same_poll(tmp_path, spelling, most):
    async with behind(tmp_path) as (front, system):
        front.most_calls, front.batch_refusal = most, spelling
        await confirmed(system, await paid(system))
        chain = await system.api.chain()
        assert (chain["state"], chain["lastError"]) == ("ready", None)
        (endpoint,) = system.scanner.worker.adapter.condition().endpoints
        assert endpoint.limits.batch is not None
        assert endpoint.limits.batch <= most


async def test_an_endpoint_that_begins_to_refuse_batches_loses_no_payment(tmp_path):
    async with behind(tmp_path) as (front, system):
        await confirmed(system, await paid(system))
        front.batches = False
        await confirmed(system, await paid(system, first=101))


async def test_a_node_and_a_receiver_with_long_headers_are_understood(tmp_path):
    async with behind(tmp_path) as (front, system):
        front.big_headers = True
        system.hooks.behave(headers={"X-Policy": "p" * 9_000})
        intents = await paid(system)
        await confirmed(system, intents)
        for intent_id in intents:
            await system.api.until(intent_id, lambda intent: intent["webhookDeliveredAt"] is not None)


# --- faults that pass ----------------------------------------------------------------------------


def limit_exceeded(front: FaultyRpc) -> None:
    front.fail("eth_getLogs", error=(-32005, "limit exceeded"))


def another_chain(front: FaultyRpc) -> None:
    front.chain_id = 1
    front.fail("eth_getLogs", status=502, times=1)  # after a failure an endpoint is asked which chain it serves


def refused(front: FaultyRpc) -> None:
    front.fail(status=403, body=b"forbidden")


def suspended(front: FaultyRpc) -> None:
    front.fail(status=429, body=b"too many requests per second", headers={"Retry-After": "3600"})


def no_logs(front: FaultyRpc) -> None:
    front.fail("eth_getLogs", error=(-32601, "the method eth_getLogs is not available"))


def nonsense(front: FaultyRpc) -> None:
    front.fail(status=200, body=b"<html>maintenance</html>")


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    "fault", a_few_and_the_rest_long([limit_exceeded, another_chain, refused, suspended, no_logs, nonsense], every=3)
)
async def test_an_only_endpoint_that_was_unwell_for_a_while_is_soon_used_again(tmp_path, fault):
    async with behind(tmp_path, POLL_INTERVAL_SEC="0.1") as (front, system):
        await system.polled()
        fault(front)
        intents = await paid(system)
        await _unwell(0.5)
        front.heal()
        await confirmed(system, intents)


async def _unwell(seconds: float) -> None:
    """Wait by the clock: what is tried here is how long a fault lasts."""
    await asyncio.sleep(seconds)
