"""Prices in another currency than the token's: what the buyer pays, by what, for how long, and when not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from devnet.price_publisher import PUBLIC_KEY, PricePublisher
from marketplace.store.tables import payment_quotes
from tests import postgres
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import MARKET, Running, environment, new_offer, new_request, offer_body, running
from tests.marketplace.pricing.stand_ins import USDT_FEED, Feed, FeedNode

UNIT = 10**18
TTL_S = 600  # shorter than a login


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=postgres.needed)])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def priced(
    market: Running, scanner: FakeScanner, clock: FakeClock, amount: str, currency: str
) -> AcceptedPurchase:
    """Bring two people together over a price in some currency."""
    return await accept_purchase(market, scanner, clock, amount, currency)


def stored(market: Running, what: str) -> list[tuple[Any, ...]]:
    with market.opened() as store:
        sql = f"SELECT {what} FROM payment_quotes ORDER BY quoted_at, payment_id"  # noqa: S608 - columns of ours
        return store.execute(sql).fetchall()


async def refusal(purchase: AcceptedPurchase, **fields: Any) -> tuple[int, str, dict[str, Any]]:
    status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent(**fields))
    return status, answer["error"]["code"], answer["error"]["details"]


async def test_a_price_in_another_currency_is_paid_by_a_quote(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher
) -> None:
    publisher.prices["USDT"] = "0.9950"
    purchase = await priced(quoting_market, fake_scanner, clock, "4000", "TRY")

    opened = await purchase.open("direct")

    quote = opened["quote"]
    assert opened["payment"]["amountBaseUnits"] == "100502512562814070352"  # 100 / 0.995, rounded up
    assert opened["instructions"]["amountBaseUnits"] == "100502512562814070352"
    assert fake_scanner.intents[purchase.payment_id]["amount"] == "100502512562814070352"
    assert (quote["offerAmount"], quote["offerCurrency"], quote["fxRate"]) == ("4000", "TRY", "0.025")
    assert (quote["rawSettleAmount"], quote["settleAmount"]) == ("100", "100.502512562814070352")
    assert (quote["tokenPriceUsd"], quote["depegAdjustmentBps"], quote["atPar"]) == ("0.995", 50, False)
    assert "50 basis points" in quote["note"]
    assert (quote["chainId"], quote["tokenAddress"]) == (97, opened["payment"]["tokenAddress"])
    assert [(each["asset"], each["priceUsd"]) for each in quote["sources"]] == [("TRY", "0.025"), ("USDT", "0.995")]
    assert quote["expiresAt"] == opened["payment"]["expiresAt"]
    assert (await purchase.buyer.ok("GET", f"/api/payment/{purchase.payment_id}"))["quote"] == quote
    again = await purchase.open("direct")
    assert again["quote"] == quote
    assert len(stored(quoting_market, "payment_id")) == 1


async def test_a_payment_ends_with_its_quote(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "10", "EUR")
    await purchase.open()

    (quoted_at, expires_at), *rest = stored(quoting_market, "quoted_at, expires_at")

    assert (expires_at - quoted_at, rest) == (TTL_S * 1000, [])
    assert fake_scanner.intents[purchase.payment_id]["expiresAt"] == (await purchase.payment())["expiresAt"]


@pytest.mark.parametrize(("price", "bps"), [("0.9976", 0), ("0.9975", 25), ("0.98", 200)])
async def test_below_the_peg_the_buyer_pays_as_much_more(
    quoting_market: Running,
    fake_scanner: FakeScanner,
    clock: FakeClock,
    publisher: PricePublisher,
    price: str,
    bps: int,
) -> None:
    publisher.prices["USDT"] = price
    purchase = await priced(quoting_market, fake_scanner, clock, "10", "USD")

    opened = await purchase.open()

    expected = -(-10 * UNIT * 10_000 // (10_000 - bps))
    assert opened["payment"]["amountBaseUnits"] == str(expected)
    assert opened["quote"]["depegAdjustmentBps"] == bps
    assert (opened["quote"]["note"] is None) == (bps == 0)


async def test_a_price_in_the_token_itself_asks_nobody(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher
) -> None:
    publisher.prices["USDT"] = "0.5"
    purchase = await priced(quoting_market, fake_scanner, clock, "10", "USDT")

    opened = await purchase.open()

    assert (opened["payment"]["amount"], "quote" in opened, publisher.asked) == ("10", False, 0)


@pytest.mark.parametrize("price", ["0.9799", "1.0201"])
async def test_a_coin_off_its_peg_is_not_quoted(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher, price: str
) -> None:
    publisher.prices["USDT"] = price
    purchase = await priced(quoting_market, fake_scanner, clock, "10", "USD")

    status, code, details = await refusal(purchase)

    assert (status, code, details["reason"]) == (503, "quote_unavailable", "depeg")
    assert (await purchase.open(token="USDC"))["payment"]["amount"] == "10"  # the other one holds


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"age_s": 3700}, "stale"),
        ({"answer": lambda _: web.Response(status=500)}, "down"),
        ({"prices": {"USDC": "1"}}, "down"),
        ({"rates": {"TRY": 40}}, "down"),
    ],
)
async def test_without_a_price_to_rely_upon_there_is_no_payment(
    quoting_market: Running,
    fake_scanner: FakeScanner,
    clock: FakeClock,
    publisher: PricePublisher,
    change: dict[str, Any],
    reason: str,
) -> None:
    for name, value in change.items():
        setattr(publisher, name, value)
    purchase = await priced(quoting_market, fake_scanner, clock, "10", "EUR")

    status, code, details = await refusal(purchase)

    assert (status, code, details["reason"], details["retryAfter"]) == (503, "quote_unavailable", reason, 10)
    assert fake_scanner.intents == {}
    assert stored(quoting_market, "payment_id") == []


async def test_what_a_source_said_is_as_old_as_it_is_by_now(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher
) -> None:
    """A price that was fresh when it was read does not stay so because it is kept for a moment."""
    publisher.age_s = 3595
    one = await priced(quoting_market, fake_scanner, clock, "10", "EUR")
    other = await priced(quoting_market, fake_scanner, clock, "10", "EUR")
    await one.open()
    asked = publisher.asked

    clock.advance(9)

    assert (await refusal(other))[2]["reason"] == "stale"
    assert publisher.asked == asked


async def test_sources_are_asked_once_in_a_while_whoever_asks(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher
) -> None:
    deals = [await priced(quoting_market, fake_scanner, clock, "10", "EUR") for _ in range(3)]

    await asyncio.gather(*(deal.open() for deal in deals))

    assert publisher.asked == 2  # the list and the rates, once each


async def test_a_lying_second_source_stops_quotes(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, publisher: PricePublisher, node: FeedNode, place: Any
) -> None:
    env = environment(
        tmp_path,
        fake_scanner.url,
        **publisher.settings,
        ORACLE_CHAINLINK_FEEDS=orjson.dumps({"97": {"USDT": USDT_FEED}}).decode(),
        RPC_BSC_TESTNET=node.url,
        **place,
    )
    node.feeds[USDT_FEED] = Feed("USDT / USD", 99_900_000)
    async with running(env, clock=clock) as market:
        purchase = await priced(market, fake_scanner, clock, "10", "USD")
        publisher.prices["USDT"] = "0.9799"
        assert (await refusal(purchase))[2]["reason"] == "spread"
        clock.advance(11)
        publisher.prices["USDT"] = "1.0001"

        opened = await purchase.open()

    assert opened["quote"]["tokenPriceUsd"] == "0.99955"  # the median of two
    assert {each["source"] for each in opened["quote"]["sources"]} == {"chainlink:97", "signed:127.0.0.1"}


async def test_health_says_what_has_no_price(
    quoting_market: Running, publisher: PricePublisher, clock: FakeClock
) -> None:
    async def check() -> tuple[str, str]:
        clock.advance(11)
        found = (await quoting_market.nobody.ok("GET", "/api/health"))["checks"]["prices"]
        return found["status"], found.get("detail", "")

    assert await check() == ("ok", "")
    publisher.prices["USDC"] = "0.9"
    del publisher.rates["TRY"]

    status, why = await check()

    assert status == "degraded"
    assert "USDC is more than 200 bps off its peg" in why
    assert "no source of the price of TRY answers" in why
    assert "USDT" not in why


async def test_without_a_source_health_has_nothing_to_say_of_prices(market: Running) -> None:
    checks = (await market.nobody.ok("GET", "/api/health"))["checks"]

    assert "prices" not in checks


# -- without a source ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("currency", "token"), [("USD", "USDT"), ("USDT", "USDC"), ("USDC", "USDT")])
async def test_without_a_source_a_dollar_is_a_dollar_and_the_answer_says_so(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, currency: str, token: str
) -> None:
    purchase = await priced(market, fake_scanner, clock, "10", currency)

    opened = await purchase.open(token=token)

    quote = opened["quote"]
    assert (opened["payment"]["amount"], quote["settleAmount"], quote["rawSettleAmount"]) == ("10", "10", "10")
    assert (quote["atPar"], quote["sources"], quote["fxRate"], quote["tokenPriceUsd"]) == (True, [], "1", "1")
    assert "no source" in quote["note"]
    assert quote["expiresAt"] == opened["payment"]["expiresAt"]


async def test_a_switched_off_source_is_none(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, publisher: PricePublisher, place: Mapping[str, str]
) -> None:
    env = environment(tmp_path, fake_scanner.url, **publisher.settings, ORACLE_QUOTING_ENABLED="false", **place)
    async with running(env, clock=clock) as market:
        purchase = await priced(market, fake_scanner, clock, "10", "USD")
        opened = await purchase.open()
        seller = await market.user("seller")
        path = f"{MARKET}/purchase-requests/{await new_request(purchase.buyer)}/offers"
        refused = await seller.refused("POST", path, offer_body(price={"amount": "5", "currency": "EUR"}))

    assert (opened["quote"]["atPar"], publisher.asked) == (True, 0)
    assert refused == (422, "invalid")


# -- offers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("currency", ["EUR", "GBP"])
async def test_an_offer_nobody_could_pay_is_refused_when_it_is_made(market: Running, currency: str) -> None:
    buyer, seller = await market.user("buyer"), await market.user("seller")
    request_id = await new_request(buyer)
    price = {"price": {"amount": "5", "currency": currency}}

    status, answer = await seller.call("POST", f"{MARKET}/purchase-requests/{request_id}/offers", offer_body(**price))
    offer_id = await new_offer(seller, request_id)
    edited = await seller.refused("PATCH", f"{MARKET}/offers/{offer_id}", price)
    countered = await buyer.refused("POST", f"{MARKET}/offers/{offer_id}/counter", price)

    assert (status, answer["error"]["details"]["field"]) == (422, "price.currency")
    assert (edited, countered) == ((422, "invalid"), (422, "invalid"))


@pytest.mark.long
@pytest.mark.parametrize("currency", ["USD", "EUR", "TRY", "IRR", "USDT", "USDC"])
async def test_with_sources_an_offer_is_made_in_each_of_the_currencies(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, currency: str
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "500", currency)

    opened = await purchase.open(token="USDC")

    at_rate = {"EUR": "625", "TRY": "12.5", "IRR": "0.01"}
    assert opened["payment"]["amount"] == at_rate.get(currency, "500")


async def test_other_currencies_stay_refused_with_sources(quoting_market: Running) -> None:
    buyer, seller = await quoting_market.user("buyer"), await quoting_market.user("seller")
    path = f"{MARKET}/purchase-requests/{await new_request(buyer)}/offers"

    refused = await seller.refused("POST", path, offer_body(price={"amount": "5", "currency": "GBP"}))

    assert refused == (422, "invalid")


async def test_a_token_without_a_source_is_not_taken_for_a_dollar(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, publisher: PricePublisher, place: Mapping[str, str]
) -> None:
    env = environment(
        tmp_path,
        fake_scanner.url,
        ORACLE_PRICE_URL=f"{publisher.url}/prices",
        ORACLE_PRICE_PUBLIC_KEY=PUBLIC_KEY,
        ORACLE_PRICE_ASSETS="USDT",
        **place,
    )
    async with running(env, clock=clock) as market:
        purchase = await priced(market, fake_scanner, clock, "10", "USD")

        status, code, details = await refusal(purchase, token="USDC")

        assert (status, code, details["field"]) == (422, "invalid", "token")
        assert (await purchase.open())["payment"]["amount"] == "10"


# -- drawn again ---------------------------------------------------------------------------------------


async def test_an_expired_quote_is_drawn_again_while_nothing_was_paid(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    first = await purchase.open("direct")
    publisher.rates["EUR"] = 1
    clock.advance(TTL_S - 1)
    assert (await purchase.open("direct"))["payment"]["id"] == first["payment"]["id"]
    clock.advance(1)

    second = await purchase.open("direct")

    assert (first["payment"]["amount"], second["payment"]["amount"]) == ("10", "8")
    assert second["payment"]["id"] != first["payment"]["id"]
    assert second["payment"]["destination"] != first["payment"]["destination"]
    old = (await purchase.buyer.ok("GET", f"/api/payment/{first['payment']['id']}"))["payment"]
    assert (old["status"], old["stopReason"]) == ("cancelled", "expired")
    assert fake_scanner.intents[old["id"]]["status"] == "expired"
    assert [row[0] for row in stored(quoting_market, "settle_amount")] == ["10", "8"]


@pytest.mark.parametrize("rail", ["proxy", "direct"])
async def test_what_is_on_its_way_keeps_its_quote(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher, rail: str
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    first = await purchase.open(rail)
    fake_scanner.intents[purchase.payment_id]["status"] = "confirming"
    publisher.rates["EUR"] = 1
    clock.advance(TTL_S + 1)

    again = await purchase.open(rail)

    assert (again["payment"]["id"], again["quote"]) == (first["payment"]["id"], first["quote"])
    await purchase.hook(fake_scanner.pay(purchase.payment_id))
    assert (await purchase.payment())["status"] == "completed"
    assert len(stored(quoting_market, "payment_id")) == 1


async def test_what_was_paid_is_never_quoted_again(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    await purchase.fund()
    clock.advance(TTL_S + 1)

    status, _, _ = await refusal(purchase)

    assert status == 409
    assert len(stored(quoting_market, "payment_id")) == 1


async def test_a_balance_that_came_in_time_keeps_its_quote(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    first = await purchase.open("direct_balance")
    fake_scanner.newest[first["payment"]["destination"]] = 10 * UNIT
    clock.advance(TTL_S + 1)

    again = await purchase.open("direct_balance")

    assert (again["payment"]["id"], again["payment"]["status"]) == (first["payment"]["id"], "processing")


async def test_while_the_scanner_cannot_say_what_was_paid_nothing_is_drawn(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    await purchase.open()
    clock.advance(TTL_S + 1)
    fake_scanner.down = True

    status, code, _ = await refusal(purchase)

    assert (status, code) == (503, "scanner_unavailable")
    assert len(stored(quoting_market, "payment_id")) == 1


async def test_while_no_quote_can_be_drawn_the_expired_one_is_over_all_the_same(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    await purchase.open()
    clock.advance(TTL_S + 1)
    publisher.answer = lambda _: web.Response(status=500)

    assert (await refusal(purchase))[1] == "quote_unavailable"
    assert (await purchase.payment())["status"] == "cancelled"


@pytest.mark.long
@pytest.mark.parametrize("round_", range(6))
async def test_a_quote_that_expires_while_it_is_paid_has_one_outcome(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, round_: int
) -> None:
    """Whichever comes first: paid by the old quote and no new one, or a new one and the money listed for a person."""
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    await purchase.open()
    first = purchase.payment_id
    clock.advance(TTL_S + 1)
    body = fake_scanner.pay(first)
    if round_ % 2:
        fake_scanner.intents[first]["status"] = "pending"  # the scanner ends it in the meantime

    (_, told), (status, answer) = await asyncio.gather(
        purchase.hook(body), purchase.buyer.call("POST", "/api/payment/intents", purchase.intent())
    )

    old = (await purchase.buyer.ok("GET", f"/api/payment/{first}"))["payment"]
    quotes = len(stored(quoting_market, "payment_id"))
    if old["status"] == "completed":
        assert (quotes, status in {200, 409}) == (1, True)
        assert told["data"]["outcome"] in {"funded", "already_funded"}
    else:
        assert (old["status"], quotes, status) == ("cancelled", 2, 201)
        assert answer["data"]["payment"]["id"] != first
        assert await purchase.recoveries() == [("late_payment", str(10 * UNIT))]


async def test_two_who_ask_again_at_once_draw_one_quote(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    await purchase.open()
    clock.advance(TTL_S + 1)

    answers = await asyncio.gather(
        *(purchase.buyer.call("POST", "/api/payment/intents", purchase.intent()) for _ in range(4))
    )

    assert {status for status, _ in answers} <= {200, 201, 202}
    assert len({answer["data"]["payment"]["id"] for _, answer in answers}) == 1
    assert len(stored(quoting_market, "payment_id")) == 2


# -- kept ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE payment_quotes SET settle_amount = '1'",
        "DELETE FROM payment_quotes",
        "INSERT INTO payment_quotes SELECT * FROM payment_quotes",
    ],
)
async def test_a_quote_is_never_changed(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, sql: str
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    await purchase.open()

    with pytest.raises(sqlite3.IntegrityError):
        await quoting_market.write(sql)


@pytest.mark.long
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("offer_amount", "0"),
        ("offer_amount", "-1"),
        ("fx_rate", "0.000"),
        ("fx_rate", "1e5"),
        ("token_price_usd", ""),
        ("token_price_usd", ".5"),
        ("token_price_usd", "5."),
        ("raw_settle_amount", "1.2.3"),
        ("settle_amount", "9.99"),
        ("settle_amount", "0"),
        ("depeg_adjustment_bps", 10_000),
        ("depeg_adjustment_bps", -1),
        ("expires_at", 0),
    ],
)
async def test_what_cannot_be_a_quote_is_not_stored(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, column: str, value: Any
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    other = await accept_purchase(quoting_market, fake_scanner, clock)  # whose payment has none
    await purchase.open()
    await other.open()
    columns = [each.name for each in payment_quotes.columns]
    row = dict(zip(columns, stored(quoting_market, ", ".join(columns))[0], strict=True))
    row |= {"payment_id": other.payment_id, column: value}
    places = ", ".join("?" for _ in row)
    sql = f"INSERT INTO payment_quotes ({', '.join(row)}) VALUES ({places})"  # noqa: S608 - columns of ours

    with pytest.raises(sqlite3.IntegrityError):
        await quoting_market.write(sql, list(row.values()))
    await quoting_market.write(sql, [*(row | {column: _good(column, row)}).values()])


def _good(column: str, row: dict[str, Any]) -> Any:
    """Return what would have been accepted there."""
    good = {"settle_amount": "10", "depeg_adjustment_bps": 0, "expires_at": row["quoted_at"] + 1}
    return good.get(column, "1")


# -- compared ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("UPDATE payments SET amount_base = '1', amount = '0.000000000000000001' WHERE id = ?", "asked for"),
        ("UPDATE payments SET chain_id = 1 WHERE id = ?", "another chain"),
        ("UPDATE payment_quotes SET fx_rate = '1.26' WHERE payment_id = ?", "own numbers"),
        ("UPDATE payment_quotes SET depeg_adjustment_bps = 30 WHERE payment_id = ?", "own numbers"),
        ("UPDATE payment_quotes SET raw_settle_amount = '9' WHERE payment_id = ?", "own numbers"),
    ],
)
async def test_a_payment_that_is_not_as_it_was_quoted_is_found(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, sql: str, why: str
) -> None:
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    await purchase.open()
    assert await purchase.findings() == []
    where = "" if quoting_market.database_url is None else " ON payment_quotes"
    await quoting_market.write(f"DROP TRIGGER payment_quotes_no_update{where}")

    await quoting_market.write(sql, [purchase.payment_id])

    report = await quoting_market.admin.ok("GET", "/api/admin/reconciliation")
    assert [(each["kind"], each["paymentId"]) for each in report["findings"]] == [("wrong_quote", purchase.payment_id)]
    assert why in report["findings"][0]["detail"]


async def test_a_payment_in_another_currency_without_a_quote_is_found(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await accept_purchase(market, fake_scanner, clock)
    await purchase.open()
    assert await purchase.findings() == []

    await market.write("UPDATE offers SET price_currency = 'EUR' WHERE id = ?", [purchase.offer_id])

    assert await purchase.findings() == ["wrong_quote"]


@pytest.mark.parametrize("paid", [1, 5 * UNIT])
async def test_a_part_of_an_expired_quote_waits_for_a_person_and_freezes_nobody(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher, paid: int
) -> None:
    """Anybody can send a unit to an address: it neither keeps an old price nor keeps the buyer from paying."""
    purchase = await priced(quoting_market, fake_scanner, clock, "8", "EUR")
    first = await purchase.open("direct_balance")
    where = first["payment"]["destination"]
    fake_scanner.newest[where] = fake_scanner.balances[where] = paid
    assert (await purchase.check())["payment"]["escrowState"] == "partial"
    publisher.rates["EUR"] = 1
    clock.advance(TTL_S + 1)

    second = await purchase.open("direct_balance")

    assert (first["payment"]["amount"], second["payment"]["amount"]) == ("10", "8")
    assert second["payment"]["destination"] != where
    purchase.payment_id = first["payment"]["id"]
    assert await purchase.recoveries() == [("partial_payment", str(paid))]
