"""A node with price feeds, told what to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from eth_abi.abi import encode

from devnet.fault_server import serving
from marketplace.pricing.chainlink import DECIMALS, DESCRIPTION, LATEST_ROUND
from tests.harness import FakeClock

USDT_FEED, USDC_FEED, EUR_FEED, SEQUENCER = (f"0x{n * 40}" for n in ("3", "4", "5", "6"))


@dataclass
class Feed:
    """What a price feed says."""

    description: str
    answer: int = 100_000_000
    decimals: int = 8
    age_s: int = 0
    started_at: int | None = None
    round_id: int = 10
    answered_in: int = 10
    updated_at: int | None = None
    reverts: bool = False


@dataclass
class FeedNode:
    """A JSON-RPC endpoint with feeds, and a chain whose time is the clock's unless it is told otherwise."""

    clock: FakeClock
    chain_id: int = 97
    head_age_s: int = 0
    feeds: dict[str, Feed] = field(
        default_factory=lambda: {
            USDT_FEED: Feed("USDT / USD"),
            USDC_FEED: Feed("USDC / USD"),
            EUR_FEED: Feed("EUR / USD", 125_000_000),
        }
    )
    url: str = ""
    calls: list[str] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], web.StreamResponse | None] = lambda _: None

    @property
    def time_s(self) -> int:
        return self.clock.wall_ms() // 1000 - self.head_age_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = orjson.loads(await request.read())
        self.calls.append(call["method"])
        told = self.answer(call)
        if told is not None:
            return told
        match call["method"]:
            case "eth_chainId":
                return said(hex(self.chain_id))
            case "eth_getBlockByNumber":
                return said({"number": "0x64", "timestamp": hex(self.time_s)})
            case "eth_call":
                return self._called(*call["params"])
            case other:
                raise AssertionError(other)

    def _called(self, call: dict[str, str], block: str) -> web.Response:
        assert block == "0x64"  # every answer is of one block
        feed = self.feeds.get(call["to"].lower())
        if feed is None:
            return said("0x")
        if feed.reverts:
            return web.json_response({"jsonrpc": "2.0", "id": 1, "error": {"code": 3, "message": "execution reverted"}})
        return said("0x" + self._bytes(feed, call["data"]).hex())

    def _bytes(self, feed: Feed, data: str) -> bytes:
        updated = self.time_s - feed.age_s if feed.updated_at is None else feed.updated_at
        started = updated if feed.started_at is None else feed.started_at
        state = (feed.round_id, feed.answer, started, updated, feed.answered_in)
        kinds = ["uint80", "int256", "uint256", "uint256", "uint80"]
        return {
            LATEST_ROUND: encode(kinds, state),
            DECIMALS: encode(["uint256"], [feed.decimals]),
            DESCRIPTION: encode(["string"], [feed.description]),
        }[data]


def said(result: Any) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": 1, "result": result})


@asynccontextmanager
async def feeding(clock: FakeClock) -> AsyncIterator[FeedNode]:
    """Run one until the block ends."""
    node = FeedNode(clock)
    app = web.Application()
    app.router.add_post("/", node.handle)
    async with serving(app) as url:
        node.url = url
        yield node
