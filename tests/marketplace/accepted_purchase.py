"""A deal between one buyer and one seller, from the accepted offer on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.harness import FakeClock
from tests.marketplace.fake_scanner import FakeScanner, deliver
from tests.marketplace.harness import MARKET, Api, Running, new_offer, new_request, select

TEN = 10 * 10**18
SELLERS_WALLET = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
BUYERS_WALLET = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
DONE_IN = "0x" + "ab" * 32


@dataclass(slots=True)
class AcceptedPurchase:
    """Who, what, and where."""

    market: Running
    scanner: FakeScanner
    clock: FakeClock
    buyer: Api
    seller: Api
    request_id: str
    offer_id: str
    payment_id: str = ""

    def intent(self, rail: str = "proxy", **fields: Any) -> dict[str, Any]:
        return {"purchaseRequestId": self.request_id, "rail": rail, "chainId": 97, "token": "USDT", **fields}

    async def open(self, rail: str = "proxy", **fields: Any) -> dict[str, Any]:
        """Open a payment and return the whole answer."""
        data = await self.buyer.ok("POST", "/api/payment/intents", self.intent(rail, **fields))
        self.payment_id = data["payment"]["id"]
        return dict(data)

    async def fund(self, rail: str = "proxy") -> dict[str, Any]:
        """Open and pay."""
        await self.open(rail)
        status, answer = await self.hook(self.scanner.pay(self.payment_id))
        assert (status, answer["data"]["outcome"]) == (200, "funded")
        return await self.payment()

    async def hook(self, body: dict[str, Any], **more: Any) -> tuple[int, Any]:
        more.setdefault("now", self.clock.now_ms() // 1000)
        return await deliver(self.buyer, body, **more)

    async def check(self) -> dict[str, Any]:
        path = f"/api/payment/amn-scanner/direct-balance/check/{self.payment_id}"
        return dict(await self.buyer.ok("POST", path))

    async def payment(self) -> dict[str, Any]:
        return dict((await self.buyer.ok("GET", f"/api/payment/{self.payment_id}"))["payment"])

    async def ledger(self) -> dict[str, str]:
        return dict((await self.buyer.ok("GET", f"/api/payment/{self.payment_id}"))["ledger"])

    async def request(self) -> dict[str, Any]:
        return dict((await self.buyer.ok("GET", f"{MARKET}/purchase-requests/{self.request_id}"))["purchaseRequest"])

    async def recoveries(self) -> list[tuple[str, str | None]]:
        rows = (await self.market.admin.ok("GET", "/api/admin/recoveries"))["recoveries"]
        return [(row["reason"], row["amountBaseUnits"]) for row in rows if row["paymentId"] == self.payment_id]

    async def findings(self) -> list[str]:
        report = await self.market.admin.ok("GET", "/api/admin/reconciliation")
        return [finding["kind"] for finding in report["findings"]]

    def entries(self) -> list[tuple[str, int]]:
        """Return the ledger's lines about the payment, as they lie on disk."""
        with self.market.opened() as store:
            found = store.execute(
                "SELECT entry_type, amount_base FROM funds_ledger_entries WHERE payment_id = ? ORDER BY id",
                [self.payment_id],
            ).fetchall()
        return [(kind, int(amount)) for kind, amount in found]

    def path(self, rest: str) -> str:
        return f"{MARKET}/purchase-requests/{self.request_id}/{rest}"

    async def release(self, to: str = SELLERS_WALLET) -> tuple[int, Any]:
        return await self.market.admin.call("POST", f"/api/admin/payments/{self.payment_id}/release", {"toAddress": to})

    async def refund(self, to: str = BUYERS_WALLET) -> tuple[int, Any]:
        body = {"toAddress": to, "reason": "did not arrive"}
        return await self.market.admin.call("POST", f"/api/admin/payments/{self.payment_id}/refund", body)


async def accept_purchase(
    market: Running,
    scanner: FakeScanner,
    clock: FakeClock,
    price: str = "10",
    currency: str = "USDT",
    **fields: Any,
) -> AcceptedPurchase:
    """Bring two people together."""
    buyer, seller = await market.user("buyer"), await market.user("seller")
    product = {"productType": fields.pop("productType")} if "productType" in fields else {}
    request_id = await new_request(buyer, **product)
    offer_id = await new_offer(seller, request_id, **{"price": {"amount": price, "currency": currency}, **fields})
    status, _ = await select(buyer, request_id, offer_id)
    assert status == 200
    return AcceptedPurchase(market, scanner, clock, buyer, seller, request_id, offer_id)
