"""Payments through hosted providers: opened, told, funded, and what is not believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from devnet.hosted.request_network import RequestNetworkServer
from devnet.hosted.shkeeper import ShkeeperServer, encoded
from tests.marketplace.fake_scanner import SENDER
from tests.marketplace.harness import ADMIN
from tests.marketplace.hosted_purchase import (
    API_KEY,
    HOOK_KEY,
    KEY,
    REQUEST_NETWORK_HOOK,
    SHKEEPER_HOOK,
    of_request_network,
    of_shkeeper,
)

if TYPE_CHECKING:
    from tests.golden.marketplace_story import Market

TEN = str(10 * 10**18)
PAID = ["0x" + digit * 64 for digit in "ab"]


@dataclass(frozen=True)
class Providers:
    """Both stand-ins."""

    shkeeper: ShkeeperServer
    request_network: RequestNetworkServer

    @property
    def settings(self) -> dict[str, str]:
        return {**of_shkeeper(self.shkeeper), **of_request_network(self.request_network)}


@asynccontextmanager
async def providers() -> AsyncIterator[Providers]:
    async with ShkeeperServer(KEY) as shkeeper, RequestNetworkServer(API_KEY, HOOK_KEY) as request_network:
        yield Providers(shkeeper, request_network)


async def tell(m: Market, beside: Providers) -> None:
    from tests.golden.marketplace_story import make_purchase  # noqa: PLC0415 - which imports this one's neighbours

    await m.log_in("admin", *ADMIN)
    for role in ("buyer", "seller"):
        await m.join(role, role)
    purchase = await make_purchase(m)
    await m.people["buyer"].ask("GET", f"/api/payment/options?requestId={purchase.request_id}")
    await purchase.open(provider="shkeeper", status=422)
    await purchase.open("direct", provider="shkeeper")
    _moves(m, beside.shkeeper.invoice(purchase.payment_id).address, PAID[0])
    raw = encoded(beside.shkeeper.pay(purchase.payment_id, "10", PAID[0]))
    headers = beside.shkeeper.headers(raw, now=m.clock.now_ms() // 1000)
    await m.nobody.ask("POST", SHKEEPER_HOOK, raw, status=401, **{**headers, "X-Shkeeper-Api-Key": "another"})
    for _ in range(2):
        await m.nobody.ask("POST", SHKEEPER_HOOK, raw, status=202, **headers)
    await purchase.show()

    purchase = await make_purchase(m)
    await purchase.open("direct", provider="request.network")
    made = beside.request_network.of(purchase.payment_id)
    _moves(m, made["destinationId"].split("@")[0], PAID[1])
    body = orjson.dumps(beside.request_network.pay(made["requestId"], "10", PAID[1]))
    await m.nobody.ask("POST", REQUEST_NETWORK_HOOK, body, **beside.request_network.headers(body))
    await purchase.show()

    m.scanner.given_up = [purchase.payment_id]
    await m.chores()
    await m.admin.ask("GET", "/api/notifications")


def _moves(m: Market, to: str, tx: str) -> None:
    """Let a transaction pay the address of a payment, as the scanner sees it."""
    usdt = next(token["address"] for token in m.scanner.tokens if token["symbol"] == "USDT")
    order = {
        "chainId": 97,
        "tokenAddress": usdt,
        "from": SENDER,
        "to": to,
        "amountBaseUnits": TEN,
    }
    m.scanner.carries_out(order, tx=tx)
