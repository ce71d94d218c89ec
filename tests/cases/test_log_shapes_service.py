"""The daemon with endpoints that refuse shapes of questions for logs, and with strangers who fill blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chains.evm.events import TRANSFER_TOPIC
from devnet.evm.anvil import Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.receiver import Receiver
from tests.harness import MERCHANT, USDT, Running, environment, running

pytestmark = [pytest.mark.anvil, pytest.mark.usefixtures("soon_asked_again")]

SPAMMER = "0x" + "ee" * 20


def assembled() -> str:
    """Return a contract that prints so many Transfer logs of one unit to an address: both are its call data."""
    store, count, loop = "6001600052", "602035", "5b8015"
    start = len(store + count) // 2
    print_one = f"60003533 7f{TRANSFER_TOPIC[2:]} 60206000a3 60019003 60{start:02x}56".replace(" ", "")
    end = start + (len(loop) + 6 + len(print_one)) // 2
    return f"0x{store}{count}{loop}60{end:02x}57{print_one}5b00"


async def spam(chain: Anvil, to: str, count: int) -> None:
    """Let a stranger print worthless logs to an address, all in one block."""
    await chain.rpc("anvil_setCode", [SPAMMER, assembled()])
    await chain.send(SPAMMER, f"0x{to[2:]:0>64}{count:064x}", gas=hex(29_000_000))


def fresh(number: int) -> str:
    return f"0x2{number:039x}"


def env(folder: Path, *urls: str) -> dict[str, str]:
    return environment(folder, ",".join(urls), RPC_TIMEOUT_SEC="2")


@pytest.fixture
async def rpc(chain: Anvil) -> AsyncIterator[FaultyRpc]:
    async with FaultyRpc(chain.url) as proxy:
        yield proxy


async def both_rails(chain: Anvil, scanner: Running, hooks: Receiver, *, others: int = 0) -> list[str]:
    """Register one payment on each rail and some that nobody pays; pay the two; return their ids."""
    for number in range(others):
        await scanner.api.create(rail="direct", destination=fresh(100 + number), callbackUrl=hooks.url())
    proxied = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
    direct = await scanner.api.create(rail="direct", destination=fresh(1), callbackUrl=hooks.url(), amount="1000")
    await chain.pay(USDT, MERCHANT, 1000, proxied["paymentReference"])
    await chain.transfer(USDT, fresh(1), 1000)
    return [proxied["intentId"], direct["intentId"]]


async def all_confirmed(chain: Anvil, scanner: Running, intents: list[str]) -> None:
    await chain.mine(6)
    for intent_id in intents:
        await scanner.api.until(intent_id, lambda intent: intent["status"] == "confirmed")


async def test_one_direct_payment_does_not_stop_a_chain_whose_endpoint_wants_addresses(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path
) -> None:
    rpc.needs_address = True
    async with running(env(tmp_path, rpc.url)) as scanner:
        await all_confirmed(chain, scanner, await both_rails(chain, scanner, hooks))
        shown: dict[str, Any] = await scanner.api.chain()
        assert shown["state"] == "ready"
        direct = await scanner.api.create(rail="direct", destination=fresh(2), callbackUrl=hooks.url())
        assert [warning["code"] for warning in direct["warnings"]] == ["other_tokens_unseen"]
        assert (await scanner.api.create(callbackUrl=hooks.url()))["warnings"] == []


@pytest.mark.parametrize("most", [20, 3])
async def test_more_direct_payments_than_a_topic_position_takes_are_all_seen(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path, most: int
) -> None:
    rpc.most_topics = most
    async with running(env(tmp_path, rpc.url)) as scanner:
        await all_confirmed(chain, scanner, await both_rails(chain, scanner, hooks, others=21))


@pytest.mark.parametrize("endpoints", [1, 2])
@pytest.mark.parametrize("receipts", [True, False])
async def test_a_block_a_stranger_filled_is_passed_and_the_payment_in_it_found(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path, endpoints: int, receipts: bool
) -> None:
    async with FaultyRpc(chain.url) as second:
        for endpoint in (rpc, second):
            endpoint.most_rows = 200
            endpoint.unserved = frozenset() if receipts else frozenset({"eth_getBlockReceipts"})
        urls = [rpc.url, second.url][:endpoints]
        async with running(env(tmp_path, *urls)) as scanner:
            await chain.automine(on=False)
            await spam(chain, fresh(1), 250)
            intents = await both_rails(chain, scanner, hooks, others=3)
            await chain.automine(on=True)
            await all_confirmed(chain, scanner, intents)
            async with asyncio.timeout(10):
                while (await scanner.api.chain())["state"] != "ready":
                    await scanner.worker.poll()


async def test_an_endpoint_that_serves_no_logs_is_read_by_receipts(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path
) -> None:
    rpc.max_range = 0
    async with running(env(tmp_path, rpc.url)) as scanner:
        await all_confirmed(chain, scanner, await both_rails(chain, scanner, hooks))


@pytest.mark.parametrize("message", ["limit exceeded", "Internal error"])
async def test_a_while_without_logs_is_over_when_it_is_over(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path, message: str
) -> None:
    rpc.unserved = frozenset({"eth_getBlockReceipts", "eth_getTransactionReceipt"})
    fault = rpc.fail("eth_getLogs", error=(-32005, message))
    async with running(env(tmp_path, rpc.url)) as scanner:
        intents = await both_rails(chain, scanner, hooks)
        await rpc.called("eth_getLogs")
        await rpc.called("eth_getLogs", times=3)  # the fault lasts over several polls
        fault.times = 0
        rpc.unserved = frozenset()
        async with asyncio.timeout(45):
            await all_confirmed(chain, scanner, intents)
