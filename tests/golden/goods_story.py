"""Digital goods, from an empty stock to what a buyer is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.marketplace.harness import MARKET

if TYPE_CHECKING:
    from tests.golden.marketplace_story import Market, RecordedPurchase

REFUSED = range(400, 500)
FILE = b'content,expiresAt\nAAAA-1111,\n"=BBBB\n2222",2100-01-01T00:00:00Z\n'
BAD = b"content,expiresAt\nAAAA-1111,\n,\nCCCC,yesterday\n"


async def tell(m: Market, accepted: Callable[[str], Awaitable[RecordedPurchase]]) -> None:
    """`accepted` makes a purchase whose offer hands over goods of a stock."""
    seller, buyer = m.people["seller"], m.people["buyer"]
    made = await seller.ask("POST", f"{MARKET}/stocks", {"name": "Gift cards", "lowAt": 1}, status=201)
    await seller.ask("POST", f"{MARKET}/stocks", {"name": "Gift cards"}, status=REFUSED)
    stock_id = made["data"]["stock"]["id"]
    path = f"{MARKET}/stocks/{stock_id}"
    await seller.ask("PATCH", path, {"lowAt": 2})
    await seller.ask("POST", f"{path}/items", FILE, status=201)
    await seller.ask("POST", f"{path}/items", BAD, status=REFUSED)
    for call in (path, f"{path}/items", f"{path}/items?state=free", f"{MARKET}/stocks"):
        found = await seller.ask("GET", call)
    await m.admin.ask("GET", f"{MARKET}/stocks")
    await m.people["other"].ask("GET", path, status=REFUSED)

    first, second, third = [await accepted(stock_id) for _ in range(3)]
    await first.fund()
    await second.open()
    await third.open()
    for purchase in (second, third):
        await m.hook(m.scanner.pay(purchase.payment_id))
    await first.buyer.ask("GET", f"{first.path}/goods")
    for _ in range(2):
        await buyer.ask("POST", f"{first.path}/goods/reveal")
    await buyer.ask("GET", f"{third.path}/goods")
    await buyer.ask("POST", f"{third.path}/goods/reveal", status=REFUSED)
    late = await accepted(stock_id)
    await late.open(status=REFUSED)

    await seller.ask("POST", f"{path}/items", b"content\nDDDD-4444\nEEEE-5555\n", status=201)
    await m.chores()
    await buyer.ask("POST", f"{third.path}/goods/reveal")
    found = await seller.ask("GET", f"{path}/items?state=free")
    withdraw = f"{MARKET}/stock-items/{found['data']['items'][0]['id']}/withdraw"
    await seller.ask("POST", withdraw)
    await seller.ask("POST", withdraw, status=REFUSED)
