"""From the delivery to the money: codes, disputes, releases and refunds, each of which happens once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protocol.wire import rfc3339
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import (
    BUYERS_WALLET,
    DONE_IN,
    SELLERS_WALLET,
    TEN,
    AcceptedPurchase,
    accept_purchase,
)
from tests.marketplace.fake_scanner import SENDER, FakeScanner
from tests.marketplace.harness import Running, notes

FUNDED = [("payment_detected", TEN), ("hold", TEN)]


@pytest.fixture
async def paid(purchase: AcceptedPurchase) -> AcceptedPurchase:
    await purchase.fund()
    return purchase


async def dispute(purchase: AcceptedPurchase, who: Any = None) -> tuple[int, Any]:
    body = {"purchaseRequestId": purchase.request_id, "reason": "It never came.", "category": "not_received"}
    return await (who or purchase.buyer).call("POST", "/api/disputes", body)


async def resolve(purchase: AcceptedPurchase, dispute_id: str, outcome: str) -> tuple[int, Any]:
    path = f"/api/disputes/{dispute_id}/resolve"
    return await purchase.market.admin.call("POST", path, {"outcome": outcome, "note": "I looked at it."})


async def confirm(purchase: AcceptedPurchase) -> dict[str, Any]:
    return dict((await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery")))["purchaseRequest"])


# -- the whole way -------------------------------------------------------------------------------------


async def test_delivered_confirmed_released_and_settled(paid: AcceptedPurchase) -> None:
    sent = await paid.seller.ok("PATCH", paid.path("delivery"), {"trackingNumber": "T-1", "notes": "by post"})
    arrived = await confirm(paid)
    releasable = await paid.ledger()
    status, answer = await paid.release()
    instruction = answer["data"]["instruction"]
    paid.scanner.carries_out(instruction, tx=DONE_IN)
    path = f"/api/admin/instructions/{instruction['id']}/settle"
    settled = await paid.market.admin.ok("POST", path, {"txHash": DONE_IN})

    assert (sent["purchaseRequest"]["status"], sent["purchaseRequest"]["deliveryProof"]["trackingNumber"]) == (
        "delivery",
        "T-1",
    )
    assert (arrived["status"], arrived["deliveryConfirmed"]) == ("delivered", True)
    assert (releasable["held"], releasable["releasable"]) == ("10", "10")
    assert status == 200
    assert instruction | {"id": ""} == {
        "id": "",
        "kind": "release",
        "chainId": 97,
        "tokenAddress": instruction["tokenAddress"],
        "tokenSymbol": "USDT",
        "from": instruction["from"],
        "to": SELLERS_WALLET,
        "amount": "10",
        "amountBaseUnits": str(TEN),
        "status": "pending",
        "txHash": None,
        "createdAt": instruction["createdAt"],
    }
    assert (settled["instruction"]["status"], settled["payment"]["escrowState"]) == ("released", "released")
    assert (await paid.request())["status"] == "seller_paid"
    assert paid.entries() == [*FUNDED, ("release", TEN)]
    assert (await paid.ledger())["held"] == "0"
    assert await paid.findings() == []
    reported = ["delivered", "payment_release", "payment_released"]
    assert [kind for kind, _ in await notes(paid.buyer)][-3:] == reported
    assert [kind for kind, _ in await notes(paid.seller)][-3:] == ["delivery_confirmed", *reported[1:]]
    assert [kind for kind, _ in await notes(paid.market.admin)][-2:] == reported[1:]


async def test_a_refund_empties_the_escrow_for_the_buyer(paid: AcceptedPurchase) -> None:
    status, answer = await paid.refund()
    paid.scanner.carries_out(answer["data"]["instruction"], tx=DONE_IN)
    path = f"/api/admin/instructions/{answer['data']['instruction']['id']}/settle"
    await paid.market.admin.ok("POST", path, {"txHash": DONE_IN})

    payment = await paid.payment()
    assert (status, answer["data"]["instruction"]["kind"]) == (200, "refund")
    assert answer["data"]["instruction"]["to"] == BUYERS_WALLET
    assert (payment["status"], payment["escrowState"]) == ("refunded", "refunded")
    assert (await paid.request())["status"] == "cancelled"
    assert paid.entries() == [*FUNDED, ("refund", TEN)]
    assert await paid.findings() == []


# -- once ----------------------------------------------------------------------------------------------


async def test_many_simultaneous_releases_are_one(paid: AcceptedPurchase) -> None:
    await confirm(paid)

    answers = await asyncio.gather(*(paid.release() for _ in range(10)))

    assert {status for status, _ in answers} == {200}
    assert len({answer["data"]["instruction"]["id"] for _, answer in answers}) == 1
    assert paid.entries() == [*FUNDED, ("release", TEN)]


async def test_a_release_to_another_address_afterwards_is_refused(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    await paid.release()

    assert (await paid.release(SENDER))[0] == 409
    assert (await paid.refund())[0] == 409


@pytest.mark.parametrize("attempt", range(4))
async def test_a_release_against_a_refund_has_one_outcome(paid: AcceptedPurchase, attempt: int) -> None:
    await confirm(paid)
    moves = [paid.release(), paid.refund()]

    answers = await asyncio.gather(*(moves if attempt % 2 else reversed(moves)))

    assert sorted(status for status, _ in answers) == [200, 409]
    assert len(paid.entries()) == 3
    assert await paid.findings() == []


@pytest.mark.parametrize("attempt", range(4))
async def test_a_release_against_a_dispute_has_one_outcome(paid: AcceptedPurchase, attempt: int) -> None:
    await confirm(paid)
    moves = [paid.release(), dispute(paid)]

    answers = await asyncio.gather(*(moves if attempt % 2 else reversed(moves)))

    assert sorted(status for status, _ in answers) in ([200, 409], [201, 409])
    assert [kind for kind, _ in paid.entries()[2:]] in (["release"], ["dispute_hold"])
    assert await paid.findings() == []


async def test_what_is_on_its_way_out_is_nothing_to_argue_about_any_more(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    await paid.release()

    status, answer = await dispute(paid)

    assert (status, answer["error"]["details"]) == (409, {"status": "completed", "escrowState": "releasing"})


async def test_settling_twice_is_the_same_and_by_another_transaction_a_conflict(paid: AcceptedPurchase) -> None:
    _, answer = await paid.refund()
    paid.scanner.carries_out(answer["data"]["instruction"], tx=DONE_IN)
    path = f"/api/admin/instructions/{answer['data']['instruction']['id']}/settle"
    admin = paid.market.admin

    assert await admin.refused("POST", path, {"txHash": "0x12"}) == (422, "invalid")
    for _ in range(2):
        await admin.ok("POST", path, {"txHash": DONE_IN})
    assert await admin.refused("POST", path, {"txHash": "0x" + "cd" * 32}) == (409, "conflict")
    wrong = f"/api/admin/instructions/{paid.payment_id}/settle"
    assert await admin.refused("POST", wrong, {"txHash": DONE_IN}) == (404, "not_found")


# -- not before it may ---------------------------------------------------------------------------------


async def test_nothing_is_released_before_it_was_delivered_and_confirmed(paid: AcceptedPurchase) -> None:
    early = await paid.release()
    await paid.seller.ok("PATCH", paid.path("delivery"))
    unconfirmed = await paid.release()

    assert (early[0], early[1]["error"]["details"]["reason"]) == (409, "not_delivered")
    assert (unconfirmed[0], unconfirmed[1]["error"]["details"]["reason"]) == (409, "not_confirmed")


async def test_an_unpaid_request_has_nothing_to_release_refund_or_argue_about(purchase: AcceptedPurchase) -> None:
    await purchase.open()

    nothing = (409, {"status": "pending", "escrowState": None})
    for status, answer in (await purchase.release(), await purchase.refund()):
        assert (status, answer["error"]["details"]) == nothing
    assert (await dispute(purchase))[0] == 409
    assert await purchase.seller.refused("PATCH", purchase.path("delivery")) == (409, "conflict")
    assert await purchase.buyer.refused("POST", purchase.path("delivery-code/generate")) == (409, "conflict")


async def test_physical_goods_are_accepted_when_the_grace_period_is_over(paid: AcceptedPurchase) -> None:
    await paid.seller.ok("PATCH", paid.path("delivery"))
    sweep = paid.market.marketplace.sweep
    paid.clock.advance(48 * 3600 - 1)
    await sweep.once()
    before = sqlite_escrow(paid)
    paid.clock.advance(1)

    await sweep.once()

    assert (before, sqlite_escrow(paid)) == ("funded", "releasable")


async def test_a_dispute_stops_the_grace_period(paid: AcceptedPurchase) -> None:
    await paid.seller.ok("PATCH", paid.path("delivery"))
    await dispute(paid)
    paid.clock.advance(49 * 3600)

    await paid.market.marketplace.sweep.once()

    assert sqlite_escrow(paid) == "funded"


async def test_what_a_dispute_refunds_becomes_releasable_by_no_passing_of_time(paid: AcceptedPurchase) -> None:
    await paid.seller.ok("PATCH", paid.path("delivery"))
    _, opened = await dispute(paid)
    await resolve(paid, opened["data"]["dispute"]["id"], "refund")
    paid.clock.advance(49 * 3600)

    await paid.market.marketplace.sweep.once()

    assert sqlite_escrow(paid) == "funded"


async def test_what_a_dispute_refunds_is_shown_as_nothing_to_release(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    _, opened = await dispute(paid)

    await resolve(paid, opened["data"]["dispute"]["id"], "refund")

    assert (await paid.ledger())["releasable"] == "0"
    assert await paid.findings() == []


async def test_an_instruction_to_the_same_account_in_another_spelling_is_the_same(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    _, first = await paid.release(SELLERS_WALLET)

    status, again = await paid.release(SELLERS_WALLET.lower())

    assert (status, again["data"]["instruction"]["id"]) == (200, first["data"]["instruction"]["id"])


async def test_a_dispute_about_an_empty_ledger_is_refused_and_not_a_failure(paid: AcceptedPurchase) -> None:
    await paid.market.write(
        "INSERT INTO funds_ledger_entries (entry_type, payment_id, purchase_request_id, chain_id, token_address,"
        " amount_base, idempotency_key, created_at) SELECT 'refund', id, purchase_request_id, chain_id,"
        " token_address, amount_base, 'by hand', 1 FROM payments"
    )

    assert (await dispute(paid))[0] == 409


async def test_the_losing_seller_does_not_see_how_it_was_delivered(paid: AcceptedPurchase) -> None:
    await paid.seller.ok("PATCH", paid.path("delivery"), {"trackingNumber": "T-1"})
    stranger = await paid.market.user("seller")
    await paid.market.write(  # a bid that lost
        "INSERT INTO offers (id, purchase_request_id, seller_id, title, description, price_amount, price_currency,"
        " delivery_amount, delivery_unit, require_aml_check, aml_block_on_failure, status, created_at, updated_at)"
        " SELECT 'lost', purchase_request_id, ?, title, description, price_amount, price_currency, delivery_amount,"
        " delivery_unit, require_aml_check, aml_block_on_failure, 'rejected', created_at, updated_at FROM offers",
        [stranger.user_id],
    )

    proofs = [
        (await who.ok("GET", paid.path("").rstrip("/")))["purchaseRequest"]["deliveryProof"]
        for who in (paid.buyer, paid.seller, stranger)
    ]

    assert proofs == [{"trackingNumber": "T-1"}, {"trackingNumber": "T-1"}, None]


async def test_digital_goods_are_never_accepted_by_time_alone(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await accept_purchase(market, fake_scanner, clock, productType="digital_product")
    await purchase.fund()
    await purchase.seller.ok("PATCH", purchase.path("delivery"))
    clock.advance(1000 * 3600)

    await market.marketplace.sweep.once()

    assert sqlite_escrow(purchase) == "funded"


def sqlite_escrow(purchase: AcceptedPurchase) -> str:
    with purchase.market.opened() as store:
        return str(store.execute("SELECT escrow_state FROM payments WHERE id = ?", [purchase.payment_id]).fetchone()[0])


async def test_a_hold_blocks_the_release_until_it_is_over(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    path = f"/api/admin/payments/{paid.payment_id}/hold"
    await paid.market.admin.ok("POST", path, {"until": rfc3339(paid.clock.now_ms() + 60_000)})

    held = await paid.release()
    paid.clock.advance(61)

    assert (held[0], held[1]["error"]["details"]["reason"]) == (409, "on_hold")
    assert (await paid.release())[0] == 200


@pytest.mark.parametrize("address", ["0x12", "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", ""])
async def test_money_goes_to_addresses_of_its_chain_alone(paid: AcceptedPurchase, address: str) -> None:
    await confirm(paid)

    status, answer = await paid.release(address)

    assert (status, answer["error"]["details"]["field"]) == (422, "toAddress")


# -- disputes ------------------------------------------------------------------------------------------


async def test_a_dispute_locks_the_money_until_it_is_resolved(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    _, opened = await dispute(paid)
    blocked = await paid.release()
    locked = await paid.ledger()

    status, answer = await resolve(paid, opened["data"]["dispute"]["id"], "release")

    assert (blocked[0], blocked[1]["error"]["details"]["reason"]) == (409, "dispute_open")
    assert (locked["held"], locked["releasable"]) == ("10", "0")
    assert (status, answer["data"]["dispute"]["outcome"]) == (200, "release")
    assert (await paid.release())[0] == 200
    assert await paid.findings() == []


async def test_resolving_again_is_the_same_or_a_conflict(paid: AcceptedPurchase) -> None:
    _, opened = await dispute(paid)
    dispute_id = opened["data"]["dispute"]["id"]

    answers = await asyncio.gather(*(resolve(paid, dispute_id, "refund") for _ in range(5)))
    other = await resolve(paid, dispute_id, "release")

    assert [status for status, _ in answers] == [200] * 5
    assert other[0] == 409
    assert [kind for kind, _ in paid.entries()[2:]] == ["dispute_hold", "adjustment"]


async def test_what_a_dispute_refunds_is_not_released(paid: AcceptedPurchase) -> None:
    await confirm(paid)
    _, opened = await dispute(paid)
    early = await paid.refund()
    await resolve(paid, opened["data"]["dispute"]["id"], "refund")

    assert (early[0], early[1]["error"]["details"]) == (409, {"reason": "dispute_open"})
    assert (await paid.release())[0] == 409
    assert (await paid.refund())[0] == 200


async def test_a_replacement_is_delivered_again(paid: AcceptedPurchase) -> None:
    await paid.seller.ok("PATCH", paid.path("delivery"))
    await confirm(paid)
    _, opened = await dispute(paid)

    await resolve(paid, opened["data"]["dispute"]["id"], "replacement")

    found = await paid.request()
    assert (found["status"], found["deliveryConfirmed"]) == ("processing", False)
    assert (await paid.release())[1]["error"]["details"]["reason"] == "not_delivered"


async def test_every_party_hears_of_a_dispute_and_nobody_else(paid: AcceptedPurchase) -> None:
    resolver, stranger = await paid.market.user("resolver"), await paid.market.user("buyer")

    _, opened = await dispute(paid)

    reported = ("dispute_opened", opened["data"]["dispute"]["id"])
    for party in (paid.buyer, paid.seller, resolver, paid.market.admin):
        assert (await notes(party))[-1] == reported
    assert await notes(stranger) == []


async def test_evidence_is_for_the_parties_and_while_it_is_open(paid: AcceptedPurchase) -> None:
    stranger, resolver = await paid.market.user("seller"), await paid.market.user("resolver")
    _, opened = await dispute(paid, paid.seller)
    dispute_id = opened["data"]["dispute"]["id"]
    path = f"/api/disputes/{dispute_id}"

    await paid.buyer.ok("POST", f"{path}/evidence", {"text": "See the picture.", "link": "https://example.test/p"}, 201)
    assert await stranger.refused("GET", path) == (403, "forbidden")
    assert await stranger.refused("POST", f"{path}/evidence", {"text": "Me too."}) == (403, "forbidden")
    assert await paid.buyer.refused("POST", f"{path}/resolve", {"outcome": "refund", "note": "mine"}) == (
        403,
        "forbidden",
    )
    await resolver.ok("POST", f"{path}/resolve", {"outcome": "no_action", "note": "Nothing."})
    late = await paid.buyer.refused("POST", f"{path}/evidence", {"text": "But look!"})

    said = (await paid.seller.ok("GET", path))["dispute"]["evidence"]
    assert [(one["by"], one["text"]) for one in said] == [(paid.buyer.user_id, "See the picture.")]
    assert late == (409, "conflict")
    assert (await dispute(paid, stranger))[0] == 403


# -- delivery codes ------------------------------------------------------------------------------------


async def make_code(purchase: AcceptedPurchase) -> str:
    return str((await purchase.buyer.ok("POST", purchase.path("delivery-code/generate")))["code"])


async def give(purchase: AcceptedPurchase, code: str) -> tuple[int, Any]:
    return await purchase.seller.call("POST", purchase.path("delivery-code/verify"), {"code": code})


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06d}"


async def test_the_right_code_is_the_buyers_word_and_works_once(paid: AcceptedPurchase) -> None:
    code = await make_code(paid)
    stored = sqlite_text(paid)

    answers = await asyncio.gather(*(give(paid, code) for _ in range(10)))

    assert sorted(status for status, _ in answers) == [200] + [409] * 9
    assert (await paid.request())["deliveryConfirmed"] is True
    assert (await paid.payment())["escrowState"] == "releasable"
    assert code not in stored


def sqlite_text(purchase: AcceptedPurchase) -> str:
    with purchase.market.opened() as store:
        return str(store.execute("SELECT salt, code_hash FROM delivery_codes").fetchall())


async def test_five_wrong_codes_and_no_more(paid: AcceptedPurchase) -> None:
    code = await make_code(paid)

    wrong = [await give(paid, other_than(code)) for _ in range(5)]
    spent = await give(paid, code)

    assert [answer["error"]["details"]["attemptsLeft"] for _, answer in wrong] == [4, 3, 2, 1, 0]
    assert {status for status, _ in wrong} == {422}
    assert spent[0] == 429
    assert (await paid.payment())["escrowState"] == "funded"


async def test_guessing_in_parallel_gets_five_guesses_too(paid: AcceptedPurchase) -> None:
    code = await make_code(paid)

    answers = await asyncio.gather(*(give(paid, other_than(code)) for _ in range(20)))

    assert sorted(status for status, _ in answers) == [422] * 5 + [429] * 15


async def test_a_new_code_replaces_the_old_one(paid: AcceptedPurchase) -> None:
    old = await make_code(paid)
    new = await make_code(paid)

    if old != new:
        assert (await give(paid, old))[0] == 422
    assert (await give(paid, new))[0] == 200


@pytest.mark.parametrize("attempt", range(4))
async def test_making_a_code_against_giving_one_has_one_outcome(paid: AcceptedPurchase, attempt: int) -> None:
    code = await make_code(paid)
    moves = [give(paid, code), paid.buyer.call("POST", paid.path("delivery-code/generate"))]

    first, second = await asyncio.gather(*(moves if attempt % 2 else reversed(moves)))

    given, made = (first, second) if attempt % 2 else (second, first)
    assert (given[0], made[0]) in [(200, 409), (422, 200)]
    assert (await paid.request())["deliveryConfirmed"] is (given[0] == 200)


async def test_a_code_expires(paid: AcceptedPurchase) -> None:
    code = await make_code(paid)
    paid.clock.advance(24 * 3600)
    seller = await relogin(paid)

    status, answer = await seller.call("POST", paid.path("delivery-code/verify"), {"code": code})

    assert (status, answer["error"]["details"]["state"]) == (409, "expired")


async def relogin(purchase: AcceptedPurchase) -> Any:
    """Return the seller with a token of now."""
    services = purchase.market.marketplace.services
    purchase.seller.token = services.tokens.issue(purchase.seller.user_id, "seller")
    return purchase.seller


async def test_the_status_tells_everything_but_the_code(paid: AcceptedPurchase) -> None:
    code = await make_code(paid)
    await give(paid, other_than(code))

    found = await paid.seller.ok("GET", paid.path("delivery-code/status"))

    assert (found["active"], found["used"], found["attemptsLeft"]) == (True, False, 4)
    assert code not in str(found)


@pytest.mark.parametrize("code", ["12345", "1234567", "abcdef", "١٢٣٤٥٦", 123456, None])
async def test_what_is_no_code_is_422_and_no_attempt(paid: AcceptedPurchase, code: object) -> None:
    await make_code(paid)

    status, answer = await paid.seller.call("POST", paid.path("delivery-code/verify"), {"code": code})

    assert (status, answer["error"]["details"]["field"]) == (422, "code")
    assert (await paid.seller.ok("GET", paid.path("delivery-code/status")))["attemptsLeft"] == 5


async def test_only_those_concerned_deliver_confirm_and_handle_codes(paid: AcceptedPurchase) -> None:
    buyer, seller = await paid.market.user("buyer"), await paid.market.user("seller")
    code = {"code": "123456"}

    forbidden = (403, "forbidden")
    for somebody in (buyer, seller):
        assert await somebody.refused("PATCH", paid.path("delivery")) == forbidden
        assert await somebody.refused("PATCH", paid.path("confirm-delivery")) == forbidden
        assert await somebody.refused("POST", paid.path("delivery-code/generate")) == forbidden
        assert await somebody.refused("POST", paid.path("delivery-code/verify"), code) == forbidden
        assert await somebody.refused("GET", paid.path("delivery-code/status")) == forbidden
    assert await paid.seller.refused("PATCH", paid.path("confirm-delivery")) == forbidden
    assert await paid.seller.refused("POST", paid.path("delivery-code/generate")) == forbidden
    assert await paid.buyer.refused("PATCH", paid.path("delivery")) == forbidden
    assert await paid.buyer.refused("POST", paid.path("delivery-code/verify"), code) == forbidden
    release = f"/api/admin/payments/{paid.payment_id}/release"
    for somebody in (paid.buyer, paid.seller, await paid.market.user("resolver")):
        assert await somebody.refused("POST", release, {"toAddress": SENDER}) == forbidden
