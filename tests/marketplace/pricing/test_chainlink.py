"""Feeds as a node shows them: every way in which one cannot be relied upon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from marketplace.pricing.chainlink import MAX_BODY, MAX_HEAD_AGE_S, ChainlinkFeeds, Node
from marketplace.pricing.sources import SourceFailed
from tests.harness import FakeClock
from tests.marketplace.pricing.stand_ins import EUR_FEED, SEQUENCER, USDC_FEED, USDT_FEED, Feed, FeedNode, said

GRACE_S = 3600
FEEDS = {"USDT": USDT_FEED, "USDC": USDC_FEED, "EUR": EUR_FEED}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as found:
        yield found


@pytest.fixture
def feeds(session: aiohttp.ClientSession, node: FeedNode, clock: FakeClock) -> ChainlinkFeeds:
    return ChainlinkFeeds(Node(session, node.url), 97, FEEDS, clock.wall_ms, sequencer=None, grace_s=GRACE_S)


@pytest.fixture
def sequenced(session: aiohttp.ClientSession, node: FeedNode, clock: FakeClock) -> ChainlinkFeeds:
    node.feeds[SEQUENCER] = Feed("L2 Sequencer Uptime Status Feed", 0, 0, age_s=GRACE_S + 1)
    return ChainlinkFeeds(Node(session, node.url), 97, FEEDS, clock.wall_ms, sequencer=SEQUENCER, grace_s=GRACE_S)


async def refused(feeds: ChainlinkFeeds) -> str:
    with pytest.raises(SourceFailed) as caught:
        await feeds.read()
    return str(caught.value)


async def test_feeds_say_prices_and_their_age_by_the_chains_time(feeds: ChainlinkFeeds, node: FeedNode) -> None:
    node.head_age_s = 30
    node.feeds[USDT_FEED] = Feed("USDT / USD", 99_950_000, age_s=100)
    node.feeds[USDC_FEED] = Feed("USDC / USD", 1_000_123_000_000_000_000, decimals=18)

    found = (await feeds.read()).prices

    assert {asset: each.price for asset, each in found.items()} == {
        "USDT": Decimal("0.99950000"),
        "USDC": Decimal("1.000123"),
        "EUR": Decimal("1.25"),
    }
    assert (found["USDT"].age_s, found["USDC"].age_s) == (100, 0)  # the head is 30 s old, and the price older than it
    assert found["USDT"].source == "chainlink:97"


async def test_the_chain_is_compared_once(feeds: ChainlinkFeeds, node: FeedNode) -> None:
    await feeds.read()
    await feeds.read()

    assert node.calls.count("eth_chainId") == 1


async def test_a_node_of_another_chain_is_not_asked(feeds: ChainlinkFeeds, node: FeedNode) -> None:
    node.chain_id = 1

    assert "chain 1" in await refused(feeds)
    assert "eth_call" not in node.calls


@pytest.mark.parametrize(
    "feed",
    [
        Feed("USDT / USD", 0),
        Feed("USDT / USD", -1),
        Feed("USDT / USD", -(2**255)),
        Feed("USDT / USD", decimals=19),
        Feed("USDT / USD", decimals=255),
        Feed("USDT / USD", decimals=256),  # no uint8
        Feed("USDC / USD"),
        Feed("USD / USDT"),
        Feed("USDT / ETH"),
        Feed(""),
        Feed("USDT / USD", round_id=0, answered_in=0),
        Feed("USDT / USD", round_id=11, answered_in=10),
        Feed("USDT / USD", updated_at=0),
        Feed("USDT / USD", age_s=-5),
        Feed("USDT / USD", reverts=True),
    ],
    ids=lambda feed: f"{feed.description},{feed.answer},{feed.decimals},{feed.round_id},{feed.age_s},{feed.reverts}",
)
async def test_a_feed_that_cannot_be_relied_upon_takes_no_other_with_it(
    feeds: ChainlinkFeeds, node: FeedNode, feed: Feed
) -> None:
    node.feeds[USDT_FEED] = feed

    found = await feeds.read()

    assert set(found.prices) == {"USDC", "EUR"}
    assert set(found.failures) == {"USDT"}


async def test_an_address_without_a_contract_is_no_feed(feeds: ChainlinkFeeds, node: FeedNode) -> None:
    del node.feeds[USDT_FEED]

    assert set((await feeds.read()).failures) == {"USDT"}


async def test_a_node_that_stands_still_is_not_believed(feeds: ChainlinkFeeds, node: FeedNode) -> None:
    """By the time of its chain every price stays as fresh as it was."""
    node.head_age_s = MAX_HEAD_AGE_S + 2

    assert "old" in await refused(feeds)

    node.head_age_s = -120
    assert "to come" in await refused(feeds)


async def test_while_the_sequencer_is_up_feeds_count(sequenced: ChainlinkFeeds) -> None:
    assert set((await sequenced.read()).prices) == set(FEEDS)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (Feed("", 1, 0, age_s=10_000), "is down"),
        (Feed("", 2, 0, age_s=10_000), "is down"),
        (Feed("", -1, 0, age_s=10_000), "is down"),
        (Feed("", 0, 0, age_s=GRACE_S - 1), "a moment ago"),
        (Feed("", 0, 0, age_s=10_000, started_at=0), "nothing is known"),
        (Feed("", 0, 0, age_s=10_000, round_id=0, answered_in=0), "never answered"),
        (Feed("", 0, 0, reverts=True), "refuses"),
    ],
)
async def test_while_it_is_down_and_for_a_while_after_no_feed_counts(
    sequenced: ChainlinkFeeds, node: FeedNode, state: Feed, why: str
) -> None:
    node.feeds[SEQUENCER] = state

    assert why in await refused(sequenced)


async def test_without_the_feed_that_watches_it_nothing_is_known_of_the_sequencer(
    sequenced: ChainlinkFeeds, node: FeedNode
) -> None:
    del node.feeds[SEQUENCER]

    assert "no price feed" in await refused(sequenced)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: web.Response(status=429),
        lambda _: web.Response(body=b"<html>"),
        lambda _: web.Response(body=b"[]"),
        lambda _: web.json_response({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "no"}}),
        lambda _: said(None),
        lambda _: said("0x"),
        lambda _: said("0xzz"),
        lambda _: said(7),
        lambda _: said("0x" + "f" * 17),
    ],
)
async def test_a_node_that_answers_something_else_says_nothing(
    feeds: ChainlinkFeeds, node: FeedNode, answer: Any
) -> None:
    node.answer = answer

    assert await refused(feeds)


async def test_a_nodes_answer_is_read_up_to_a_bound(feeds: ChainlinkFeeds, node: FeedNode) -> None:
    def long(call: dict[str, Any]) -> web.Response | None:
        if call["method"] != "eth_getBlockByNumber":
            return None
        block = {"result": {"number": "0x64", "timestamp": hex(node.time_s)}}
        return web.Response(body=orjson.dumps(block) + b" " * MAX_BODY)

    node.answer = long

    assert "longer" in await refused(feeds)


@pytest.mark.parametrize(
    "result", ["0x", "0x1", "0xfg", None, 1, "0x" + "00" * 31, "0x" + "ff" * 160, "0x" + "ff" * 20_000]
)
async def test_a_contract_that_answers_something_else_is_no_feed(
    feeds: ChainlinkFeeds, node: FeedNode, result: Any
) -> None:
    node.answer = lambda call: said(result) if call["method"] == "eth_call" else None

    found = await feeds.read()

    assert (found.prices, set(found.failures)) == ({}, set(FEEDS))


async def test_a_node_that_is_away_is_no_failure_of_ours(session: aiohttp.ClientSession, clock: FakeClock) -> None:
    node = Node(session, "http://127.0.0.1:9/key-123")
    gone = ChainlinkFeeds(node, 97, FEEDS, clock.wall_ms, sequencer=None, grace_s=0)

    assert "key-123" not in await refused(gone)
