"""One transfer settles one intent by the store's own word, and a reorganisation takes back only what moved."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chains.types import Rail
from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from scanner.model import EventType, IntentStatus, Reason
from tests.cases.scripted import bench, in_s
from tests.harness import USDT, Running
from tests.scanner.bench import Bench
from tests.scanner.facts import a_hash, a_transfer, an_intent

__all__ = ["bench"]

SHOP = "0x" + "d1" * 20
NUMBER_OF_A = "(SELECT number FROM intents WHERE intent_id = 'A')"
REFERENCE_OF_A = "(SELECT topic_ref FROM intents WHERE intent_id = 'A')"
DISPLACED = (
    "UPDATE OR REPLACE transfers SET (tx_hash, event_key) = (SELECT tx_hash, event_key FROM transfers WHERE settled)"
    " WHERE NOT settled"
)


def direct(bench: Bench, intent_id: str, **fields: Any) -> Any:
    values = {"rail": Rail.DIRECT, "destination": SHOP, "destination_key": SHOP, "created_at": in_s(bench, 0)}
    return an_intent(intent_id, **(values | {"chain_position": bench.chain.top} | fields))


async def settled(bench: Bench, intent: Any) -> Any:
    await bench.wait_for(intent)
    bench.chain.extend(wait=2)
    paid = bench.chain.put(a_transfer(intent, tx_hash=a_hash("tx", intent.intent_id)))
    bench.chain.extend(4)
    await bench.worker.poll()
    assert (await bench.intent(intent.intent_id)).status is IntentStatus.CONFIRMED
    return paid


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("rail", list(Rail))
async def test_a_reorganisation_above_a_confirmed_payment_leaves_it_alone(bench: Bench, depth: int, rail: Rail) -> None:
    first = direct(bench, "A") if rail is Rail.DIRECT else an_intent("A")
    await settled(bench, first)
    await bench.wait_for(direct(bench, "B"))
    bench.chain.cut(bench.chain.top - depth)
    bench.chain.extend(depth + 6, branch="b")

    await bench.worker.poll()
    await bench.worker.poll()

    assert ((await bench.intent("A")).status, await bench.reasons("A")) == (IntentStatus.CONFIRMED, [None])
    assert ((await bench.intent("B")).status, await bench.reasons("B")) == (IntentStatus.PENDING, [])
    assert await bench.event_types() == [EventType.CONFIRMED]


async def test_only_what_left_its_block_is_reported_as_reorganised_among_many(bench: Bench) -> None:
    orders = [an_intent(f"o-{n}", events=(EventType.REORGED,), confirmations_required=50) for n in range(9)]
    await bench.wait_for(*orders)
    bench.chain.page = 100
    for order in orders:
        bench.chain.extend()
        bench.chain.put(a_transfer(order, tx_hash=a_hash("tx", order.intent_id)))
    await bench.worker.poll()  # one page, one remembered hash far below
    stay = bench.chain.top - 3
    bench.chain.cut(stay)
    bench.chain.extend(6, branch="b")

    await bench.worker.poll()

    gone = {body["intentId"] for body in await bench.bodies(EventType.REORGED)}
    assert gone == {"o-6", "o-7", "o-8"}
    for order in orders:
        assert (await bench.reasons(order.intent_id)) == ([Reason.REORGED] if order.intent_id in gone else [None])


async def test_a_confirmed_payment_that_left_the_chain_is_reported_unasked_and_the_intent_stays(bench: Bench) -> None:
    paid = await settled(bench, an_intent("A"))
    bench.chain.cut(paid.block_number - 1)
    bench.chain.extend(9, branch="b")

    await bench.worker.poll()

    (body,) = await bench.bodies(EventType.REORGED)
    assert (body["status"], body["reason"], body["txHash"]) == ("reorged", "reorged", paid.tx_hash)
    assert (await bench.intent("A")).status is IntentStatus.CONFIRMED
    assert any("intent A was confirmed" in problem for problem in bench.worker.health.problems)
    bench.chain.extend()
    bench.chain.put(paid)
    await bench.worker.poll()
    assert await bench.reasons("A") == [None]
    assert bench.worker.health.problems == []
    assert await bench.event_types() == [EventType.CONFIRMED, EventType.REORGED]


async def test_a_payment_of_much_dust_that_left_the_chain_is_reported_in_few_events_the_largest_part_first(
    bench: Bench,
) -> None:
    """Strangers' dust settles together with the buyer's money: as many events as grains would stand before others'."""
    order = direct(bench, "A", amount=5000)
    await bench.wait_for(order)
    bench.chain.extend()
    grains = [a_transfer(order, tx_hash=a_hash("dust"), event_key=f"{n}", log_index=n, amount=1) for n in range(500)]
    for grain in grains:
        bench.chain.put(grain)
    paid = bench.chain.put(a_transfer(order, tx_hash=a_hash("tx", "A"), log_index=500))
    bench.chain.extend(4)
    await bench.worker.poll()
    assert (await bench.intent("A")).status is IntentStatus.CONFIRMED
    bench.chain.cut(paid.block_number - 1)
    bench.chain.extend(9, branch="b")

    await bench.worker.poll()

    reported = await bench.bodies(EventType.REORGED)
    assert len(reported) == 20
    assert sum(body["count"] for body in reported) == 501
    assert paid.tx_hash in {body["txHash"] for body in reported}
    assert {body["status"] for body in reported} == {"reorged"}


