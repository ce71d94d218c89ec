"""A quiet poll costs one request, whichever nodes answer it, and nothing is missed for that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from devnet.evm.head_server import head_server
from devnet.evm.scripted_node import ScriptedNode, tx_hash
from tests.cases.scanned_nodes import ScannedNodes, run_scanned_nodes, shop
from tests.harness import USDT

NEVER_S = "3600"  # between two polls
LATEST = ["latest", False]


class Asked:
    """What a node is asked, request by request; it takes so many calls in one at the most."""

    def __init__(self, node: ScriptedNode, *, most: int = 100) -> None:
        self.requests: list[list[str]] = []
        self._most = most
        node.gateway = self

    def __call__(self, asked: Any) -> web.Response | None:
        calls = asked if isinstance(asked, list) else [asked]
        self.requests.append([call["method"] for call in calls])
        if len(calls) > self._most:
            said = {"code": -32600, "message": f"batch of more than {self._most} calls"}
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": said})
        return None

    def take(self) -> list[list[str]]:
        found, self.requests = self.requests, []
        return found


async def quiet(system: ScannedNodes, asked: Asked, *, grow: int, polls: int = 3) -> list[int]:
    """Poll a chain that grows, and return how many requests each poll took."""
    found = []
    for _ in range(polls):
        system.grow(grow)
        asked.take()
        await system.polled(1)
        found.append(len(asked.take()))
    return found


async def announced(system: ScannedNodes) -> None:
    """Wait until the socket's announcement of the newest block has arrived."""
    async with asyncio.timeout(10):
        while (await system.api.chain())["sockets"][0]["head"] != system.nodes[0].head:  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("grow", [0, 1, 40])
async def test_a_quiet_poll_is_one_request(tmp_path: Path, grow: int) -> None:
    async with run_scanned_nodes(tmp_path, POLL_INTERVAL_SEC=NEVER_S) as system:
        asked = Asked(system.nodes[0])
        await system.polled(1)
        assert await quiet(system, asked, grow=grow) == [1, 1, 1]
        (status,) = [await system.api.chain()]
    assert (status["state"], status["chainHead"]) == ("ready", system.nodes[0].head)


async def test_it_is_one_while_addresses_are_watched_of_intents_that_are_over(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path, POLL_INTERVAL_SEC=NEVER_S) as system:
        asked = Asked(system.nodes[0])
        intent = await system.direct(1, amount="1000")
        system.nodes[0].pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        system.grow(5)
        await system.polled(1)
        await system.api.status_is(intent["intentId"], "confirmed")
        system.scanner.worker._waited_at = None  # ten minutes later
        assert await quiet(system, asked, grow=2) == [1, 1, 1]
        system.nodes[0].pay(USDT, shop(1), 500, tx=tx_hash("late"))
        await system.polled(2)
        transfers = await system.api.unmatched()
    assert [(row["txHash"], row["amount"]) for row in transfers] == [(tx_hash("late"), "500")]


async def test_a_node_that_takes_three_calls_in_one_is_asked_in_as_few_requests(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path, POLL_INTERVAL_SEC=NEVER_S) as system:
        asked = Asked(system.nodes[0], most=3)
        await quiet(system, asked, grow=2)
        assert await quiet(system, asked, grow=2) == [2, 2, 2]
        assert (await system.api.chain())["state"] == "ready"


async def test_a_poll_with_a_payment_to_come_reads_to_the_newest_block(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path, POLL_INTERVAL_SEC=NEVER_S) as system:
        asked = Asked(system.nodes[0])
        await quiet(system, asked, grow=2)
        intent = await system.direct(1, amount="1000")
        system.grow(1)
        system.nodes[0].pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        await system.polled(1)
        await system.api.status_is(intent["intentId"], "confirming")


async def test_an_announced_block_is_asked_for_only_while_somebody_waits(tmp_path: Path) -> None:
    async with (
        head_server(97) as server,
        run_scanned_nodes(tmp_path, POLL_INTERVAL_SEC=NEVER_S, RPC_BSC_TESTNET_WS=server.url) as system,
    ):
        await asyncio.wait_for(server.subscribed.wait(), 10)
        await system.polled(1)  # the first poll of a start asks whoever waits or not
        asked = Asked(system.nodes[0])
        system.grow(1)
        await server.announce(system.nodes[0].head)
        await announced(system)
        intent = await system.direct(1, amount="1000")
        assert asked.take() == []
        system.grow(1)
        system.nodes[0].pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        await server.announce(system.nodes[0].head)
        await system.api.status_is(intent["intentId"], "confirming")
