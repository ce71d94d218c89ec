"""Prices over HTTP: whose they are, how old, how long; and what is no price."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devnet.price_publisher import KEY, PricePublisher
from marketplace.pricing.currencies import CONVERTED, STABLECOINS
from marketplace.pricing.http_sources import MAX_BODY, ExchangeRates, SignedPrices, fetch_from
from marketplace.pricing.sources import SourceFailed
from tests.harness import FakeClock


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as found:
        yield found


@pytest.fixture
def signed(session: aiohttp.ClientSession, publisher: PricePublisher, clock: FakeClock) -> SignedPrices:
    key = KEY.public_key().public_bytes_raw()
    fetch = fetch_from(session, f"{publisher.url}/prices")
    return SignedPrices(fetch, key, STABLECOINS, clock.wall_ms, host="prices.example")


@pytest.fixture
def rates(session: aiohttp.ClientSession, publisher: PricePublisher, clock: FakeClock) -> ExchangeRates:
    return ExchangeRates(fetch_from(session, f"{publisher.url}/rates"), CONVERTED, clock.wall_ms, host="fx.example")


async def refused(source: SignedPrices | ExchangeRates) -> str:
    with pytest.raises(SourceFailed) as caught:
        await source.read()
    return str(caught.value)


async def test_a_signed_list_says_prices_and_their_age(signed: SignedPrices, publisher: PricePublisher) -> None:
    publisher.prices, publisher.age_s = {"USDT": "0.99987654", "USDC": "1.0001", "BTC": "100000"}, 42

    found = await signed.read()

    assert {asset: each.price for asset, each in found.prices.items()} == {
        "USDT": Decimal("0.99987654"),
        "USDC": Decimal("1.0001"),
    }
    assert 42 <= found.prices["USDT"].age_s < 44
    assert found.prices["USDT"].source == "signed:prices.example"


async def test_exchange_rates_are_turned_into_dollars_against_the_payer(
    rates: ExchangeRates, publisher: PricePublisher
) -> None:
    publisher.rates = {"EUR": 0.8, "TRY": 40, "IRR": 42_000.5}

    found = {asset: each.price for asset, each in (await rates.read()).prices.items()}

    assert (found["EUR"], found["TRY"]) == (Decimal("1.25"), Decimal("0.025"))
    assert 0 < Fraction(found["IRR"]) * Fraction("42000.5") - 1 < Fraction(1, 10**27)
    assert len(found["IRR"].as_tuple().digits) == 28


async def test_no_digit_of_a_rate_is_lost(rates: ExchangeRates, publisher: PricePublisher) -> None:
    """A float would have made 0.30000000000000004 of it."""
    raw = b'{"base": "USD", "timestamp": %d, "rates": {"EUR": 0.3000000000000000000000000001}}' % publisher.as_of
    publisher.answer = lambda _: web.Response(body=raw)

    price = (await rates.read()).prices["EUR"].price

    assert price < Fraction(10, 3)


@pytest.mark.parametrize(
    "number", ["0", "-1", "0.0", "1e-7", "NaN", "Infinity", "", "1,5", " 1", "+1", "9" * 41, "\u0661"]
)
async def test_what_is_no_price_takes_no_other_with_it(
    signed: SignedPrices, publisher: PricePublisher, number: str
) -> None:
    publisher.prices = {"USDT": number, "USDC": "1"}

    found = await signed.read()

    assert (set(found.prices), set(found.failures)) == ({"USDC"}, {"USDT"})


@pytest.mark.parametrize("prices", [None, [], "1", {"USDT": 1.5, "USDC": True}, {"USDT": None, "USDC": ["1"]}])
async def test_prices_of_another_shape_are_none(signed: SignedPrices, publisher: PricePublisher, prices: Any) -> None:
    publisher.prices = prices
    try:
        found = await signed.read()
    except SourceFailed:
        return
    assert set(found.prices) <= {"USDT"}  # 1.5 is a number, if not as text
    assert "USDC" in found.failures


async def test_a_list_of_another_key_is_not_believed(signed: SignedPrices, publisher: PricePublisher) -> None:
    publisher.key = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))

    assert "signature" in await refused(signed)


@pytest.mark.parametrize("prefix", [b"", b"amn-prices-v2\n"])
async def test_another_message_under_the_same_key_is_no_list(
    signed: SignedPrices, publisher: PricePublisher, prefix: bytes
) -> None:
    raw = orjson.dumps({"asOf": publisher.as_of, "prices": {"USDT": "1", "USDC": "1"}})
    publisher.answer = lambda _: publisher.signed(raw, prefix)

    assert "signature" in await refused(signed)


@pytest.mark.parametrize("header", [None, "", "!", "AAAA", "A" * 88])
async def test_a_list_without_its_signature_is_not_believed(
    signed: SignedPrices, publisher: PricePublisher, header: str | None
) -> None:
    headers = {} if header is None else {"X-Signature-Ed25519": header}
    publisher.answer = lambda _: web.Response(body=b'{"asOf": 1, "prices": {}}', headers=headers)

    assert "signature" in await refused(signed)


async def test_a_changed_byte_is_noticed(signed: SignedPrices, publisher: PricePublisher) -> None:
    def changed(_: web.Request) -> web.Response:
        told = publisher.signed(orjson.dumps({"asOf": publisher.as_of, "prices": {"USDT": "1.0", "USDC": "1.0"}}))
        assert isinstance(told.body, bytes)
        return web.Response(body=told.body.replace(b"1.0", b"1.1", 1), headers=told.headers)

    publisher.answer = changed

    assert "signature" in await refused(signed)


@pytest.mark.parametrize("as_of", ["soon", None, -1, "1767225600", 1.5, 10**13])
async def test_a_list_says_of_when_it_is(signed: SignedPrices, publisher: PricePublisher, as_of: Any) -> None:
    raw = orjson.dumps({"asOf": as_of, "prices": {"USDT": "1", "USDC": "1"}})
    publisher.answer = lambda _: publisher.signed(raw)
    if as_of == "1767225600":
        assert (await signed.read()).prices  # as text it is the same number
    else:
        assert "of" in await refused(signed)


async def test_nothing_is_of_a_time_to_come(
    signed: SignedPrices, rates: ExchangeRates, publisher: PricePublisher
) -> None:
    publisher.age_s = -120

    assert "to come" in await refused(signed)
    assert "to come" in await refused(rates)


async def test_rates_of_another_currency_than_the_dollar_are_refused(
    rates: ExchangeRates, publisher: PricePublisher
) -> None:
    raw = orjson.dumps({"base": "EUR", "timestamp": publisher.as_of, "rates": {"TRY": 45}})
    publisher.answer = lambda _: web.Response(body=raw)

    assert "dollar" in await refused(rates)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: web.Response(status=500),
        lambda asked: web.Response(status=302, headers={"Location": f"{asked.url.origin()}/elsewhere"}),
        lambda _: web.Response(body=b"<html>"),
        lambda _: web.Response(body=b"[]"),
        lambda _: web.Response(body=b"[" * 60_000),
        lambda _: web.Response(body=b"\xff\xfe"),
        lambda _: web.Response(body=b" " * (MAX_BODY + 1)),
    ],
)
async def test_an_answer_that_is_none_is_refused(rates: ExchangeRates, publisher: PricePublisher, answer: Any) -> None:
    publisher.answer = answer

    assert await refused(rates)
    assert publisher.asked == 1  # a redirect is followed nowhere


async def test_a_long_answer_that_is_packed_is_not_unpacked_whole(
    rates: ExchangeRates, publisher: PricePublisher
) -> None:
    def packed(_: web.Request) -> web.Response:
        told = web.Response(body=b" " * (20 * MAX_BODY))
        told.enable_compression(web.ContentCoding.gzip)
        return told

    publisher.answer = packed

    assert "longer" in await refused(rates)


async def test_a_server_that_is_away_is_no_failure_of_ours(session: aiohttp.ClientSession, clock: FakeClock) -> None:
    gone = ExchangeRates(fetch_from(session, "http://127.0.0.1:9/key-123"), CONVERTED, clock.wall_ms, host="fx")

    said = await refused(gone)

    assert "key-123" not in said  # an address may hold a key
