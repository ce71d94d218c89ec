"""A transfer is known by what its log says: nodes that number logs differently show one transfer, and it counts once."""

from __future__ import annotations

import pytest

from devnet.evm.scripted_node import tx_hash
from tests.cases.scanned_nodes import run_scanned_nodes, shop
from tests.harness import USDT


def renumbered(log, by):
    return log | {"logIndex": hex(int(log["logIndex"], 16) + by)}


@pytest.mark.parametrize("rail", ["direct", "proxy"])
@pytest.mark.parametrize("by", [7, -0x20, 1])
async def test_two_nodes_that_number_a_log_differently_show_one_transfer(tmp_path, rail, by):
    async with run_scanned_nodes(tmp_path, 2) as system:
        first, second = system.nodes
        intent = await system.api.create(
            rail=rail,
            destination=shop(1),
            amount="1000",
            confirmations=12,
            callbackUrl=system.hooks.url(),
            events=["payment.detected", "payment.confirming", "payment.partial"],
        )
        for node, offset in ((first, 0), (second, by)):
            node.head += 1
            moved = node.transfer(USDT, shop(1), 600, tx=tx_hash("paid"), block=node.head, index=0x29 + offset)
            logs = [moved]
            if rail == "proxy":
                reference = intent["paymentReference"]
                logs.append(
                    node.event(USDT, shop(1), 600, reference, tx=tx_hash("paid"), block=node.head, index=0x2A + offset)
                )
            node.include(*logs)
        await system.api.until(intent["intentId"], lambda seen: seen["amountReceived"] == "600")
        first.down = True
        system.grow(1)
        await system.api.until(intent["intentId"], lambda _: second_was_asked(second))
        system.grow(30)
        await system.polled(2)
        seen = await system.api.intent(intent["intentId"])
        assert (seen["status"], seen["amountReceived"]) == ("pending", "600")
        assert [row["amount"] for row in seen["transfers"]] == ["600"]
        assert "payment.confirming" not in [delivery.json["eventType"] for delivery in system.hooks.deliveries]


def second_was_asked(node):
    return any(method == "eth_getLogs" for method, _ in node.calls)


@pytest.mark.parametrize("rail", ["direct", "proxy"])
async def test_logs_and_receipt_of_one_node_may_number_a_log_differently(tmp_path, rail):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        intent = await system.api.create(
            rail=rail, destination=shop(1), amount="1000", confirmations=5, callbackUrl=system.hooks.url()
        )
        node.head += 1
        place = {"tx": tx_hash("paid"), "block": node.head}
        logs = [node.transfer(USDT, shop(1), 1000, index=0x29, **place)]
        if rail == "proxy":
            logs.append(node.event(USDT, shop(1), 1000, intent["paymentReference"], index=0x2A, **place))
        node.include(*logs)
        node.logs = [renumbered(log, 7) for log in logs]
        node.head += 10
        seen = await system.api.status_is(intent["intentId"], "confirmed")
        assert seen["amountReceived"] == "1000"
        assert [row["reason"] for row in await system.api.unmatched() if row["intentId"]] == []


async def test_equal_transfers_of_one_transaction_are_as_many_as_there_are(tmp_path):
    async with run_scanned_nodes(tmp_path, 2) as system:
        intent = await system.direct(1, amount="1500")
        for node, offset in zip(system.nodes, (3, 40), strict=True):
            node.head += 1
            place = {"tx": tx_hash("paid"), "block": node.head}
            node.include(*(node.transfer(USDT, shop(1), 500, index=offset + nth, **place) for nth in range(2)))
        await system.api.until(intent["intentId"], lambda seen: seen["amountReceived"] == "1000")
        system.nodes[0].down = True
        system.grow(20)
        await system.polled(3)
        seen = await system.api.intent(intent["intentId"])
        assert (seen["status"], seen["amountReceived"]) == ("pending", "1000")
        assert len({row["eventKey"] for row in seen["transfers"]}) == len(seen["transfers"]) == 2


async def test_a_row_sent_twice_is_one_transfer(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        intent = await system.direct(1, amount="1000")
        log = node.pay(USDT, shop(1), 500, tx=tx_hash("paid"), index=3)
        node.logs.append(log)
        node.head += 10
        seen = await system.api.until(intent["intentId"], lambda seen: seen["amountReceived"] != "0")
        await system.polled(2)
        assert (await system.api.intent(intent["intentId"]))["amountReceived"] == seen["amountReceived"] == "500"


async def test_one_number_for_logs_of_different_transactions_hides_none(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        intents = [await system.direct(number, amount="1000") for number in (1, 2, 3)]
        node.head += 1
        for number in (1, 2, 3):
            place = {"tx": tx_hash(f"paid {number}"), "block": node.head}
            node.include(node.transfer(USDT, shop(number), 1000, index=0, **place))
        node.head += 10
        for intent in intents:
            await system.api.status_is(intent["intentId"], "confirmed")


async def test_what_a_recheck_finds_is_what_the_scan_found(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        intent = await system.direct(1, amount="2000")
        log = node.pay(USDT, shop(1), 600, tx=tx_hash("paid"), index=9)
        await system.api.until(intent["intentId"], lambda seen: seen["amountReceived"] == "600")
        node.receipts[tx_hash("paid")]["logs"] = [renumbered(log, 30)]
        status, reported = await system.api.call(
            "POST", f"/intents/{intent['intentId']}/recheck", {"txHash": tx_hash("paid")}
        )
        assert status == 200, reported
        seen = await system.api.intent(intent["intentId"])
        assert (seen["amountReceived"], len(seen["transfers"])) == ("600", 1)
