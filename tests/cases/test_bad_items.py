"""What cannot be read of one payment on an EVM chain keeps no other waiting, and no endpoint is blamed for it."""

from __future__ import annotations

import pytest

from devnet.evm.scripted_node import block_hash, tx_hash
from tests.cases.scanned_nodes import run_scanned_nodes, shop
from tests.harness import USDT

BAD, GOOD = tx_hash("bad"), tx_hash("good")

UNREADABLE = {
    "null, as of a pruned or a system transaction": ("result", None),
    "an error of its own": ("error", {"code": -32000, "message": "block has less receipts than expected: 0 <= 0"}),
    "another error": ("error", {"code": -32000, "message": "EOF"}),
    "an error of no known shape": ("error", "no"),
    "a list": ("result", []),
    "a number": ("result", 7),
    "no object inside": ("result", {"transactionHash": None}),
}
CHANGED = {
    "no status": {"status": None},
    "a status in words": {"status": "success"},
    "a status that is no truth": {"status": 2},
    "no logs": {"logs": None},
    "a log without an address": {"logs": [{"address": None, "topics": [], "data": "0x"}]},
    "another block": {"blockHash": block_hash(7)},
    "no block": {"blockHash": None},
    "another transaction": {"transactionHash": GOOD},
}


async def two_payments(system):
    """Pay two intents; return them."""
    bad, good = await system.direct(1, amount="1000"), await system.direct(2, amount="1000")
    for node in system.nodes:
        node.pay(USDT, shop(1), 1000, tx=BAD)
        node.pay(USDT, shop(2), 1000, tx=GOOD)
    return bad["intentId"], good["intentId"]


async def only_the_good_one_is_confirmed(system, bad, good):
    system.grow(20)
    await system.api.status_is(good, "confirmed")
    await system.polled(2)
    assert (await system.api.intent(bad))["status"] == "confirming"
    chain = await system.api.chain()
    assert (chain["state"], chain["lastError"]) == ("ready", None)
    (stuck,) = chain["stuck"]
    assert (stuck["txHash"], chain["stuckCount"]) == (BAD, 1)
    assert stuck["why"]


@pytest.mark.parametrize("what", UNREADABLE)
async def test_a_receipt_that_is_no_receipt_keeps_no_other_payment_waiting(tmp_path, what):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.overrides["eth_getTransactionReceipt"] = lambda asked: UNREADABLE[what] if asked[0] == BAD else None
        bad, good = await two_payments(system)
        await only_the_good_one_is_confirmed(system, bad, good)
        node.overrides.clear()
        await system.api.status_is(bad, "confirmed")
        await system.polled(1)
        chain = await system.api.chain()
        assert (chain["stuck"], chain["stuckCount"]) == ([], 0)


@pytest.mark.parametrize("what", CHANGED)
async def test_a_receipt_with_odd_fields_keeps_no_other_payment_waiting(tmp_path, what):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        bad, good = await two_payments(system)
        right = node.receipts[BAD]
        node.receipts[BAD] = right | CHANGED[what]
        await only_the_good_one_is_confirmed(system, bad, good)
        node.receipts[BAD] = right
        await system.api.status_is(bad, "confirmed")


