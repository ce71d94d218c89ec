"""A publisher of prices and exchange rates: what a marketplace quotes by that has no sources of its own."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devnet.fault_server import serving

SIGNATURE = "X-Signature-Ed25519"
SIGNED_AS = b"amn-prices-v1\n"
PRICES = {"USDT": "0.9961", "USDC": "1.0002"}  # one a little off its peg, so that a quote shows it
RATES = {"EUR": 0.86, "TRY": 41.37, "IRR": 1_125_000}  # units for one dollar


@asynccontextmanager
async def price_publisher() -> AsyncIterator[Mapping[str, str]]:
    """Publish until the block ends; give the settings of a marketplace that quotes by it."""
    key = Ed25519PrivateKey.generate()

    async def prices(_request: web.Request) -> web.Response:
        body = orjson.dumps({"asOf": int(time.time()), "prices": PRICES})
        signature = base64.b64encode(key.sign(SIGNED_AS + body)).decode()
        return web.Response(body=body, headers={SIGNATURE: signature})

    async def rates(_request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps({"base": "USD", "timestamp": int(time.time()), "rates": RATES}))

    app = web.Application()
    app.router.add_get("/prices", prices)
    app.router.add_get("/rates", rates)
    async with serving(app) as url:
        yield {
            "ORACLE_PRICE_URL": f"{url}/prices",
            "ORACLE_PRICE_PUBLIC_KEY": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
            "ORACLE_PRICE_ASSETS": ",".join(PRICES),
            "ORACLE_FX_URL": f"{url}/rates",
            "ORACLE_FX_CURRENCIES": ",".join(RATES),
        }
