"""Feeds that are real contracts on a real chain, and a backend that quotes by them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from devnet.evm.anvil import Anvil, anvil
from devnet.evm.local_node import call_data
from devnet.price_publisher import PricePublisher
from marketplace.payments.money import to_base_units
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import ADMIN, Running, environment, login, running

pytestmark = pytest.mark.long
DOLLAR = 10**8
UNIT = 10**18
HOUR_S = 3600
SET = "set(uint80,int256,uint256,uint256,uint80)"


@dataclass
class Feeds:
    """The chain with its feeds, and the backend that reads them."""

    chain: Anvil
    usdt: str
    eur: str
    sequencer: str
    market: Running
    scanner: FakeScanner
    clock: FakeClock
    publisher: PricePublisher

    async def send(self, feed: str, signature: str, *arguments: Any) -> None:
        receipt = await self.chain.mined(await self.chain.send(feed, call_data(signature, *arguments)))
        assert receipt["status"] == "0x1"

    async def tell(self, feed: str, answer: int) -> None:
        await self.send(feed, "tell(int256)", answer)

    async def now_s(self) -> int:
        block = await self.chain.block()
        assert block is not None
        return int(block["timestamp"], 16)

    async def pass_time(self, seconds: int) -> None:
        """Let it be later on the chain and here, without a word of the feeds."""
        await self.chain.pass_time(seconds)
        await self.follow()
        self.market.admin = await login(self.market.nobody, *ADMIN)  # the last login ended meanwhile

    async def follow(self) -> None:
        """Go by the chain's time, and let what was read a moment ago be old."""
        self.clock.advance(max(11, await self.now_s() - self.clock.wall_ms() // 1000))

    async def purchase(self, amount: str = "10", currency: str = "USD") -> AcceptedPurchase:
        await self.follow()
        return await accept_purchase(self.market, self.scanner, self.clock, amount, currency)

    async def quote(self, amount: str = "10", currency: str = "USD") -> dict[str, Any]:
        opened = await (await self.purchase(amount, currency)).open()
        return dict(opened["quote"])

    async def reason(self, currency: str = "USD") -> str:
        """Return why no quote can be drawn."""
        purchase = await self.purchase("10", currency)
        status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent())
        assert (status, answer["error"]["code"]) == (503, "quote_unavailable")
        return str(answer["error"]["details"]["reason"])


async def deployed(chain: Anvil, description: str, decimals: int, answer: int) -> str:
    address = await chain.deploy("TestAggregator")
    await chain.mined(await chain.send(address, call_data("init(string,uint8)", description, decimals)))
    await chain.mined(await chain.send(address, call_data("tell(int256)", answer)))
    return address


@pytest.fixture
async def feeds(
    tmp_path: Path, fake_scanner: FakeScanner, publisher: PricePublisher, clock: FakeClock
) -> AsyncIterator[Feeds]:
    async with anvil() as chain:
        usdt = await deployed(chain, "USDT / USD", 8, DOLLAR)
        eur = await deployed(chain, "EUR / USD", 18, 125 * 10**16)
        sequencer = await deployed(chain, "L2 Sequencer Uptime Status Feed", 0, 0)
        await chain.pass_time(2 * HOUR_S)  # it has been up for a while
        for feed, answer in ((usdt, DOLLAR), (eur, 125 * 10**16)):
            await chain.mined(await chain.send(feed, call_data("tell(int256)", answer)))
        clock.advance(2 * HOUR_S)
        more = {
            "ORACLE_CHAINLINK_FEEDS": orjson.dumps({"97": {"USDT": usdt, "EUR": eur}}).decode(),
            "ORACLE_SEQUENCER_FEEDS": orjson.dumps({"97": sequencer}).decode(),
            "RPC_BSC_TESTNET": chain.url,
        }
        env = environment(tmp_path, fake_scanner.url, **more)
        async with running(env, clock=clock) as market:
            yield Feeds(chain, usdt, eur, sequencer, market, fake_scanner, clock, publisher)


async def test_a_price_is_quoted_by_contracts(feeds: Feeds) -> None:
    quote = await feeds.quote("8", "EUR")

    assert (quote["fxRate"], quote["tokenPriceUsd"], quote["settleAmount"]) == ("1.25", "1", "10")
    assert {each["source"] for each in quote["sources"]} == {"chainlink:97"}


@pytest.mark.parametrize(("bps", "adjustment"), [(24, 0), (25, 25), (199, 199), (200, 200)])
async def test_a_depegged_coin_costs_as_much_more(feeds: Feeds, bps: int, adjustment: int) -> None:
    await feeds.tell(feeds.usdt, DOLLAR * (10_000 - bps) // 10_000)

    quote = await feeds.quote()

    owed = -(-10 * UNIT * 10_000 // (10_000 - adjustment))
    assert quote["depegAdjustmentBps"] == adjustment
    assert to_base_units(quote["settleAmount"], 18) == owed


async def test_a_coin_too_far_off_is_not_quoted_until_it_is_back(feeds: Feeds) -> None:
    await feeds.tell(feeds.usdt, DOLLAR * 9799 // 10_000)
    assert await feeds.reason() == "depeg"

    await feeds.tell(feeds.usdt, DOLLAR)
    assert (await feeds.quote())["settleAmount"] == "10"


async def test_a_stale_feed_is_no_price_until_it_is_written_again(feeds: Feeds) -> None:
    await feeds.pass_time(HOUR_S + 1)
    assert await feeds.reason() == "stale"

    await feeds.tell(feeds.usdt, DOLLAR)
    assert (await feeds.quote())["settleAmount"] == "10"
    assert await feeds.reason("EUR") == "stale"  # the other feed is as old as before


@pytest.mark.parametrize("answer", [0, -DOLLAR])
async def test_an_answer_that_is_no_price_is_none(feeds: Feeds, answer: int) -> None:
    await feeds.tell(feeds.usdt, answer)

    assert await feeds.reason() == "down"


async def test_a_feed_that_reverts_is_no_price(feeds: Feeds) -> None:
    await feeds.send(feeds.usdt, "setBroken(bool)", True)

    assert await feeds.reason() == "down"


async def test_a_round_that_was_never_answered_is_no_price(feeds: Feeds) -> None:
    now = await feeds.now_s()
    await feeds.send(feeds.usdt, SET, 9, DOLLAR, now, now, 8)

    assert await feeds.reason() == "down"


@pytest.mark.parametrize(("description", "decimals"), [("USDT / USD", 6), ("USDT / USD", 19), ("USDT / ETH", 8)])
async def test_another_feed_than_was_meant_is_no_price(feeds: Feeds, description: str, decimals: int) -> None:
    await feeds.send(feeds.usdt, "init(string,uint8)", description, decimals)

    assert await feeds.reason() in {"down", "depeg"}  # with 6 decimals it says 100 dollars


async def test_a_sequencer_that_was_down_stops_quotes_until_its_grace_is_over(feeds: Feeds) -> None:
    await feeds.tell(feeds.sequencer, 1)
    assert await feeds.reason() == "down"

    await feeds.tell(feeds.sequencer, 0)
    await feeds.tell(feeds.usdt, DOLLAR)
    assert await feeds.reason() == "down"

    await feeds.pass_time(HOUR_S)
    await feeds.tell(feeds.usdt, DOLLAR)
    assert (await feeds.quote())["settleAmount"] == "10"


async def test_a_lying_second_source_stops_quotes_by_contracts(
    tmp_path: Path, feeds: Feeds, fake_scanner: FakeScanner, publisher: PricePublisher, clock: FakeClock
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    both = {
        **publisher.settings,
        "ORACLE_CHAINLINK_FEEDS": orjson.dumps({"97": {"USDT": feeds.usdt}}).decode(),
        "RPC_BSC_TESTNET": feeds.chain.url,
    }
    async with running(environment(folder, fake_scanner.url, **both), clock=clock) as market:
        told = Feeds(feeds.chain, feeds.usdt, feeds.eur, "", market, fake_scanner, clock, publisher)
        publisher.prices["USDT"] = "0.9850"
        assert await told.reason() == "spread"

        publisher.prices["USDT"] = "0.9960"
        quote = await told.quote()

    assert (quote["tokenPriceUsd"], quote["depegAdjustmentBps"]) == ("0.998", 0)
    assert {each["source"] for each in quote["sources"]} == {"chainlink:97", "signed:127.0.0.1"}


async def test_a_node_that_stands_still_is_noticed(feeds: Feeds) -> None:
    purchase = await feeds.purchase()
    feeds.clock.advance(301)

    status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent())

    assert (status, answer["error"]["details"]["reason"]) == (503, "down")
