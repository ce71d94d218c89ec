"""A publisher of prices for tests and rehearsals: a signed list, and exchange rates of the dollar, told what to say."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devnet.fault_server import serving

SIGNATURE = "X-Signature-Ed25519"
SIGNED_AS = b"amn-prices-v1\n"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # everybody knows it: for rehearsals alone
PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()


@dataclass
class PricePublisher:
    """What it says; `answer` is given in place of both lists."""

    now_ms: Callable[[], int]
    prices: dict[str, Any] = field(default_factory=lambda: {"USDT": "1.0000", "USDC": "1.0000"})
    rates: dict[str, Any] = field(default_factory=lambda: {"EUR": 0.8, "TRY": 40, "IRR": 50_000})
    age_s: int = 0
    key: Ed25519PrivateKey = KEY
    url: str = ""
    asked: int = 0
    answer: Callable[[web.Request], web.StreamResponse] | None = None

    @property
    def as_of(self) -> int:
        return self.now_ms() // 1000 - self.age_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.answer is not None:
            return self.answer(request)
        if request.path == "/rates":
            return web.Response(body=orjson.dumps({"base": "USD", "timestamp": self.as_of, "rates": self.rates}))
        return self.signed(orjson.dumps({"asOf": self.as_of, "prices": self.prices}))

    def signed(self, raw: bytes, prefix: bytes = SIGNED_AS) -> web.Response:
        """Return a document with this publisher's signature."""
        signature = base64.b64encode(self.key.sign(prefix + raw)).decode()
        return web.Response(body=raw, headers={SIGNATURE: signature})

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of a marketplace that asks this one."""
        return {
            "ORACLE_PRICE_URL": f"{self.url}/prices",
            "ORACLE_PRICE_PUBLIC_KEY": PUBLIC_KEY,
            "ORACLE_PRICE_ASSETS": ",".join(self.prices),
            "ORACLE_FX_URL": f"{self.url}/rates",
            "ORACLE_FX_CURRENCIES": ",".join(self.rates),
        }


def host_ms() -> int:
    """Return unix time in milliseconds by this host's clock."""
    return time.time_ns() // 1_000_000


def off_peg() -> dict[str, Any]:
    """Return prices of which one is a little off its peg, so that a quote shows it."""
    return {"USDT": "0.9961", "USDC": "1.0002"}


@asynccontextmanager
async def publishing(
    now_ms: Callable[[], int] = host_ms, *, prices: dict[str, Any] | None = None
) -> AsyncIterator[PricePublisher]:
    """Run one on a free port until the block ends; at par unless `prices` say otherwise."""
    publisher = PricePublisher(now_ms)
    publisher.prices |= prices or {}
    app = web.Application()
    app.router.add_get("/{name}", publisher.handle)
    async with serving(app) as url:
        publisher.url = url
        yield publisher
