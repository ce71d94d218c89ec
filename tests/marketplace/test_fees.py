"""Fees: shown before an offer is accepted, frozen when it is, taken at release to the unit, and known to the books."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.errors import ConfigError
from marketplace.payments.fees import MAX_FEE_BPS, divide, percent, portion
from marketplace.settings import load_settings
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import (
    MARKET,
    Api,
    Running,
    environment,
    new_offer,
    new_request,
    notes,
    running,
    select,
)

BPS = 250
FEE = TEN * BPS // 10_000


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


async def set_fee(market: Running, seller: Api, bps: int | None, note: str = "Agreed by mail.") -> Any:
    body = {"sellerId": seller.user_id, "bps": bps, "note": note}
    return await market.admin.ok("PUT", "/api/admin/fees", body)


async def fee_of(reader: Api, request_id: str) -> dict[str, Any]:
    [offer] = (await reader.ok("GET", f"{MARKET}/offers?requestId={request_id}"))["offers"]
    return dict(offer["platformFee"])


async def confirmed(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))


# -- what it comes to ------------------------------------------------------------------------------------


@given(st.integers(1, 2**256 - 1), st.integers(0, 10_000), st.integers(0, MAX_FEE_BPS))
def test_a_division_is_exact_and_what_is_rounded_off_is_not_the_platforms(
    amount: int, buyer_bps: int, fee_bps: int
) -> None:
    division = divide(amount, buyer_bps=buyer_bps, fee_bps=fee_bps)

    assert division.buyer + division.seller + division.fee == amount
    assert min(division.buyer, division.seller, division.fee) >= 0
    assert division.buyer * 10_000 <= amount * buyer_bps < (division.buyer + 1) * 10_000
    assert division.fee * 10_000 <= (amount - division.buyer) * fee_bps < (division.fee + 1) * 10_000
    assert division.seller > 0 or division.buyer == amount  # somebody always has something to be sent


def test_a_fee_is_rounded_down() -> None:
    assert [portion(amount, 1) for amount in (1, 9_999, 10_000, 19_999)] == [0, 0, 1, 1]
    assert portion(2**256 - 1, 9_999) == (2**256 - 1) * 9_999 // 10_000


def test_basis_points_are_read_as_per_cent() -> None:
    assert [percent(bps) for bps in (0, 1, 10, 100, 250, 9_999)] == ["0", "0.01", "0.1", "1", "2.5", "99.99"]


@pytest.mark.parametrize(("text", "why"), [("-1", "greater than"), ("10000", "nothing"), ("2.5", "integer"), ("x", "")])
def test_a_rate_that_cannot_be_is_refused_at_the_start(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^PLATFORM_FEE_BPS: .*{why}"):
        load_settings(environment(tmp_path, PLATFORM_FEE_BPS=text))


# -- shown and frozen ------------------------------------------------------------------------------------


async def test_an_offer_says_what_the_platform_takes_before_it_is_accepted(market: Running) -> None:
    buyer, seller = await market.user("buyer"), await market.user("seller")
    request_id = await new_request(buyer)
    path = f"{MARKET}/purchase-requests/{request_id}/offers"
    body = {
        "title": "My bicycle",
        "description": "Blue.",
        "price": {"amount": "9.999999999999999999", "currency": "USDT"},
        "deliveryTime": {"amount": 2, "unit": "days"},
    }
    made = (await seller.ok("POST", path, body, 201))["offer"]

    expected = {"bps": BPS, "amount": "0.249999999999999999", "currency": "USDT"}
    assert made["platformFee"] == expected
    assert await fee_of(buyer, request_id) == await fee_of(seller, request_id) == expected
    edited = await seller.ok("PATCH", f"{MARKET}/offers/{made['id']}", {"price": {"amount": "8", "currency": "USDT"}})
    assert edited["offer"]["platformFee"]["amount"] == "0.2"


async def test_the_rate_of_an_accepted_offer_is_frozen(market: Running, purchase: AcceptedPurchase) -> None:
    await set_fee(market, purchase.seller, 5_000)
    assert (await fee_of(purchase.buyer, purchase.request_id))["bps"] == BPS

    other = await new_request(purchase.buyer)
    await new_offer(purchase.seller, other)
    assert (await fee_of(purchase.buyer, other))["bps"] == 5_000

    await confirmed(purchase)
    await purchase.release()
    assert ("platform_fee", FEE) in purchase.entries()


async def test_the_database_refuses_to_change_a_frozen_rate_or_to_accept_without_one(
    market: Running, purchase: AcceptedPurchase
) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="frozen"), market.opened() as store:
        store.execute("UPDATE offers SET platform_fee_bps = 0 WHERE id = ?", [purchase.offer_id])
    other = await new_request(purchase.buyer)
    offer_id = await new_offer(purchase.seller, other)
    with pytest.raises(sqlite3.IntegrityError, match="offers_accepted_has_fee"), market.opened() as store:
        store.execute("UPDATE offers SET status = 'accepted' WHERE id = ?", [offer_id])


async def test_what_is_set_once_more_is_told_and_kept_once(market: Running) -> None:
    """Whoever does not hear the answer asks again: the seller was told twice."""
    seller = await market.user("seller")
    body = {"sellerId": seller.user_id, "bps": 300, "note": "agreed"}
    for note, kept in (("agreed", 1), ("agreed", 1), ("agreed again", 2)):
        await market.admin.ok("PUT", "/api/admin/fees", body | {"note": note})
        assert (await market.admin.ok("GET", "/api/admin/fees"))["total"] == kept
        assert (await notes(seller)).count(("fee_changed", seller.user_id)) == 1
    await set_fee(market, seller, None)
    assert (await notes(seller)).count(("fee_changed", seller.user_id)) == 2


async def test_a_seller_may_have_a_rate_of_their_own_and_its_history_is_kept(market: Running) -> None:
    buyer, seller = await market.user("buyer"), await market.user("seller")
    request_id = await new_request(buyer)
    await new_offer(seller, request_id)

    for bps, shown in ((0, 0), (9_999, 9_999), (None, BPS)):
        await set_fee(market, seller, bps)
        assert (await fee_of(seller, request_id))["bps"] == shown

    found = await market.admin.ok("GET", "/api/admin/fees")
    assert [(each["bps"], each["inForce"]) for each in found["changes"]] == [(None, False), (9_999, False), (0, False)]
    assert (found["platformFeeBps"], found["total"]) == (BPS, 3)
    assert (await notes(seller)).count(("fee_changed", seller.user_id)) == 3
    with pytest.raises(sqlite3.IntegrityError, match="append-only"), market.opened() as store:
        store.execute("UPDATE fee_history SET bps = 1")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"), market.opened() as store:
        store.execute("DELETE FROM fee_history")


async def test_rates_are_listed_in_pages_and_found_by_seller_and_by_whether_they_hold(market: Running) -> None:
    sellers = [await market.user("seller") for _ in range(3)]
    for seller in sellers:
        await set_fee(market, seller, 100)
    await set_fee(market, sellers[0], 200)

    page = await market.admin.ok("GET", "/api/admin/fees?limit=2&page=2")
    assert [(each["sellerId"], each["bps"]) for each in page["changes"]] == [
        (sellers[1].user_id, 100),
        (sellers[0].user_id, 100),
    ]
    held = await market.admin.ok("GET", "/api/admin/fees?inForce=true")
    assert sorted(each["bps"] for each in held["changes"]) == [100, 100, 200]
    own = await market.admin.ok("GET", f"/api/admin/fees?sellerId={sellers[0].user_id}&inForce=false")
    assert [each["bps"] for each in own["changes"]] == [100]


@pytest.mark.parametrize(
    "change", [{"bps": -1}, {"bps": 10_000}, {"bps": "1"}, {"bps": 1.5}, {"note": ""}, {"note": "x" * 2001}]
)
async def test_a_rate_of_no_form_is_refused(market: Running, change: dict[str, Any]) -> None:
    seller = await market.user("seller")
    body = {"sellerId": seller.user_id, "bps": 100, "note": "Agreed.", **change}

    assert await market.admin.refused("PUT", "/api/admin/fees", body) == (422, "invalid")
    del body["bps"]
    assert await market.admin.refused("PUT", "/api/admin/fees", body) == (422, "invalid")


async def test_only_sellers_have_a_rate(market: Running) -> None:
    buyer = await market.user("buyer")
    for user_id in (buyer.user_id, "00000000-0000-4000-8000-000000000000"):
        body = {"sellerId": user_id, "bps": 100, "note": "Agreed."}
        assert await market.admin.refused("PUT", "/api/admin/fees", body) == (422, "invalid")


# -- taken -----------------------------------------------------------------------------------------------


async def test_a_release_takes_the_fee_and_instructs_the_rest(market: Running, purchase: AcceptedPurchase) -> None:
    await confirmed(purchase)

    status, answer = await purchase.release()

    assert status == 200
    assert answer["data"]["instruction"]["amountBaseUnits"] == str(TEN - FEE)
    assert answer["data"]["instruction"]["amount"] == "9.75"
    assert purchase.entries() == [
        ("payment_detected", TEN),
        ("hold", TEN),
        ("platform_fee", FEE),
        ("release", TEN - FEE),
    ]
    ledger = await purchase.ledger()
    assert (ledger["held"], ledger["available"], ledger["released"], ledger["platformFee"]) == (
        "0",
        "0",
        "9.75",
        "0.25",
    )
    assert await purchase.findings() == []
    assert (await purchase.release())[0] == 200  # again, and nothing is taken twice
    assert len(purchase.entries()) == 4


async def test_a_refund_takes_none(purchase: AcceptedPurchase) -> None:
    await purchase.fund()

    status, answer = await purchase.refund()

    assert (status, answer["data"]["instruction"]["amountBaseUnits"]) == (200, str(TEN))
    assert purchase.entries() == [("payment_detected", TEN), ("hold", TEN), ("refund", TEN)]
    assert await purchase.findings() == []


async def test_no_line_is_written_where_the_fee_is_less_than_a_unit(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await accept_purchase(market, fake_scanner, clock, price="0.000000000000000039")
    await confirmed(purchase)

    await purchase.release()

    assert purchase.entries()[2:] == [("release", 39)]
    assert await purchase.findings() == []


async def test_what_fees_brought_is_added_up_exactly(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    expected = 0
    for price in ("99999.999999999999999999", "10", "0.000000000000000400"):
        purchase = await accept_purchase(market, fake_scanner, clock, price=price)
        await confirmed(purchase)
        await purchase.release()
        expected += sum(amount for kind, amount in purchase.entries() if kind == "platform_fee")

    [found] = (await market.admin.ok("GET", "/api/admin/fees"))["collected"]

    assert expected == 2499999999999999999999 + FEE + 10
    assert (found["amountBaseUnits"], found["chainId"], found["tokenSymbol"]) == (str(expected), 97, "USDT")


async def test_a_fee_larger_than_any_machine_integer_is_added_up(market: Running, purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    huge = 2**256 - 1
    with market.opened() as store:
        for number in range(3):
            store.execute(
                "INSERT INTO funds_ledger_entries (entry_type, payment_id, purchase_request_id, chain_id,"
                " token_address, amount_base, idempotency_key, created_at)"
                " SELECT 'platform_fee', id, purchase_request_id, chain_id, token_address, ?, ?, 1 FROM payments",
                [str(huge), f"by hand {number}"],
            )

    [found] = (await market.admin.ok("GET", "/api/admin/fees"))["collected"]

    assert found["amountBaseUnits"] == str(3 * huge)


async def test_an_offer_accepted_again_keeps_its_rate(market: Running, purchase: AcceptedPurchase) -> None:
    await set_fee(market, purchase.seller, 1)

    status, answer = await select(purchase.buyer, purchase.request_id, purchase.offer_id)

    assert (status, answer["data"]["offer"]["platformFee"]["bps"]) == (200, BPS)
