"""Digital goods as sellers upload them and buyers get them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import MARKET, Api, Running, described, new_offer, new_request, select


async def send_file(seller: Api, stock_id: str, raw: bytes) -> tuple[int, Any]:
    """Upload a file as it is."""
    path = f"{MARKET}/stocks/{stock_id}/items"
    headers = {"Authorization": f"Bearer {seller.token}", "Content-Type": "text/csv"}
    async with seller.session.post(seller.url + path, data=raw, headers=headers) as response:
        answer = orjson.loads(await response.read())
        described("POST", path, response.status, answer)
        return response.status, answer


@dataclass(slots=True)
class Shelf:
    """A seller's stock, and people who buy from it."""

    market: Running
    scanner: FakeScanner
    clock: FakeClock
    seller: Api
    stock_id: str

    @property
    def path(self) -> str:
        return f"{MARKET}/stocks/{self.stock_id}"

    async def fill(self, *codes: str, expires: str = "") -> None:
        rows = "".join(f'"{code}",{expires}\n' for code in codes)
        status, answer = await send_file(self.seller, self.stock_id, f"content,expiresAt\n{rows}".encode())
        assert status == 201, answer

    async def counts(self) -> dict[str, int]:
        return dict((await self.seller.ok("GET", self.path))["stock"]["counts"])

    async def accepted(self, quantity: int = 1) -> AcceptedPurchase:
        """Return a request whose offer hands over goods of this stock."""
        buyer = await self.market.user("buyer")
        request_id = await new_request(buyer, productType="digital_product", quantity=quantity)
        offer_id = await new_offer(self.seller, request_id, poolId=self.stock_id)
        assert (await select(buyer, request_id, offer_id))[0] == 200
        return AcceptedPurchase(self.market, self.scanner, self.clock, buyer, self.seller, request_id, offer_id)

    async def bought(self, quantity: int = 1) -> AcceptedPurchase:
        found = await self.accepted(quantity)
        await found.fund()
        return found


async def open_shelf(market: Running, scanner: FakeScanner, clock: FakeClock, *codes: str, low_at: int = 0) -> Shelf:
    seller = await market.user("seller")
    body = {"name": "Gift cards", "lowAt": low_at}
    stock_id = (await seller.ok("POST", f"{MARKET}/stocks", body, 201))["stock"]["id"]
    shelf = Shelf(market, scanner, clock, seller, stock_id)
    if codes:
        await shelf.fill(*codes)
    return shelf


async def reveal(purchase: AcceptedPurchase, who: Api | None = None) -> tuple[int, Any]:
    return await (who or purchase.buyer).call("POST", purchase.path("goods/reveal"))


async def revealed(purchase: AcceptedPurchase) -> list[str]:
    """Return what the buyer is shown."""
    status, answer = await reveal(purchase)
    assert status == 200, answer
    return [each["content"] for each in answer["data"]["goods"]]
