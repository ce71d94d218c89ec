"""What a dispute decided stays decided, and money that may be gone from the chain stays where it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cases.test_whole_lists import pay_with
from tests.marketplace.accepted_purchase import BUYERS_WALLET, DONE_IN, SELLERS_WALLET, TEN, AcceptedPurchase
from tests.marketplace.fake_scanner import SENDER, confirmed, news
from tests.marketplace.harness import notes
from tests.marketplace.test_payouts import confirm, dispute, resolve

FUNDED = [("payment_detected", TEN), ("hold", TEN)]


@pytest.fixture
async def paid(purchase: AcceptedPurchase) -> AcceptedPurchase:
    await purchase.fund()
    return purchase


async def decided(purchase: AcceptedPurchase, outcome: str) -> None:
    _, opened = await dispute(purchase)
    status, _ = await resolve(purchase, opened["data"]["dispute"]["id"], outcome)
    assert status == 200


# -- disputes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["refund", "release", "no_action"])
@pytest.mark.parametrize("who", ["buyer", "seller"])
async def test_a_decided_request_is_not_argued_about_again(paid: AcceptedPurchase, outcome: str, who: str) -> None:
    await confirm(paid)
    await decided(paid, outcome)
    before = paid.entries()

    status, answer = await dispute(paid, {"buyer": paid.buyer, "seller": paid.seller}[who])

    assert (status, answer["error"]["details"]) == (409, {"outcome": outcome})
    assert paid.entries() == before


async def test_after_a_replacement_there_may_be_another_dispute(paid: AcceptedPurchase) -> None:
    await paid.seller.ok("PATCH", paid.path("delivery"))
    await decided(paid, "replacement")
    await decided(paid, "refund")

    assert (await dispute(paid))[0] == 409
    assert (await paid.refund())[0] == 200


@pytest.mark.parametrize("then", ["release", "no_action", "replacement"])
async def test_a_decided_refund_stays_decided(paid: AcceptedPurchase, then: str) -> None:
    await confirm(paid)
    _, opened = await dispute(paid)
    await resolve(paid, opened["data"]["dispute"]["id"], "refund")

    assert (await resolve(paid, opened["data"]["dispute"]["id"], then))[0] == 409
    assert (await dispute(paid))[0] == 409
    released = await paid.release()
    assert (released[0], released[1]["error"]["details"]) == (409, {"reason": "refund_ordered"})
    assert paid.entries()[2:] == [("dispute_hold", TEN), ("adjustment", TEN)]
    assert (await paid.refund())[0] == 200


async def test_a_decided_release_is_not_refunded(paid: AcceptedPurchase) -> None:
    await decided(paid, "release")

    status, answer = await paid.refund()

    assert (status, answer["error"]["details"]) == (409, {"reason": "release_ordered"})
    assert (await paid.release())[0] == 200
    assert await paid.findings() == []


async def test_two_who_decide_at_once_decide_once(paid: AcceptedPurchase) -> None:
    _, opened = await dispute(paid)
    dispute_id = opened["data"]["dispute"]["id"]

    answers = await asyncio.gather(*(resolve(paid, dispute_id, outcome) for outcome in ("refund", "release") * 3))

    assert sorted(status for status, _ in answers) == [200] * 3 + [409] * 3
    moves = [status for status, _ in (await paid.refund(), await paid.release())]
    assert sorted(moves) == [200, 409]


async def test_a_dispute_takes_so_much_evidence_and_no_more(paid: AcceptedPurchase, monkeypatch: Any) -> None:
    monkeypatch.setattr("marketplace.trade.disputes.MAX_EVIDENCE", 3)
    _, opened = await dispute(paid)
    path = f"/api/disputes/{opened['data']['dispute']['id']}/evidence"

    answers = [(await paid.buyer.call("POST", path, {"text": "Look at this."}))[0] for _ in range(4)]

    assert answers == [201, 201, 201, 409]
    assert (await paid.seller.call("POST", path, {"text": "And at this."}))[0] == 201  # one side uses up its own alone


# -- reorganisations -----------------------------------------------------------------------------------


def gone(purchase: AcceptedPurchase, **more: Any) -> dict[str, Any]:
    return news(purchase.scanner.intents[purchase.payment_id], "payment.reorged", status="reorged", **more)


async def clear(purchase: AcceptedPurchase, body: Any) -> tuple[int, Any]:
    return await purchase.market.admin.call("POST", f"/api/admin/payments/{purchase.payment_id}/clear-reorg", body)


NAMED: list[dict[str, Any]] = [
    {},
    {"status": "confirmed"},
    {"txHash": None},
    {"txHash": None, "transfers": None},
    {"txHash": None, "transfers": [], "transferCount": 0},
]


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("order", ["release", "refund"])
async def test_money_that_may_be_gone_is_neither_released_nor_refunded(
    paid: AcceptedPurchase, named: dict[str, Any], order: str
) -> None:
    await confirm(paid)
    await paid.hook({**gone(paid), **named})

    status, answer = await (paid.release() if order == "release" else paid.refund())

    assert (status, answer["error"]["code"], answer["error"]["details"]["reason"]) == (409, "reorged", "reorged")
    assert (await paid.payment())["reorgedAt"] is not None
    assert (await paid.ledger())["releasable"] == "0"
    assert paid.entries() == FUNDED
    assert "payment_recovery" in [kind for kind, _ in await notes(paid.market.admin)]


async def test_the_same_transaction_in_capitals_is_the_same(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    tx = paid.scanner.intents[paid.payment_id]["txHash"]

    await paid.hook(gone(paid, txHash="0x" + tx[2:].upper()))

    assert (await paid.release())[0] == 409


@pytest.mark.parametrize("body", [{}, {"note": ""}, {"note": "   "}, {"note": None}, {"note": 5}, {"note": "x" * 2001}])
async def test_clearing_needs_a_note(paid: AcceptedPurchase, body: Any) -> None:
    await paid.hook(gone(paid))

    status, answer = await clear(paid, body)

    assert (status, answer["error"]["details"]["field"]) == (422, "note")
    assert (await paid.payment())["reorgedAt"] is not None


async def test_an_admin_clears_it_and_that_is_kept(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    await paid.hook(gone(paid))
    for somebody in (paid.buyer, paid.seller):
        refused = await somebody.refused("POST", f"/api/admin/payments/{paid.payment_id}/clear-reorg", {"note": "mine"})
        assert refused == (403, "forbidden")

    status, answer = await clear(paid, {"note": "It is in block 120 again."})

    assert status == 200
    assert answer["data"]["payment"]["reorgedAt"] is None
    [given] = answer["data"]["clearances"]
    assert (given["note"], given["clearedBy"]) == ("It is in block 120 again.", paid.market.admin.user_id)
    assert (await clear(paid, {"note": "again"}))[0] == 409
    assert (await paid.release())[0] == 200
    assert await paid.findings() == []


async def test_only_news_of_its_own_blocks_it_again(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    letter = gone(paid)
    await paid.hook(letter)
    await clear(paid, {"note": "It is there."})
    _, again = await paid.hook(letter)
    duplicate = (again["data"]["outcome"], (await paid.payment())["reorgedAt"])

    await paid.hook(gone(paid))

    assert duplicate == ("duplicate", None)
    assert (await paid.release())[0] == 409


async def test_a_confirmation_that_comes_again_does_not_clear_it(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    await paid.hook(gone(paid))

    _, answer = await paid.hook(confirmed(paid.scanner.intents[paid.payment_id]))

    assert answer["data"]["outcome"] == "already_funded"
    assert (await paid.release())[0] == 409
    assert paid.entries() == FUNDED


@pytest.mark.parametrize("other", [{"txHash": "0x" + "99" * 32}, {"status": "confirming"}, {"status": "pending"}])
async def test_news_about_something_else_blocks_nothing(paid: AcceptedPurchase, other: dict[str, Any]) -> None:
    await confirm(paid)

    await paid.hook({**gone(paid), **other})

    assert (await paid.release())[0] == 200


def standing(body: dict[str, Any], block_hash: str | None) -> dict[str, Any]:
    return {**body, "transfers": [{**row, "blockHash": block_hash} for row in body["transfers"]]}


@pytest.mark.parametrize(("stood", "left", "blocked"), [("0xb2", "0xb1", False), ("0xb2", "0xb2", True)])
async def test_an_old_move_reported_after_the_confirmation_blocks_nothing_and_the_loss_of_what_paid_does(
    purchase: AcceptedPurchase, stood: str, left: str, blocked: bool
) -> None:
    await purchase.open("direct")
    await purchase.hook(standing(purchase.scanner.pay(purchase.payment_id), stood))
    await confirm(purchase)

    await purchase.hook(standing(gone(purchase), left))

    assert ((await purchase.payment())["reorgedAt"] is not None) is blocked
    assert (await purchase.release())[0] == (409 if blocked else 200)
    assert [reason for reason, _ in await purchase.recoveries()] == (["reorged"] if blocked else [])


@pytest.mark.parametrize(("stood", "left", "blocked"), [("0xb2", "0xb1", False), ("0xb2", "0xb2", True)])
async def test_so_it_is_with_a_payment_that_is_not_shown_for_all_the_dust_seen_after_it(
    purchase: AcceptedPurchase, stood: str, left: str, blocked: bool
) -> None:
    """A reorganisation had put a stranger's dust before it: its old move, told late, blocked the release."""
    await purchase.open("direct")
    hook = pay_with(purchase, [(SENDER, TEN), *[(SENDER, 1)] * 25])
    rows = purchase.scanner.all_transfers[purchase.payment_id]
    rows[:] = [{**row, "blockHash": stood} for row in rows]
    await purchase.hook(hook)
    await confirm(purchase)
    shown = {row["txHash"] for row in (await purchase.payment())["evidence"]["transfers"]}
    named = {name: rows[0][name] for name in ("txHash", "eventKey", "blockNumber", "sender", "amount")}

    await purchase.hook(standing({**gone(purchase, txHash=named["txHash"]), "transfers": [named]}, left))

    assert named["txHash"] not in shown
    assert (await purchase.release())[0] == (409 if blocked else 200)
    assert [reason for reason, _ in await purchase.recoveries()] == (["reorged"] if blocked else [])


