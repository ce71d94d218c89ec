"""One log a node garbled keeps no other payment waiting, is named, and is a payment as soon as anybody shows it."""

from __future__ import annotations

import pytest

from chains.evm.fee_proxy import EVENT_TOPIC
from chains.types import Rail
from devnet.evm.scripted_node import tx_hash
from scanner.reading.unread import MOST_REMEMBERED
from scanner.store import unread
from tests.cases.scanned_nodes import run_scanned_nodes, shop
from tests.harness import USDT

BAD, GOOD, LATER = tx_hash("bad"), tx_hash("good"), tx_hash("later")
WORTHLESS = "0x" + "f0" * 20
SHORT = "0x12"
DIRECT = {
    "data of other letters": {"data": "0x" + "g" * 64},
    "no topics": {"topics": None},
    "no block number": {"blockNumber": None},
}
PROXY = {
    "no data": {"data": None},
    "a short reference": {"topics": [EVENT_TOPIC, "0x12"]},
    "a removed log": {"removed": True},
}


async def pay_through_the_proxy(system, number, tx):
    """Pay a new intent in a block of its own; return the intent's id."""
    order = await system.api.create(
        destination=shop(number), amount="1000", confirmations=5, callbackUrl=system.hooks.url()
    )
    for node in system.nodes:
        node.head += 1
        node.include(
            node.transfer(USDT, shop(number), 1000, tx=tx, block=node.head),
            node.event(USDT, shop(number), 1000, order["paymentReference"], tx=tx, block=node.head),
        )
    return order["intentId"]


async def pay_plainly(system, number, tx):
    order = await system.direct(number, amount="1000")
    for node in system.nodes:
        node.pay(USDT, shop(number), 1000, tx=tx)
    return order["intentId"]


def hide_receipt(node, tx):
    node.overrides["eth_getTransactionReceipt"] = lambda asked: ("result", None) if asked[0] == tx else None


CASES = {what: (pay_plainly, how) for what, how in DIRECT.items()}
CASES |= {what: (pay_through_the_proxy, how) for what, how in PROXY.items()}


@pytest.mark.parametrize("what", CASES)
async def test_a_log_that_cannot_be_read_keeps_no_other_waiting_and_counts_once_it_can(tmp_path, what):
    pay, how = CASES[what]
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        hide_receipt(node, BAD)
        node.garbled[BAD] = how
        bad = await pay(system, 1, BAD)
        good = await pay(system, 2, GOOD)
        system.grow(20)
        await system.api.status_is(good, "confirmed")
        later = await pay(system, 3, LATER)
        system.grow(20)
        await system.api.status_is(later, "confirmed")
        await system.polled(2)
        assert (await system.api.intent(bad))["status"] == "pending"
        chain = await system.api.chain()
        assert (chain["state"], chain["lag"]) == ("ready", 0)
        assert [stuck["txHash"] for stuck in chain["stuck"]] == [BAD]
        assert chain["stuck"][0]["why"]
        node.garbled.clear()
        node.overrides.clear()
        assert (await system.api.status_is(bad, "confirmed"))["txHash"] == BAD
        await system.polled(2)
        chain = await system.api.chain()
        assert (chain["stuck"], chain["stuckCount"]) == ([], 0)


@pytest.mark.parametrize(
    ("pay", "how"), [(pay_plainly, DIRECT["no topics"]), (pay_through_the_proxy, PROXY["no data"])]
)
async def test_the_receipt_tells_what_the_log_does_not(tmp_path, pay, how):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.garbled[BAD] = how
        bad = await pay(system, 1, BAD)
        system.grow(20)
        await system.api.status_is(bad, "confirmed")


@pytest.mark.parametrize(
    ("pay", "how"), [(pay_plainly, DIRECT["no topics"]), (pay_through_the_proxy, PROXY["no data"])]
)
async def test_another_endpoint_shows_what_one_cannot(tmp_path, pay, how):
    async with run_scanned_nodes(tmp_path, 2) as system:
        first, _ = system.nodes
        for node in system.nodes:
            hide_receipt(node, BAD)
        first.garbled[BAD] = how
        bad = await pay(system, 1, BAD)
        await system.api.until(bad, lambda seen: seen["status"] == "confirming")
        await system.polled(2)
        assert (await system.api.chain())["stuckCount"] == 0


