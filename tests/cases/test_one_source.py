"""Head, finality, blocks and receipts that decide one confirmation on an EVM chain are of one chain and one endpoint."""

from __future__ import annotations

import pytest

from devnet.evm.scripted_node import tx_hash
from tests.cases.scanned_nodes import run_scanned_nodes, shop
from tests.harness import USDT

pytestmark = pytest.mark.usefixtures("soon_asked_again")
PAID = tx_hash("paid")
UNKNOWN = {
    "-39001": ("error", {"code": -39001, "message": "Unknown block"}),
    "null": ("result", None),
    "a refused tag": ("error", {"code": -32602, "message": "invalid argument 0: hex string without 0x prefix"}),
    "in words": ("error", {"code": -32000, "message": "finalized block not found"}),
    "an empty block": ("result", {}),
}


def without_finalized(answer):
    return lambda asked: answer if asked[0] == "finalized" else None


@pytest.mark.parametrize("finality", ["both", "finalized"])
async def test_a_fork_as_high_as_the_head_confirms_nothing(tmp_path, finality):
    """The first endpoint has the head and its finality, the second shows logs of another chain above block 1000."""
    async with run_scanned_nodes(tmp_path, 2, chain={"finality": finality}) as system:
        head, fork = system.nodes
        fork.fork_from, fork.finalized = 1001, 1000
        intent = await system.direct(1, amount="1000")
        system.grow(4)
        fork.pay(USDT, shop(1), 1000, tx=PAID)
        head.head += 1
        head.overrides["eth_getLogs"] = lambda _: ("error", {"code": -32005, "message": "limit exceeded"})
        system.grow(40)
        await system.api.status_is(intent["intentId"], "confirming")
        for _ in range(8):
            await system.polled(1)
            assert (await system.api.intent(intent["intentId"]))["status"] == "confirming"


@pytest.mark.parametrize("finality", ["both", "finalized"])
@pytest.mark.parametrize("answer", UNKNOWN)
async def test_who_cannot_tell_what_is_final_is_not_asked(tmp_path, finality, answer):
    async with run_scanned_nodes(tmp_path, 2, chain={"finality": finality}) as system:
        blind, _ = system.nodes
        blind.overrides["eth_getBlockByNumber"] = without_finalized(UNKNOWN[answer])
        intent = await system.direct(1, amount="1000")
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(20)
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.parametrize("answer", UNKNOWN)
async def test_when_nobody_can_tell_what_is_final_the_chain_says_so_and_the_payment_waits(tmp_path, answer):
    async with run_scanned_nodes(tmp_path, 1, chain={"finality": "both"}) as system:
        (node,) = system.nodes
        node.overrides["eth_getBlockByNumber"] = without_finalized(UNKNOWN[answer])
        intent = await system.direct(1, amount="1000")
        node.pay(USDT, shop(1), 1000, tx=PAID)
        node.head += 20
        await system.api.status_is(intent["intentId"], "confirming")
        await system.polled(2)
        assert (await system.api.intent(intent["intentId"]))["status"] == "confirming"
        problems = (await system.api.chain())["problems"]
        assert any("finalized" in problem for problem in problems), problems
        node.overrides.clear()
        await system.api.status_is(intent["intentId"], "confirmed")


async def test_when_fewer_than_must_agree_can_tell_what_is_final_the_chain_says_so(tmp_path):
    async with run_scanned_nodes(tmp_path, 2, chain={"finality": "both", "rpcQuorum": 2}) as system:
        blind, _ = system.nodes
        blind.overrides["eth_getBlockByNumber"] = without_finalized(UNKNOWN["-39001"])
        intent = await system.direct(1, amount="1000")
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(20)
        await system.api.status_is(intent["intentId"], "confirming")
        await system.polled(2)
        assert (await system.api.intent(intent["intentId"]))["status"] == "confirming"
        problems = (await system.api.chain())["problems"]
        assert any("finalized" in problem for problem in problems), problems
        blind.overrides.clear()
        await system.api.status_is(intent["intentId"], "confirmed")


async def test_what_is_not_final_where_it_is_verified_waits(tmp_path):
    """The head's endpoint says final, and cannot be asked for the receipt; the other one is not that far."""
    async with run_scanned_nodes(tmp_path, 2, chain={"finality": "finalized"}) as system:
        first, second = system.nodes
        first.overrides["eth_getTransactionReceipt"] = lambda _: ("error", {"code": -32000, "message": "pruned"})
        second.finalized = 1000
        intent = await system.direct(1, amount="1000")
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(20)
        await system.api.status_is(intent["intentId"], "confirming")
        await system.polled(3)
        assert (await system.api.intent(intent["intentId"]))["status"] == "confirming"
        second.finalized = None
        await system.api.status_is(intent["intentId"], "confirmed")


async def test_an_endpoint_that_does_not_hold_the_head_judges_nothing(tmp_path):
    async with run_scanned_nodes(tmp_path, 2) as system:
        first, second = system.nodes
        first.overrides["eth_getTransactionReceipt"] = lambda _: ("error", {"code": -32000, "message": "pruned"})
        second.fork_from = 1002
        intent = await system.direct(1, amount="1000")
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(20)
        await system.api.status_is(intent["intentId"], "confirming")
        await system.polled(3)
        assert (await system.api.intent(intent["intentId"]))["status"] == "confirming"
        second.fork_from = None
        await system.api.status_is(intent["intentId"], "confirmed")