@pytest.mark.parametrize("place", ["another block", "another log", "both"])
async def test_a_payment_included_anew_still_settles_the_intent_it_settled(bench: Bench, place: str) -> None:
    """The next intent at its address waits meanwhile."""
    first = direct(bench, "A")
    paid = await settled(bench, first)
    await bench.wait_for(direct(bench, "B"))
    bench.chain.cut(paid.block_number - 1)
    bench.chain.extend(branch="b")
    if place != "another block":
        bench.chain.put(a_transfer(an_intent("stranger"), reference=a_hash("s"), tx_hash=a_hash("tx", "s")))
    bench.chain.extend(0 if place == "another log" else 3, branch="b")
    block_hash, held = bench.chain.blocks[bench.chain.top]
    held.append(paid._replace(block_number=bench.chain.top, block_hash=block_hash, log_index=len(held)))
    bench.chain.extend(9, branch="b")

    await bench.worker.poll()
    await bench.worker.poll()

    (stored,) = await bench.stored("A")
    assert (stored.settled, stored.reason, stored.block_hash) == (True, None, block_hash)
    assert (await bench.intent("B")).status is IntentStatus.PENDING
    assert len(await bench.bodies(EventType.CONFIRMED)) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE transfers SET intent_id = 'B' WHERE settled = 1",
        "UPDATE transfers SET intent_id = NULL, counted = 0, reason = 'late' WHERE settled = 1",
        "UPDATE transfers SET settled = 0 WHERE settled = 1",
        "UPDATE transfers SET event_key = 'x' WHERE settled = 1",
        "UPDATE transfers SET tx_hash = '0x1' WHERE settled = 1",
        "DELETE FROM transfers WHERE settled = 1",
        "UPDATE intents SET status = 'pending' WHERE intent_id = 'A'",
        "UPDATE intents SET status = 'expired' WHERE intent_id = 'A'",
        "UPDATE transfers SET settled = 1 WHERE intent_id IS NULL",
        "INSERT OR REPLACE INTO transfers SELECT 999, chain_id, tx_hash, event_key, {rest} FROM transfers WHERE settled",
        "INSERT OR REPLACE INTO transfers SELECT NULL, chain_id, tx_hash, event_key, {same} FROM transfers WHERE settled",
        "INSERT OR REPLACE INTO transfers SELECT id, chain_id, '0xfe', event_key, {rest} FROM transfers WHERE settled",
        "UPDATE OR REPLACE transfers SET id = (SELECT id FROM transfers WHERE settled) WHERE NOT settled",
        DISPLACED,
        "INSERT OR REPLACE INTO intents SELECT NULL, 'A', {order} FROM intents WHERE intent_id = 'B'",
        "INSERT OR REPLACE INTO intents SELECT {number}, 'C', {order} FROM intents WHERE intent_id = 'B'",
        "INSERT OR REPLACE INTO intents SELECT NULL, 'C', {order} FROM intents WHERE intent_id = 'A'",
        "UPDATE OR REPLACE intents SET number = {number} WHERE intent_id = 'B'",
        "UPDATE OR REPLACE intents SET topic_ref = {reference} WHERE intent_id = 'B'",
        "UPDATE intents SET number = 1000 WHERE intent_id = 'A'",
        "UPDATE intents SET topic_ref = '0x' WHERE intent_id = 'A'",
        "UPDATE OR REPLACE intents SET intent_id = 'A' WHERE intent_id = 'B'",
        "UPDATE intents SET intent_id = 'C' WHERE intent_id = 'A'",
    ],
)
async def test_the_store_refuses_whoever_would_settle_a_transfer_anew(
    bench: Bench, tmp_path: Path, change: str
) -> None:
    await settled(bench, direct(bench, "A"))
    await bench.wait_for(direct(bench, "B"))
    bench.chain.extend()
    bench.chain.put(a_transfer(an_intent("s"), reference=a_hash("stranger"), tx_hash=a_hash("tx", "s")))
    await bench.worker.poll()
    with closing(sqlite3.connect(tmp_path / "scanner.db")) as store:
        names = [row[1] for row in store.execute("PRAGMA table_info(transfers)")][4:]
        rest = ", ".join("'B'" if name == "intent_id" else name for name in names)
        same = ", ".join("0" if name == "settled" else name for name in names)
        order = ", ".join(row[1] for row in store.execute("PRAGMA table_info(intents)").fetchall()[2:])
        with pytest.raises(sqlite3.IntegrityError, match="settle"):
            store.execute(
                change.format(rest=rest, same=same, order=order, number=NUMBER_OF_A, reference=REFERENCE_OF_A)
            )


@pytest.mark.anvil
async def test_two_intents_at_one_address_and_one_block_replaced_at_the_head(
    chain: Anvil,
    hooks: Receiver,
    scanner: Running,
) -> None:
    to = f"0x2{5:039x}"
    body = {"rail": "direct", "destination": to, "amount": "1000"}
    await scanner.api.create(intentId="A", callbackUrl=hooks.url("/A"), **body)
    tx = await chain.transfer(USDT, to, 1000)
    await chain.mine(6)
    await scanner.api.status_is("A", "confirmed")
    await scanner.api.create(intentId="B", callbackUrl=hooks.url("/B"), **body)

    for _ in range(3):
        await chain.reorg(1)
        await chain.mine(2)
    await chain.mine(6)
    top = await chain.height()
    async with asyncio.timeout(20):
        while (await scanner.api.chain())["lastScannedBlock"] < top:  # noqa: ASYNC110 - an operator polls
            await asyncio.sleep(0.02)

    assert (await scanner.api.intent("A"))["txHash"] == tx
    waiting = await scanner.api.intent("B")
    assert (waiting["status"], waiting["transfers"]) == ("pending", [])
    assert [d.json["eventType"] for d in hooks.deliveries] == ["payment.confirmed"]
