"""SIGTERM in the middle of polls, deliveries and requests: a clean exit, and nothing half-written."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devnet.evm.anvil import Anvil, ProxyPayment
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.receiver import Receiver
from tests.harness import MERCHANT, USDT, Api, environment, intent_body, process

pytestmark = [pytest.mark.anvil, pytest.mark.process]

BUSY = 40


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "scanner.db") as store:
        return store.execute(sql).fetchall()


def assert_whole(folder: Path) -> None:
    """Nothing in the store contradicts anything else in it."""
    assert rows(folder, "PRAGMA integrity_check") == [("ok",)]
    assert rows(folder, "PRAGMA foreign_key_check") == []
    settled = rows(folder, "SELECT intent_id FROM intents WHERE status IN ('confirmed', 'webhook_failed') ORDER BY 1")
    reported = "SELECT subject_id FROM events WHERE event_type = 'payment.confirmed' ORDER BY 1"
    assert rows(folder, reported) == settled
    acknowledged = "SELECT intent_id FROM intents WHERE webhook_delivered_at IS NOT NULL ORDER BY 1"
    assert rows(folder, f"{reported.removesuffix('ORDER BY 1')} AND status = 'delivered' ORDER BY 1") == rows(
        folder, acknowledged
    )
    kept = "SELECT count(*) FROM attempts WHERE ok = 1"
    assert rows(folder, kept) == rows(folder, "SELECT count(*) FROM events WHERE status = 'delivered'")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def registering(api: Api, hooks: Receiver, answered: list[str], name: str) -> None:
    """A backend that registers one intent after the other until nobody answers any more."""
    number = 0
    while True:
        body = intent_body(intentId=f"{name}-{number}", callbackUrl=hooks.url())
        try:
            status, answer = await api.call("POST", "/intents", body)
        except aiohttp.ClientError:
            return
        assert status == 200, answer
        answered.append(answer["intentId"])
        number += 1


async def paid(api: Api, chain: Anvil, hooks: Receiver, count: int) -> None:
    """Have so many intents confirmed at once."""
    created = [await api.create(callbackUrl=hooks.url(), amount="1000") for _ in range(count)]
    await chain.pay_together([ProxyPayment(USDT, MERCHANT, 1000, c["paymentReference"]) for c in created])
    await chain.mine(5)


async def test_asked_to_stop_in_the_middle_of_everything_it_ends_cleanly_and_loses_nothing(
    chain: Anvil, hooks: Receiver, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    env = environment(tmp_path, chain.url)
    answered: list[str] = []
    hooks.behave(pause_s=0.3)
    async with process(env, session) as scanner:
        backends = [
            asyncio.create_task(registering(scanner.api, hooks, answered, f"backend{number}")) for number in range(8)
        ]
        await paid(scanner.api, chain, hooks, BUSY)
        await hooks.wait_for(5)
        async with asyncio.timeout(20):
            assert await scanner.terminate() == 0
            await asyncio.gather(*backends)
        lines = "".join(scanner.output)

    assert "stopping" in lines
    assert "stopped" in lines
    assert "Traceback" not in lines
    assert_whole(tmp_path)
    stored = {row[0] for row in rows(tmp_path, "SELECT intent_id FROM intents")}
    assert set(answered) <= stored  # whatever was acknowledged is there
    assert len(answered) > len(backends)
    delivered = rows(tmp_path, "SELECT count(*) FROM events WHERE status = 'delivered'")
    assert delivered == [(len(hooks.deliveries),)], lines[-6000:]  # what was under way was finished and written down

    hooks.behave(pause_s=0)
    async with process(env, session) as scanner:
        await hooks.wait_until(lambda: len(hooks.distinct) == BUSY)
        assert await scanner.terminate() == 0
    assert len(hooks.deliveries) == BUSY


async def test_asked_to_stop_while_a_node_hangs_it_does_not_wait_for_the_node(
    chain: Anvil, hooks: Receiver, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with FaultyRpc(chain.url) as rpc:
        env = environment(tmp_path, rpc.url, RPC_TIMEOUT_SEC="60")
        async with process(env, session) as scanner:
            await scanner.api.create(callbackUrl=hooks.url())
            rpc.fail("eth_getBlockByNumber", hang=True)
            await rpc.called("eth_getBlockByNumber", rpc.calls["eth_getBlockByNumber"] + 1)

            async with asyncio.timeout(10):
                assert await scanner.terminate() == 0
        rpc.release()
    assert_whole(tmp_path)


async def test_a_receiver_that_hangs_holds_the_end_up_no_longer_than_its_timeout(
    chain: Anvil, hooks: Receiver, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    hooks.behave(hang=True)
    env = environment(tmp_path, chain.url, WEBHOOK_TIMEOUT_SEC="1")
    async with process(env, session) as scanner:
        await paid(scanner.api, chain, hooks, 3)
        await hooks.wait_for(3)

        async with asyncio.timeout(10):
            assert await scanner.terminate() == 0

    assert_whole(tmp_path)
    assert rows(tmp_path, "SELECT DISTINCT status FROM events") == [("pending",)]
    assert {row[0] for row in rows(tmp_path, "SELECT error FROM attempts")} == {"timeout"}


async def test_a_second_signal_ends_it_at_once_and_the_store_stays_whole(
    chain: Anvil, hooks: Receiver, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    hooks.behave(hang=True)
    env = environment(tmp_path, chain.url, WEBHOOK_TIMEOUT_SEC="60")
    async with process(env, session) as scanner:
        await paid(scanner.api, chain, hooks, 3)
        await hooks.wait_for(3)
        scanner.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while not any("stopping" in line for line in scanner.output):  # noqa: ASYNC110 - seen in its output
                await asyncio.sleep(0.01)

        async with asyncio.timeout(5):
            assert await scanner.terminate() == -signal.SIGTERM

    assert_whole(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_idle_daemon_stops_at_either_signal(
    chain: Anvil, tmp_path: Path, session: aiohttp.ClientSession, number: signal.Signals
) -> None:
    async with process(environment(tmp_path, chain.url), session) as scanner:
        scanner.process.send_signal(number)

        async with asyncio.timeout(10):
            assert await scanner.process.wait() == 0
