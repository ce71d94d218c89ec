"""Several processes on one PostgreSQL: each payment once, whoever reads the chain, and whoever is gone."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from tests import postgres
from tests.harness import MERCHANT, SECRET, USDT, Api, Process, environment, process

pytestmark = pytest.mark.anvil

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
LEASE_S = 4.0


def shared(folder: Path, chain: Anvil, database: str, node: str) -> dict[str, str]:
    """Return the environment of one of several processes."""
    env = environment(
        folder,
        chain.url,
        DATABASE_URL=database,
        SCANNER_SECRET_KEY=KEY,
        SCANNER_NODE_ID=node,
        SCANNER_LEASE_SEC=str(LEASE_S),
    )
    del env["DB_PATH"]
    return env


@pytest.fixture
async def database(postgresql: postgres.Server) -> AsyncIterator[str]:
    async with postgresql.database() as url:
        yield url


@asynccontextmanager
async def cluster(folder: Path, chain: Anvil, database: str, count: int) -> AsyncIterator[dict[str, Process]]:
    """Start several processes at once on a fresh database."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        names = [f"node-{number}" for number in range(count)]
        started = await asyncio.gather(
            *(stack.enter_async_context(process(shared(folder, chain, database, name), session)) for name in names)
        )
        yield dict(zip(names, started, strict=True))


async def until_led(api: Api, *, but: str = "", timeout_s: float = 30) -> str:
    """Wait until somebody leads the chain and return who."""
    async with asyncio.timeout(timeout_s):
        while True:
            leader = (await api.chain())["leader"]
            if leader is not None and leader != but:
                return str(leader)
            await asyncio.sleep(0.05)


async def test_three_start_at_once_and_each_payment_is_reported_once(
    chain: Anvil, hooks: Receiver, tmp_path: Path, database: str
) -> None:
    async with cluster(tmp_path, chain, database, 3) as nodes:
        apis = [node.api for node in nodes.values()]
        created = await asyncio.gather(*(api.create(callbackUrl=hooks.url(), amount="5000") for api in apis * 3))
        for intent in created:
            await chain.pay(USDT, MERCHANT, 5000, intent["paymentReference"])
        await chain.mine(6)
        delivered = await hooks.wait_for(len(created))
        for api in apis:
            await api.status_is(created[0]["intentId"], "confirmed")
            assert (await api.call("GET", "/ready"))[0] == 200

    assert all(each.verified(SECRET) for each in delivered)
    assert Counter(each.json["intentId"] for each in hooks.deliveries) == Counter(
        intent["intentId"] for intent in created
    )


async def test_every_process_shows_the_same_status(chain: Anvil, tmp_path: Path, database: str) -> None:
    async with cluster(tmp_path, chain, database, 2) as nodes:
        leader = await until_led(next(iter(nodes.values())).api)
        async with asyncio.timeout(20):
            while True:  # what the leader shows is looked at once a second
                shown = [await node.api.get("/scanner/status") for node in nodes.values()]
                states = {chain["state"] for each in shown for chain in each["chains"]}
                if states == {"ready"} and all(len(each["nodes"]) == 2 for each in shown):
                    break
                await asyncio.sleep(0.1)

    for each in shown:
        assert {node["nodeId"]: node["leads"] for node in each["nodes"]} == {
            name: [97] if name == leader else [] for name in nodes
        }
        (state,) = each["chains"]
        assert state["leader"] == leader
        assert state["chainHead"] is not None
        assert state["tokens"]