@pytest.mark.parametrize(("stood", "left"), [(None, "0xb1"), ("0xb2", None), (None, None)])
async def test_a_transfer_of_an_unknown_block_is_blocked(
    purchase: AcceptedPurchase, stood: str | None, left: str | None
) -> None:
    await purchase.open("direct")
    await purchase.hook(standing(purchase.scanner.pay(purchase.payment_id), stood))
    await confirm(purchase)

    await purchase.hook(standing(gone(purchase), left))

    assert (await purchase.release())[0] == 409


async def test_what_was_on_its_way_and_reorged_is_open_again_and_counts_when_it_returns(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open("direct")
    body = purchase.scanner.pay(purchase.payment_id)
    await purchase.hook({**body, "eventId": "evt_seen", "eventType": "payment.detected", "status": "pending"})
    coming = (await purchase.payment())["status"]
    await purchase.hook(gone(purchase))
    back = await purchase.payment()

    _, answer = await purchase.hook(body)

    assert (coming, back["status"], back["txHash"], back["reorgedAt"]) == ("processing", "pending", None, None)
    assert (answer["data"]["outcome"], purchase.entries()) == ("funded", FUNDED)


async def test_an_order_that_was_given_is_not_repeated_once_its_money_may_be_gone(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    _, given = await paid.release()
    await paid.hook(gone(paid))

    again = await paid.release(SELLERS_WALLET)
    other = await paid.refund(BUYERS_WALLET)
    paid.scanner.carries_out(given["data"]["instruction"], tx=DONE_IN)
    path = f"/api/admin/instructions/{given['data']['instruction']['id']}/settle"
    settled = await paid.market.admin.ok("POST", path, {"txHash": DONE_IN})

    assert (again[1]["error"]["code"], other[1]["error"]["code"]) == ("reorged", "reorged")
    assert settled["payment"]["escrowState"] == "released"  # what was sent was sent


async def test_time_does_not_release_what_may_be_gone(paid: AcceptedPurchase) -> None:
    await paid.seller.ok("PATCH", paid.path("delivery"))
    await paid.hook(gone(paid))
    paid.clock.advance(49 * 3600)

    assert await paid.market.marketplace.services.payouts.pass_grace() == 0
