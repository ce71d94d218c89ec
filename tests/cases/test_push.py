"""Sockets for new heads: a payment is told when its block is announced, and never because of what a socket says."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from devnet.evm.anvil import CHAIN_ID
from devnet.evm.head_server import HeadServer, SocketFault, head_server
from devnet.evm.scripted_node import tx_hash
from tests.cases.scanned_nodes import ScannedNodes, run_scanned_nodes, shop
from tests.harness import USDT

PAID = tx_hash("paid")
SOCKETS = "RPC_BSC_TESTNET_WS"
UNSUBSCRIBED = {SocketFault.REFUSES, SocketFault.OTHER_CHAIN}
NEVER_S = "3600"  # between two polls


async def grow(system: ScannedNodes, server: HeadServer, blocks: int) -> None:
    """Let the node see more blocks, and the socket announce each of them."""
    for _ in range(blocks):
        system.grow(1)
        await server.announce(system.nodes[0].head)


async def test_a_payment_is_told_when_the_block_of_its_depth_is_announced(tmp_path: Path) -> None:
    async with (
        head_server(CHAIN_ID) as server,
        run_scanned_nodes(tmp_path, POLL_INTERVAL_SEC=NEVER_S, **{SOCKETS: server.url}) as system,
    ):
        await asyncio.wait_for(server.subscribed.wait(), 10)
        intent = await system.direct(1, amount="1000")
        system.nodes[0].pay(USDT, shop(1), 1000, tx=PAID)
        await server.announce(system.nodes[0].head)
        await system.api.status_is(intent["intentId"], "confirming")
        await grow(system, server, 4)
        (told,) = await system.hooks.wait_for(1)
        (socket,) = (await system.api.chain())["sockets"]
        metrics = await system.api.get("/metrics")

    assert told.json["eventType"] == "payment.confirmed"
    assert socket == {
        "label": f"{server.url[5:-1]}#1",
        "state": "connected",
        "head": system.nodes[0].head,
        "lastError": None,
    }
    for event, count in (("head", "5.0"), ("failure", "0.0")):
        line = f'amn_scanner_socket_events_total{{chain="97",event="{event}",socket="{socket["label"]}"}} {count}'
        assert line in metrics


@pytest.mark.parametrize("fault", SocketFault)
async def test_whatever_a_socket_does_a_payment_is_confirmed_once_by_the_polls(
    tmp_path: Path, fault: SocketFault
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(head_server(CHAIN_ID))
        server.fault = fault
        settings = {"POLL_INTERVAL_SEC": "0.2", SOCKETS: server.url}
        system = await stack.enter_async_context(run_scanned_nodes(tmp_path, **settings))
        if fault not in UNSUBSCRIBED:
            await asyncio.wait_for(server.subscribed.wait(), 10)
        intent = await system.direct(1, amount="1000")
        system.nodes[0].pay(USDT, shop(1), 1000, tx=PAID)
        await grow(system, server, 4)
        confirmed = await system.api.status_is(intent["intentId"], "confirmed")
        (told,) = await system.hooks.wait_for(1)
        chain = await system.api.chain()

    assert (told.json["txHash"], confirmed["amountReceived"]) == (PAID, "1000")
    assert (chain["state"], chain["problems"], chain["chainHead"]) == ("ready", [], system.nodes[0].head)
