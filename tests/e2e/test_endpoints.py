"""Endpoints that are stale, picky, slow or wrong: nothing is skipped, and the checkpoint never passes an unread block."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import PROXY, Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.receiver import Receiver
from tests.harness import MERCHANT, USDT, Running, environment, intent_body, running

pytestmark = pytest.mark.anvil


@pytest.fixture
async def rpc(chain: Anvil) -> AsyncIterator[FaultyRpc]:
    async with FaultyRpc(chain.url) as proxy:
        yield proxy


def checkpoint(folder: Path) -> int:
    with sqlite3.connect(folder / "scanner.db") as store:
        return int(store.execute("SELECT last_scanned_block FROM checkpoints").fetchone()[0])


async def pay(chain: Anvil, scanner: Running, hooks: Receiver) -> str:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
    await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
    await chain.mine(5)
    return str(created["intentId"])


async def told_once(scanner: Running, hooks: Receiver, intent_id: str) -> None:
    await scanner.api.until(intent_id, lambda intent: intent["webhookDeliveredAt"] is not None)
    assert [d.json["intentId"] for d in hooks.deliveries] == [intent_id]
    assert await scanner.api.reasons() == []


def env(folder: Path, *urls: str, **more: str) -> dict[str, str]:
    return environment(folder, ",".join(urls), RPC_TIMEOUT_SEC="0.5", **more)


async def test_a_stale_endpoint_that_answers_nothing_for_blocks_it_has_not_seen_skips_nothing(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path
) -> None:
    async with running(env(tmp_path, rpc.url)) as scanner:
        await scanner.worker.poll()
        seen = rpc.stale_at = await chain.height()
        created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
        await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
        await chain.mine(5)
        await scanner.worker.poll()
        assert checkpoint(tmp_path) <= seen

        rpc.stale_at = None
        await told_once(scanner, hooks, created["intentId"])


async def test_a_head_from_one_node_and_logs_from_a_staler_one_are_not_believed(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path
) -> None:
    async with running(env(tmp_path, rpc.url, POLL_INTERVAL_SEC="3600")) as scanner:
        await scanner.worker.poll()
        before = checkpoint(tmp_path)
        intent_id = await pay(chain, scanner, hooks)
        head = await scanner.worker.adapter.head()
        rpc.stale_at = before
        scanner.worker.adapter.head = constant(head)

        with pytest.raises(Exception, match="hold block"):
            await scanner.worker.poll()

        assert checkpoint(tmp_path) == before
        rpc.stale_at = None
        del scanner.worker.adapter.head
        async with asyncio.timeout(10):
            while checkpoint(tmp_path) == before:  # the endpoint rests a second after failing
                scanner.worker.wakeup.wake()
                await asyncio.sleep(0.1)  # its backoff goes by the real clock
        await told_once(scanner, hooks, intent_id)


def constant(value: Any) -> Callable[..., Any]:
    async def answer(*_: Any) -> Any:
        return value

    return answer


@pytest.mark.long  # each of these faults is in every few seeds of the simulator
@pytest.mark.parametrize("fault", ["no logs", "hangs", "wrong chain", "500", "429", "truncated", "not JSON"])
async def test_a_bad_endpoint_is_passed_over_for_a_good_one(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path, fault: str
) -> None:
    match fault:
        case "no logs":
            rpc.max_range = 0
        case "hangs":
            rpc.fail("eth_getLogs", hang=True)
        case "wrong chain":
            rpc.chain_id = 1
        case "500":
            rpc.fail("eth_getBlockByNumber", status=500)
        case "429":
            rpc.fail("eth_getBlockByNumber", status=429, headers={"Retry-After": "30"})
        case "truncated":
            rpc.fail("eth_getLogs", truncate=True)
        case _:
            rpc.fail("eth_getLogs", body=b"<html>busy</html>")
    async with running(env(tmp_path, rpc.url, chain.url)) as scanner:
        intent_id = await pay(chain, scanner, hooks)
        await told_once(scanner, hooks, intent_id)
        assert (await scanner.api.chain())["endpoint"].endswith("#2") or fault == "no logs"
        rpc.release()


@pytest.mark.long  # each of these faults is in every few seeds of the simulator
@pytest.mark.parametrize("fault", ["no logs", "500", "truncated", "wrong chain"])
async def test_a_bad_endpoint_alone_moves_no_checkpoint_and_loses_nothing_when_it_recovers(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path, fault: str
) -> None:
    environment_ = env(tmp_path, rpc.url)
    async with running(environment_) as scanner:
        await scanner.worker.poll()
    before = checkpoint(tmp_path)
    if fault != "wrong chain":  # else blocks are read receipt by receipt
        rpc.unserved = frozenset({"eth_getBlockReceipts", "eth_getTransactionReceipt"})
    match fault:
        case "no logs":
            rpc.max_range = 0
        case "500":
            rpc.fail("eth_getLogs", status=500)
        case "truncated":
            rpc.fail("eth_getLogs", truncate=True)
        case _:
            rpc.chain_id = 1
    async with running(environment_) as scanner:
        intent_id = await pay(chain, scanner, hooks)
        await failing(scanner)
        assert checkpoint(tmp_path) == before
        assert (await scanner.api.intent(intent_id))["status"] == "pending"
    rpc.heal()

    async with running(environment_) as scanner:
        await told_once(scanner, hooks, intent_id)


async def test_what_was_paid_before_the_chain_could_be_read_for_the_first_time_is_found(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path
) -> None:
    away = rpc.fail(status=503)
    async with running(env(tmp_path, rpc.url)) as scanner:
        intent_id = await pay(chain, scanner, hooks)
        await failing(scanner)
        await chain.mine(60)
        away.times = 0

        await told_once(scanner, hooks, intent_id)


async def failing(scanner: Running) -> dict[str, Any]:
    """Wait until the status shows the failure."""
    async with asyncio.timeout(10):
        while (found := await scanner.api.chain())["state"] != "failing":  # noqa: ASYNC110 - seen over HTTP
            await asyncio.sleep(0.02)
    assert found["lastError"]
    return found


async def test_a_wrong_chain_is_named_in_the_status(chain: Anvil, rpc: FaultyRpc, tmp_path: Path) -> None:
    rpc.chain_id = 1
    async with running(env(tmp_path, rpc.url)) as scanner:
        found = await failing(scanner)

    assert "serves chain 1, expected chain 97" in found["lastError"]


async def test_ranges_are_learnt_from_refusals(chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path) -> None:
    async with running(env(tmp_path, rpc.url, POLL_INTERVAL_SEC="3600")) as scanner:
        await scanner.worker.poll()
        rpc.max_range = 7
        intent_id = await pay(chain, scanner, hooks)
        await chain.mine(60)

        await scanner.worker.poll()

        assert checkpoint(tmp_path) == await chain.height()
        await told_once(scanner, hooks, intent_id)


async def test_an_endpoint_without_batches_is_read(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path
) -> None:
    rpc.batches = False
    async with running(env(tmp_path, rpc.url)) as scanner:
        await told_once(scanner, hooks, await pay(chain, scanner, hooks))


async def test_doubled_and_shuffled_logs_are_one_payment_each(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path
) -> None:
    rpc.repeats_logs = rpc.reorders_logs = rpc.reorders_batches = True
    async with running(env(tmp_path, rpc.url)) as scanner:
        await told_once(scanner, hooks, await pay(chain, scanner, hooks))


async def test_logs_that_were_kept_back_at_first_are_found_when_the_last_minute_is_read_again(
    chain: Anvil, rpc: FaultyRpc, hooks: Receiver, tmp_path: Path
) -> None:
    async with running(env(tmp_path, rpc.url, POLL_INTERVAL_SEC="3600")) as scanner:
        await scanner.worker.poll()
        rpc.loses = lambda log: True
        created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
        await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
        await scanner.worker.poll()
        assert (await scanner.api.intent(created["intentId"]))["transfers"] == []

        rpc.loses = None
        await chain.mine(1)
        await scanner.worker.poll()

        assert (await scanner.api.intent(created["intentId"]))["status"] == "confirming"


async def test_a_registry_that_promises_a_proxy_that_is_not_there_is_shown(chain: Anvil, tmp_path: Path) -> None:
    await chain.rpc("anvil_setCode", [PROXY, "0x"])
    async with running(env(tmp_path, chain.url)) as scanner:
        await scanner.worker.poll()
        assert PROXY in str((await scanner.api.chain())["problems"])


async def test_a_token_that_disagrees_with_the_registry_is_shown_and_refused(chain: Anvil, tmp_path: Path) -> None:
    await chain.token("USDT", 6, at=USDT)
    async with running(env(tmp_path, chain.url)) as scanner:
        await scanner.worker.poll()
        assert "6 decimals" in str((await scanner.api.chain())["problems"])
        status, answer = await scanner.api.call("POST", "/intents", intent_body())
        assert (status, answer["code"]) == (400, "token_mismatch")