@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_leader_that_is_gone_is_followed_within_two_leases_and_a_second(
    chain: Anvil, hooks: Receiver, tmp_path: Path, database: str, ends: signal.Signals
) -> None:
    async with cluster(tmp_path, chain, database, 2) as nodes:
        leader = await until_led(next(iter(nodes.values())).api)
        other = next(name for name in nodes if name != leader)
        created = await nodes[leader].api.create(callbackUrl=hooks.url(), amount="5000")
        nodes[leader].process.send_signal(ends)
        started = asyncio.get_running_loop().time()
        await until_led(nodes[other].api, but=leader)
        took = asyncio.get_running_loop().time() - started
        await chain.pay(USDT, MERCHANT, 5000, created["paymentReference"])
        await chain.mine(6)
        await nodes[other].api.status_is(created["intentId"], "confirmed")
        await hooks.wait_for(1)
        if ends == signal.SIGSTOP:
            nodes[leader].process.send_signal(signal.SIGCONT)
            await asyncio.sleep(3)  # for it to do what it should not: time is what is tested
            assert (await nodes[other].api.chain())["leader"] == other
            assert (await nodes[leader].api.chain())["leader"] == other

    assert took <= 2 * LEASE_S + 1
    assert [each.json["intentId"] for each in hooks.deliveries] == [created["intentId"]]


async def test_what_a_killed_process_was_sending_is_sent_by_another_under_the_same_ids(
    chain: Anvil, hooks: Receiver, tmp_path: Path, database: str
) -> None:
    """Killed between sending and writing down, which is when it matters: its receiver answers slowly."""
    hooks.behave_everywhere(pause_s=0.3)
    async with cluster(tmp_path, chain, database, 2) as nodes:
        apis = [node.api for node in nodes.values()]
        created = [
            await apis[number % 2].create(callbackUrl=hooks.url(f"/hook-{number}"), amount="5000")
            for number in range(12)
        ]
        for intent in created:
            await chain.pay(USDT, MERCHANT, 5000, intent["paymentReference"])
        await chain.mine(6)
        await hooks.wait_for(1)
        await next(iter(nodes.values())).kill()
        everybody = {intent["intentId"] for intent in created}
        await hooks.wait_until(lambda: {each.json["intentId"] for each in hooks.deliveries} == everybody, 40)

    assert {each.json["intentId"] for each in hooks.distinct.values()} == everybody
    assert len(hooks.distinct) == len(everybody)


async def test_a_recheck_works_from_a_process_that_does_not_lead(
    chain: Anvil, hooks: Receiver, tmp_path: Path, database: str
) -> None:
    async with cluster(tmp_path, chain, database, 2) as nodes:
        leader = await until_led(next(iter(nodes.values())).api)
        other = next(node for name, node in nodes.items() if name != leader)
        created = await other.api.create(callbackUrl=hooks.url(), amount="5000")
        tx = await chain.pay(USDT, MERCHANT, 5000, created["paymentReference"])
        await chain.mine(6)
        status, seen = await other.api.call("POST", f"/intents/{created['intentId']}/recheck", {"txHash": tx})

    assert status == 200
    assert seen["settled"]


async def test_without_the_database_every_answer_is_503_in_time_and_all_is_well_afterwards(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    server = postgres.Server.start()
    try:
        async with server.database() as url, cluster(tmp_path, chain, url, 1) as nodes:
            (node,) = nodes.values()
            created = await node.api.create(callbackUrl=hooks.url(), amount="5000")
            server.pause()
            loop = asyncio.get_running_loop()
            for method, path, body in (
                ("GET", "/ready", None),
                ("GET", "/intents", None),
                ("GET", "/scanner/status", None),
                ("DELETE", f"/intents/{created['intentId']}", None),
            ):
                began = loop.time()
                status, _ = await node.api.call(method, path, body)
                assert status == 503, path
                assert loop.time() - began <= 10, path
            assert (await node.api.call("GET", "/health"))[0] == 200
            server.resume()
            await _until_ready(node.api)
            again = await node.api.create(callbackUrl=hooks.url(), amount="5000")
            await chain.pay(USDT, MERCHANT, 5000, again["paymentReference"])
            await chain.mine(6)
            await node.api.status_is(again["intentId"], "confirmed", timeout_s=40)
            await hooks.wait_for(1)
    finally:
        server.stop()


async def _until_ready(api: Api) -> Any:
    async with asyncio.timeout(30):
        while True:
            status, answer = await api.call("GET", "/ready")
            if status == 200:
                return answer
            await asyncio.sleep(0.1)