async def test_a_receipt_without_the_log_its_block_shows_proves_nothing(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        bad, good = await two_payments(system)
        right = node.receipts[BAD]
        node.receipts[BAD] = right | {"logs": []}
        await only_the_good_one_is_confirmed(system, bad, good)
        node.receipts[BAD] = right
        await system.api.status_is(bad, "confirmed")


async def test_a_log_neither_the_receipt_nor_the_block_shows_is_no_payment(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        bad, good = await two_payments(system)
        await system.api.until(bad, lambda seen: seen["status"] == "confirming")
        node.receipts[BAD] = node.receipts[BAD] | {"logs": []}
        node.logs = [log for log in node.logs if log["transactionHash"] != BAD]
        system.grow(20)
        await system.api.status_is(good, "confirmed")
        await system.api.until(bad, lambda seen: seen["status"] == "pending")
        assert await system.api.reasons(bad) == ["no_transfer_log"]


@pytest.mark.parametrize("answer", [("result", None), ("result", {"number": "0x1"}), ("error", {"message": "gone"})])
async def test_a_block_that_cannot_be_read_keeps_no_other_payment_waiting(tmp_path, answer):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        bad, good = await two_payments(system)
        await system.api.until(good, lambda seen: seen["status"] == "confirming")
        unread = int(node.receipts[BAD]["blockNumber"], 16)
        node.overrides["eth_getBlockByNumber"] = lambda asked: answer if asked[0] == hex(unread) else None
        await only_the_good_one_is_confirmed(system, bad, good)
        node.overrides.clear()
        await system.api.status_is(bad, "confirmed")


async def test_another_endpoint_is_asked_for_what_the_first_cannot_read(tmp_path):
    async with run_scanned_nodes(tmp_path, 2) as system:
        first, second = system.nodes
        first.overrides["eth_getTransactionReceipt"] = lambda asked: ("result", None) if asked[0] == BAD else None
        bad, good = await two_payments(system)
        system.grow(20)
        for intent in (bad, good):
            await system.api.status_is(intent, "confirmed")
        assert {asked[0] for method, asked in second.calls if method == "eth_getTransactionReceipt"} == {BAD}
        chain = await system.api.chain()
        assert chain["endpoint"].endswith("#1")


async def test_endpoints_that_must_agree_contradict_each_other_about_one_payment_alone(tmp_path):
    async with run_scanned_nodes(tmp_path, 2, chain={"rpcQuorum": 2}) as system:
        _, second = system.nodes
        bad, good = await two_payments(system)
        second.receipts[BAD] = second.receipts[BAD] | {"status": "0x0"}
        await only_the_good_one_is_confirmed(system, bad, good)


NUMBERS = {"number", "timestamp", "blockNumber", "logIndex", "blockTimestamp", "status", "transactionIndex"}


def plainly(value):
    """Write the numbers of an answer as plain ones, as some nodes do."""
    if isinstance(value, list):
        return [plainly(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: int(each, 16) if name in NUMBERS else plainly(each) for name, each in value.items()}


async def test_a_node_that_writes_plain_numbers_serves_both_rails(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.overrides = {
            "eth_chainId": lambda _: ("result", node.chain_id),
            "eth_blockNumber": lambda _: ("result", node.head),
            "eth_getBlockByNumber": lambda asked: ("result", plainly(node.block(node.height(asked[0])))),
            "eth_getLogs": lambda asked: ("result", plainly(node.matching(asked[0]))),
            "eth_getTransactionReceipt": lambda asked: ("result", plainly(node.receipts.get(asked[0]))),
        }
        direct = await system.direct(1, amount="1000")
        proxied = await system.api.create(confirmations=5, destination=shop(2), callbackUrl=system.hooks.url())
        node.pay(USDT, shop(1), 1000, tx=GOOD)
        node.head += 1
        node.include(
            node.transfer(USDT, shop(2), 1000, tx=BAD, block=node.head),
            node.event(USDT, shop(2), 1000, proxied["paymentReference"], tx=BAD, block=node.head),
        )
        system.grow(20)
        for intent in (direct, proxied):
            await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.parametrize("status", [None, "1", True, 2, "0x2"])
async def test_a_status_that_says_nothing_is_asked_of_another_endpoint(tmp_path, status):
    async with run_scanned_nodes(tmp_path, 2) as system:
        first, second = system.nodes
        bad, good = await two_payments(system)
        right = second.receipts[BAD]
        first.receipts[BAD] = second.receipts[BAD] = right | {"status": status}
        await only_the_good_one_is_confirmed(system, bad, good)
        assert (await system.api.chain())["stuck"][0]["why"].count("its status is") == 2
        second.receipts[BAD] = right
        await system.api.status_is(bad, "confirmed")
