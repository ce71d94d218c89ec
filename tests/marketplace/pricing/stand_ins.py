"""Sources of prices for tests: a signed list, exchange rates, and a node with feeds, each told what to say."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_abi.abi import encode

from devnet.fault_server import serving
from marketplace.pricing.chainlink import DECIMALS, DESCRIPTION, LATEST_ROUND
from marketplace.pricing.http_sources import SIGNATURE, SIGNED_AS
from tests.harness import FakeClock

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
USDT_FEED, USDC_FEED, EUR_FEED, SEQUENCER = (f"0x{n * 40}" for n in ("3", "4", "5", "6"))


@dataclass
class Publisher:
    """A signed list of prices and exchange rates of the dollar."""

    clock: FakeClock
    prices: dict[str, Any] = field(default_factory=lambda: {"USDT": "1.0000", "USDC": "1.0000"})
    rates: dict[str, Any] = field(default_factory=lambda: {"EUR": 0.8, "TRY": 40, "IRR": 50_000})
    age_s: int = 0
    key: Ed25519PrivateKey = KEY
    url: str = ""
    asked: int = 0
    answer: Callable[[web.Request], web.StreamResponse] | None = None  # in place of both

    @property
    def as_of(self) -> int:
        return self.clock.wall_ms() // 1000 - self.age_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.answer is not None:
            return self.answer(request)
        if request.path == "/rates":
            body = {"base": "USD", "timestamp": self.as_of, "rates": self.rates}
            return web.Response(body=orjson.dumps(body))
        return self.signed(orjson.dumps({"asOf": self.as_of, "prices": self.prices}))

    def signed(self, raw: bytes, prefix: bytes = SIGNED_AS) -> web.Response:
        signature = base64.b64encode(self.key.sign(prefix + raw)).decode()
        return web.Response(body=raw, headers={SIGNATURE: signature})

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of a backend that asks this one."""
        return {
            "ORACLE_PRICE_URL": f"{self.url}/prices",
            "ORACLE_PRICE_PUBLIC_KEY": PUBLIC_KEY,
            "ORACLE_FX_URL": f"{self.url}/rates",
        }


@asynccontextmanager
async def publishing(clock: FakeClock) -> AsyncIterator[Publisher]:
    """Run one until the block ends."""
    publisher = Publisher(clock)
    app = web.Application()
    app.router.add_get("/{name}", publisher.handle)
    async with serving(app) as url:
        publisher.url = url
        yield publisher


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
