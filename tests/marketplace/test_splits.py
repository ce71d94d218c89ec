"""A dispute that ends in a split: both parts and the fee are booked at once, and sent one after the other."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from protocol.wire import rfc3339
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import (
    BUYERS_WALLET,
    SELLERS_WALLET,
    TEN,
    AcceptedPurchase,
    accept_purchase,
)
from tests.marketplace.fake_scanner import FakeScanner, news
from tests.marketplace.harness import Running, environment, notes, running

BPS = 250
FUNDED = [("payment_detected", TEN), ("hold", TEN)]
LOCKED = [*FUNDED, ("dispute_hold", TEN), ("adjustment", TEN)]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def market(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, place: Mapping[str, str]
) -> AsyncIterator[Running]:
    """A marketplace that takes 2.5 %."""
    env = environment(tmp_path, fake_scanner.url, PLATFORM_FEE_BPS=str(BPS), **place)
    async with running(env, clock=clock) as found:
        yield found


@pytest.fixture
async def paid(purchase: AcceptedPurchase) -> AcceptedPurchase:
    await purchase.fund()
    return purchase


async def argue(purchase: AcceptedPurchase) -> str:
    body = {"purchaseRequestId": purchase.request_id, "reason": "It is broken.", "category": "quality"}
    return str((await purchase.buyer.ok("POST", "/api/disputes", body, 201))["dispute"]["id"])


async def rule(purchase: AcceptedPurchase, dispute_id: str, outcome: str = "split", **more: Any) -> tuple[int, Any]:
    body = {"outcome": outcome, "note": "I looked at it.", **more}
    return await purchase.market.admin.call("POST", f"/api/disputes/{dispute_id}/resolve", body)


async def split(purchase: AcceptedPurchase, buyer_bps: int) -> str:
    dispute_id = await argue(purchase)
    status, answer = await rule(purchase, dispute_id, buyerBps=buyer_bps)
    assert (status, answer["data"]["dispute"]["buyerBps"]) == (200, buyer_bps)
    return dispute_id


async def settle(purchase: AcceptedPurchase, answer: Any, mark: str) -> Any:
    """Carry an instruction out with a transaction of its own."""
    instruction = answer["data"]["instruction"]
    tx_hash = "0x" + mark * 32
    purchase.scanner.carries_out(instruction, tx=tx_hash)
    path = f"/api/admin/instructions/{instruction['id']}/settle"
    return await purchase.market.admin.ok("POST", path, {"txHash": tx_hash})


async def test_both_parts_and_the_fee_are_booked_at_once_and_sent_one_by_one(paid: AcceptedPurchase) -> None:
    await split(paid, 3_000)

    buyers, rest = 3 * 10**18, 7 * 10**18
    fee = rest * BPS // 10_000
    assert paid.entries() == [*LOCKED, ("refund", buyers), ("platform_fee", fee), ("release", rest - fee)]
    payment = await paid.payment()
    assert (payment["status"], payment["escrowState"]) == ("completed", "partial")
    assert (await paid.request())["status"] == "completed"
    ledger = await paid.ledger()
    assert (ledger["held"], ledger["refunded"], ledger["released"], ledger["platformFee"]) == (
        "0",
        "3",
        "6.825",
        "0.175",
    )
    assert await paid.findings() == []

    _, refund = await paid.refund()
    assert (refund["data"]["instruction"]["amountBaseUnits"], refund["data"]["instruction"]["to"]) == (
        str(buyers),
        BUYERS_WALLET,
    )
    await settle(paid, refund, "aa")
    assert (await paid.payment())["escrowState"] == "partial"
    assert await paid.findings() == []

    _, release = await paid.release()
    assert (release["data"]["instruction"]["amountBaseUnits"], release["data"]["instruction"]["to"]) == (
        str(rest - fee),
        SELLERS_WALLET,
    )
    assert (await paid.payment())["escrowState"] == "partial"
    await settle(paid, release, "bb")
    payment = await paid.payment()
    assert (payment["status"], payment["escrowState"]) == ("completed", "released")
    assert (await paid.request())["status"] == "seller_paid"
    assert await paid.findings() == []
    assert len(paid.entries()) == 7
    for who in (paid.buyer, paid.seller, paid.market.admin):
        heard = [kind for kind, _ in await notes(who)]
        assert {"payment_refund", "payment_refunded", "payment_release", "payment_released"} <= set(heard)


@pytest.mark.parametrize(("price", "bps"), [("10", 0), ("10", 10_000), ("0.000000000000000007", 3_333)])
async def test_a_part_that_is_nothing_is_neither_booked_nor_sent(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, price: str, bps: int
) -> None:
    purchase = await accept_purchase(market, fake_scanner, clock, price=price)
    await purchase.fund()
    await split(purchase, bps)
    kinds = [kind for kind, _ in purchase.entries()[4:]]

    expected = {
        ("10", 0): ["platform_fee", "release"],
        ("10", 10_000): ["refund"],
        ("0.000000000000000007", 3_333): ["refund", "release"],  # two units and five, and no unit of a fee
    }[price, bps]
    assert kinds == expected
    answers = {"refund": await purchase.refund(), "release": await purchase.release()}
    for (entry, (status, answer)), mark in zip(answers.items(), ("aa", "bb"), strict=True):
        if entry in kinds:
            await settle(purchase, answer, mark)
        else:
            assert (status, answer["error"]["details"]) == (409, {"reason": "nothing_left"})
    payment = await purchase.payment()
    over = ("completed", "released") if "release" in kinds else ("refunded", "refunded")
    assert (payment["status"], payment["escrowState"]) == over
    assert await purchase.findings() == []


async def test_each_part_is_ordered_once(paid: AcceptedPurchase) -> None:
    await split(paid, 5_000)

    answers = await asyncio.gather(*(order() for order in [paid.refund, paid.release] * 4))

    assert [status for status, _ in answers] == [200] * 8
    assert len({answer["data"]["instruction"]["id"] for _, answer in answers}) == 2
    assert (await paid.release(BUYERS_WALLET))[0] == 409  # to another address
    with paid.market.opened() as store:
        [(given,)] = store.execute("SELECT count(*) FROM payments WHERE settles_payment_id = ?", [paid.payment_id])
    assert given == 2
    assert await paid.findings() == []


async def test_the_database_takes_one_instruction_a_direction(paid: AcceptedPurchase) -> None:
    await split(paid, 5_000)
    await paid.refund()
    await paid.release()

    with pytest.raises(sqlite3.IntegrityError), paid.market.opened() as store:
        store.execute("UPDATE payments SET direction = 'refund' WHERE direction = 'out'")


async def test_a_split_again_is_the_same_and_another_share_a_conflict(paid: AcceptedPurchase) -> None:
    dispute_id = await split(paid, 3_000)

    assert (await rule(paid, dispute_id, buyerBps=3_000))[0] == 200
    status, answer = await rule(paid, dispute_id, buyerBps=3_001)
    assert (status, answer["error"]["details"]) == (409, {"outcome": "split", "buyerBps": 3_000})
    assert (await rule(paid, dispute_id, "refund"))[0] == 409
    assert len(paid.entries()) == 7


async def test_what_was_split_is_not_argued_about_again(paid: AcceptedPurchase) -> None:
    await split(paid, 3_000)

    body = {"purchaseRequestId": paid.request_id, "reason": "I want more.", "category": "quality"}
    assert await paid.buyer.refused("POST", "/api/disputes", body) == (409, "conflict")
    assert await paid.buyer.refused("PATCH", paid.path("confirm-delivery")) == (409, "conflict")


@pytest.mark.parametrize(
    "body",
    [
        {"outcome": "split"},
        {"outcome": "split", "buyerBps": -1},
        {"outcome": "split", "buyerBps": 10_001},
        {"outcome": "split", "buyerBps": "5000"},
        {"outcome": "split", "buyerBps": 0.5},
        {"outcome": "refund", "buyerBps": 5_000},
    ],
)
async def test_a_split_names_a_share_and_nothing_else_does(paid: AcceptedPurchase, body: dict[str, Any]) -> None:
    dispute_id = await argue(paid)

    assert (await rule(paid, dispute_id, **body))[0] == 422
    assert paid.entries() == [*FUNDED, ("dispute_hold", TEN)]


async def test_money_that_may_be_gone_is_not_split_and_no_part_of_it_leaves(paid: AcceptedPurchase) -> None:
    await split(paid, 5_000)
    gone = news(paid.scanner.intents[paid.payment_id], "payment.reorged", status="reorged")
    await paid.hook(gone)
    for order in (paid.refund, paid.release):
        status, answer = await order()
        assert (status, answer["error"]["code"]) == (409, "reorged")
    clear = f"/api/admin/payments/{paid.payment_id}/clear-reorg"
    await paid.market.admin.ok("POST", clear, {"note": "It is there."})
    assert (await paid.refund())[0] == 200


async def test_a_dispute_about_money_that_may_be_gone_is_not_split(paid: AcceptedPurchase) -> None:
    dispute_id = await argue(paid)
    await paid.hook(news(paid.scanner.intents[paid.payment_id], "payment.reorged", status="reorged"))

    status, answer = await rule(paid, dispute_id, buyerBps=5_000)

    assert (status, answer["error"]["code"]) == (409, "reorged")
    assert paid.entries() == [*FUNDED, ("dispute_hold", TEN)]
    assert (await paid.buyer.ok("GET", f"/api/disputes/{dispute_id}"))["dispute"]["status"] == "open"


async def test_a_hold_blocks_the_sellers_part_alone(paid: AcceptedPurchase) -> None:
    await split(paid, 5_000)
    path = f"/api/admin/payments/{paid.payment_id}/hold"
    await paid.market.admin.ok("POST", path, {"until": rfc3339(paid.clock.now_ms() + 60_000)})

    status, answer = await paid.release()
    assert (status, answer["error"]["details"]["reason"]) == (409, "on_hold")
    assert (await paid.refund())[0] == 200
    await paid.market.admin.ok("POST", path, {})
    assert (await paid.release())[0] == 200


@pytest.mark.parametrize("attempt", range(4))
async def test_of_two_rulings_at_once_one_holds(paid: AcceptedPurchase, attempt: int) -> None:
    dispute_id = await argue(paid)
    moves = [
        rule(paid, dispute_id, buyerBps=3_000),
        rule(paid, dispute_id, ("release", "split")[attempt // 2], **({"buyerBps": 7_000} if attempt // 2 else {})),
    ]

    answers = await asyncio.gather(*(moves if attempt % 2 else reversed(moves)))

    assert sorted(status for status, _ in answers) == [200, 409]
    assert [kind for kind, _ in paid.entries()].count("adjustment") == 1
    assert await paid.findings() == []


@pytest.mark.parametrize("attempt", range(4))
async def test_a_split_against_a_release_has_one_outcome(paid: AcceptedPurchase, attempt: int) -> None:
    dispute_id = await argue(paid)
    moves = [rule(paid, dispute_id, buyerBps=3_000), paid.release(), paid.refund()]

    answers = await asyncio.gather(*(moves if attempt % 2 else reversed(moves)))

    assert 200 in [status for status, _ in answers]
    assert [kind for kind, _ in paid.entries()[4:]] == ["refund", "platform_fee", "release"]
    assert await paid.findings() == []