async def test_what_a_worthless_contract_garbles_is_nobodys_payment(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        good = await system.direct(2, amount="1000")
        node.garbled |= {BAD: {"data": None}, LATER: {"topics": None}}
        node.head += 1
        node.logs += [node.transfer(WORTHLESS, shop(2), 7, tx=tx, block=node.head) for tx in (BAD, LATER)]
        node.include(node.transfer(USDT, shop(2), 1000, tx=GOOD, block=node.head))
        system.grow(20)
        await system.api.status_is(good["intentId"], "confirmed")
        chain = await system.api.chain()
        assert (chain["stuckCount"], chain["state"], chain["lastError"]) == (0, "ready", None)


@pytest.mark.parametrize("tx", [None, 5, "0x12"])
async def test_a_log_that_names_no_transaction_is_reported_by_its_block(tmp_path, tx):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.garbled[BAD] = {"transactionHash": tx}
        bad = await pay_plainly(system, 1, BAD)
        block = node.head
        good = await pay_plainly(system, 2, GOOD)
        system.grow(20)
        await system.api.status_is(good, "confirmed")
        await system.polled(1)
        (problem,) = (await system.api.chain())["problems"]
        assert f"in block {block} cannot be read, and names no transaction" in problem
        node.garbled.clear()
        await system.api.status_is(bad, "confirmed")
        await system.polled(1)
        assert (await system.api.chain())["problems"] == []


async def test_a_restart_forgets_none_of_them(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        hide_receipt(node, BAD)
        node.garbled[BAD] = PROXY["no data"]
        bad = await pay_through_the_proxy(system, 1, BAD)
        system.grow(20)
        await system.polled(3)
        assert [stuck["txHash"] for stuck in (await system.api.chain())["stuck"]] == [BAD]
        async with system.scanner.database.read() as tx:
            kept = (await unread.of_chain(tx, node.chain_id))[Rail.PROXY]
        assert [each.log.tx_hash for each in kept] == [BAD]
    async with run_scanned_nodes(tmp_path) as system:
        (again,) = system.nodes
        again.logs, again.head = node.logs, node.head + 80  # what is read again of the last minute is above it
        again.receipts = node.receipts
        await system.api.status_is(bad, "confirmed")


async def test_an_endpoint_that_serves_nothing_readable_is_waited_for(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        order = await system.direct(1, amount="1000")
        await system.polled(1)
        node.head += 1
        node.logs = [
            node.transfer(USDT, shop(1), 1, tx=tx_hash(f"dust {number}"), block=node.head, index=number)
            for number in range(51)
        ]
        node.garbled = {log["transactionHash"]: {"data": None} for log in node.logs}
        read_to = (await system.api.chain())["lastScannedBlock"]
        with pytest.raises(Exception, match="more than 50 logs cannot be read"):
            await system.polled(1)
        chain = await system.failing()
        assert (chain["lastScannedBlock"], chain["stuckCount"]) == (read_to, 0)
        node.garbled.clear()
        await system.api.until(order["intentId"], lambda seen: seen["amountReceived"] == "51")


async def test_no_more_are_passed_than_can_be_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.reading.unread.MOST_REMEMBERED", 3)
    assert MOST_REMEMBERED == 1_000
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        await system.direct(1, amount="1000")
        await system.polled(1)
        for number in range(4):
            node.head += 1
            node.logs.append(node.transfer(USDT, shop(1), 1, tx=tx_hash(f"dust {number}"), block=node.head))
            node.garbled[tx_hash(f"dust {number}")] = {"data": None}
        with pytest.raises(Exception, match="more than 3 logs of the direct rail cannot be read"):
            await system.polled(1)
        assert (await system.api.chain())["stuckCount"] == 0


async def test_what_stood_in_a_block_that_left_the_chain_is_forgotten(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        order = await system.direct(1, amount="1000")
        await system.polled(1)
        hide_receipt(node, BAD)
        node.head += 1
        node.logs = [node.transfer(USDT, shop(1), 1, tx=BAD, block=node.head)]
        node.garbled[BAD] = {"data": None}
        await system.polled(2)
        assert (await system.api.chain())["stuckCount"] == 1
        node.fork_from = node.head
        node.logs = []
        node.head += 1
        await system.polled(3)
        assert (await system.api.chain())["stuckCount"] == 0
        assert (await system.api.intent(order["intentId"]))["status"] == "pending"
