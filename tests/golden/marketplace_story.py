"""The marketplace from its first login to its last payout: every call, every refusal, every notification."""

from __future__ import annotations

import itertools
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pyotp
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_keys import keys

from marketplace.identity.tokens import digest
from marketplace.store import messages
from marketplace.web.routes import ROUTES
from protocol.wire import Moment, rfc3339
from tests.golden import goods_story, shop_story
from tests.golden.book import Book, Caller
from tests.harness import FakeClock
from tests.marketplace import fake_scanner, harness
from tests.marketplace.accepted_purchase import BUYERS_WALLET, DONE_IN, SELLERS_WALLET, TEN
from tests.marketplace.evm_node_stub import run_evm_node
from tests.marketplace.fake_scanner import SENDER, FakeScanner, balance_changed, confirmed, news
from tests.marketplace.harness import ADMIN, HOOK_SECRET, MARKET, PASSWORD, Running, offer_body, request_body
from webhooks.signing import headers_for

NOW_S = 1_790_000_000
AWAY = "http://127.0.0.1:9"
NOWHERE = "00000000-0000-4000-8000-000000000000"
REFUSED = range(400, 500)
TOO_LARGE = b" " * 70_000
HOUR_S = 3600
HOOK = "/api/payment/amn-scanner/webhook"


def foretell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ids count up, since lists are ordered by them within a moment, and the stand-in of the scanner say the same."""
    numbers = itertools.count(1)
    monkeypatch.setattr(uuid, "uuid4", lambda: _numbered(next(numbers)))
    monkeypatch.setattr(fake_scanner, "_now", lambda: Moment((NOW_S - 2_400) * 1000))
    monkeypatch.setattr(fake_scanner, "_events", itertools.count(1))
    monkeypatch.setattr(fake_scanner, "_hashes", itertools.count(1))


def _numbered(number: int) -> uuid.UUID:
    return uuid.UUID(int=number << 80 | number, version=4)


@dataclass
class Market:
    """The backend, the scanner it talks to, the clock, and who uses it."""

    shop: Running
    scanner: FakeScanner
    clock: FakeClock
    nobody: Caller
    book: Book
    people: dict[str, Caller] = field(default_factory=dict)

    @property
    def admin(self) -> Caller:
        return self.people["admin"]

    async def log_in(self, name: str, email: str, password: str = PASSWORD) -> Caller:
        data = await self.nobody.ask("POST", "/api/auth/login", {"email": email, "password": password})
        self.people[name] = self.nobody.as_(Authorization=f"Bearer {data['data']['tokens']['accessToken']}")
        return self.people[name]

    async def join(self, role: str, name: str) -> Caller:
        email = f"{name}@example.test"
        new = {"email": email, "password": PASSWORD, "role": role, "name": name.title()}
        await self.admin.ask("POST", "/api/admin/users", new, status=201)
        return await self.log_in(name, email)

    async def log_in_again(self) -> None:
        """Give everybody a token of now."""
        for name in list(self.people):
            await self.log_in(name, *(ADMIN if name == "admin" else (f"{name}@example.test",)))

    async def hook(self, body: Any, *, status: Any = 200, secret: str = HOOK_SECRET, age_s: int = 0) -> Any:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        reported = body if isinstance(body, dict) else {}
        signed = headers_for(
            event_id=str(reported.get("eventId", "evt")),
            event_type=str(reported.get("eventType", "")),
            delivery_id="x",
            body=raw,
            secret=secret,
            timestamp=self.clock.now_ms() // 1000 - age_s,
        )
        return (await self.nobody.ask("POST", HOOK, raw, status=status, **signed)).get("data")

    async def settle_down(self) -> None:
        """Let what waits for the scanner be done."""
        while await self.shop.marketplace.commands.run_due():
            pass

    async def chores(self) -> None:
        await self.shop.marketplace.sweep.once()
        await self.settle_down()

    async def wait(self, hours: float) -> None:
        """Let time pass; tokens end before it does, so everybody logs in again."""
        self.clock.advance(hours * HOUR_S)
        await self.log_in_again()


@dataclass
class RecordedPurchase:
    """A request whose offer was accepted, and how it is paid."""

    market: Market
    request_id: str
    offer_id: str
    payment_id: str = ""

    @property
    def buyer(self) -> Caller:
        return self.market.people["buyer"]

    @property
    def seller(self) -> Caller:
        return self.market.people["seller"]

    @property
    def path(self) -> str:
        return f"{MARKET}/purchase-requests/{self.request_id}"

    @property
    def intent(self) -> dict[str, Any]:
        return self.market.scanner.intents[self.payment_id]

    async def open(self, rail: str = "proxy", *, status: Any = 201, **more: Any) -> Any:
        body = {"purchaseRequestId": self.request_id, "rail": rail, "chainId": 97, "token": "USDT", **more}
        data = (await self.buyer.ask("POST", "/api/payment/intents", body, status=status)).get("data")
        self.payment_id = data["payment"]["id"] if data else self.payment_id
        return data

    async def fund(self) -> None:
        await self.open()
        await self.market.hook(self.market.scanner.pay(self.payment_id))

    async def show(self) -> Any:
        return await self.buyer.ask("GET", f"/api/payment/{self.payment_id}")

    async def release(self, *, status: Any = 200, to: str = SELLERS_WALLET) -> Any:
        path = f"/api/admin/payments/{self.payment_id}/release"
        return (await self.market.admin.ask("POST", path, {"toAddress": to}, status=status)).get("data")

    async def refund(self, *, status: Any = 200) -> Any:
        path = f"/api/admin/payments/{self.payment_id}/refund"
        body = {"toAddress": BUYERS_WALLET, "reason": "did not arrive"}
        return (await self.market.admin.ask("POST", path, body, status=status)).get("data")

    async def argue(self, *, status: Any = 201) -> Any:
        body = {"purchaseRequestId": self.request_id, "reason": "It never came.", "category": "not_received"}
        found = await self.buyer.ask("POST", "/api/disputes", body, status=status)
        return found["data"]["dispute"]["id"] if status == 201 else None


async def make_purchase(
    m: Market, amount: str = "10", product: str = "physical_product", **offer: Any
) -> RecordedPurchase:
    buyer, seller = m.people["buyer"], m.people["seller"]
    made = await buyer.ask("POST", f"{MARKET}/purchase-requests", request_body(productType=product), status=201)
    request_id = made["data"]["purchaseRequest"]["id"]
    path = f"{MARKET}/purchase-requests/{request_id}"
    bid = await seller.ask("POST", f"{path}/offers", offer_body(amount, **offer), status=201)
    offer_id = bid["data"]["offer"]["id"]
    await buyer.ask("POST", f"{path}/select-offer", {"offerId": offer_id})
    return RecordedPurchase(m, request_id, offer_id)


@asynccontextmanager
async def market(folder: Path, book: Book, *, scanner_url: str | None = None, **settings: str) -> AsyncIterator[Market]:
    """Run the backend beside a stand-in of the scanner, on a clock of ours."""
    clock = FakeClock(NOW_S * 1000)
    running = fake_scanner.run_fake_scanner(), run_evm_node(), aiohttp.ClientSession()
    async with running[0] as scanner, running[1] as node, running[2] as session:
        env = harness.environment(
            folder, scanner_url or scanner.url, **{"RPC_BSC_TESTNET": node.url, "RPC_ETH": AWAY, **settings}
        )
        async with harness.running(env, clock=clock) as shop:
            found = Market(shop, scanner, clock, Caller(book, shop.nobody.url, session, {}), book)
            yield found


# -- people --------------------------------------------------------------------------------------------


async def arriving(m: Market) -> None:
    for path in ("/health", "/api/version", "/api/health"):
        await m.nobody.ask("GET", path)
    await m.log_in("admin", *ADMIN)
    for role, name in (("buyer", "buyer"), ("seller", "seller"), ("seller", "other"), ("resolver", "resolver")):
        await m.join(role, name)
    await m.people["buyer"].ask("GET", "/api/auth/me")
    first = await m.nobody.ask("POST", "/api/auth/login", {"email": "buyer@example.test", "password": PASSWORD})
    refresh = {"refreshToken": first["data"]["tokens"]["refreshToken"]}
    await m.nobody.ask("POST", "/api/auth/refresh-token", refresh)
    await m.nobody.ask("POST", "/api/auth/refresh-token", refresh, status=401)
    wrong = {"email": "buyer@example.test", "password": "x"}
    await m.nobody.ask("POST", "/api/auth/login", wrong, status=401)
    new = {"email": "Buyer@example.test", "password": PASSWORD, "role": "buyer", "name": "B"}
    await m.admin.ask("POST", "/api/admin/users", new, status=REFUSED)
    for changed in ({"email": "x"}, {"password": "short"}, {"role": "king"}, {"name": ""}, {"name": "a\u0000b"}):
        await m.admin.ask("POST", "/api/admin/users", {**new, **changed}, status=REFUSED)
    await m.people["buyer"].ask("POST", "/api/admin/users", new, status=REFUSED)
    await m.admin.ask("GET", "/api/admin/users?role=seller&q=OTHER")
    await m.admin.ask("GET", "/api/admin/users?role=king", status=REFUSED)


async def asking_and_offering(m: Market) -> None:
    buyer, seller, other = m.people["buyer"], m.people["seller"], m.people["other"]
    requests = f"{MARKET}/purchase-requests"
    made = await buyer.ask("POST", requests, request_body(), status=201)
    request_id = made["data"]["purchaseRequest"]["id"]
    path = f"{requests}/{request_id}"
    for changed in (
        {"title": "ab"},
        {"title": "a\nb c"},
        {"description": "short"},
        {"productType": "weapon"},
        {"productLink": "javascript:x"},
        {"quantity": 0},
        {"quantity": "1"},
        {"budget": {"min": "100", "max": "5", "currency": "USDT"}},
        {"budget": {"min": "1", "max": "100001", "currency": "USDT"}},
        {"budget": {"min": 1, "max": "5", "currency": "USDT"}},
        {"budget": {"min": "1", "max": "5", "currency": "$"}},
        {"urgency": "now"},
        {"deliveryInfo": {"deliveryType": "physical", "email": "x"}},
        {"deliveryInfo": {}},
    ):
        await buyer.ask("POST", requests, request_body(**changed), status=REFUSED)
    await seller.ask("POST", requests, request_body(), status=REFUSED)
    await m.nobody.ask("GET", f"{requests}?limit=1&page=1")
    await m.nobody.ask("GET", f"{requests}?limit=101", status=REFUSED)
    await buyer.ask("GET", f"{requests}/my")
    for who in (buyer, seller):
        await who.ask("GET", path)
    until = "2026-10-01T00:00:00Z"
    offer = (
        await seller.ask("POST", f"{path}/offers", offer_body("10", notes="Cash only", validUntil=until), status=201)
    )["data"]["offer"]
    second = (await other.ask("POST", f"{path}/offers", offer_body("9.5"), status=201))["data"]["offer"]
    await seller.ask("POST", f"{path}/offers", offer_body("8"), status=REFUSED)
    for changed in (
        {"price": {"amount": "0", "currency": "USDT"}},
        {"price": {"amount": "1.", "currency": "USDT"}},
        {"deliveryTime": {"amount": 1, "unit": "years"}},
        {"validUntil": "later"},
        {"requireAmlCheck": "yes"},
    ):
        await other.ask("POST", f"{path}/offers", offer_body("8", **changed), status=REFUSED)
    await buyer.ask("GET", f"{MARKET}/offers?requestId={request_id}")
    await seller.ask("GET", f"{MARKET}/offers")
    await buyer.ask("GET", f"{MARKET}/offers?requestId=x", status=REFUSED)
    await seller.ask("PATCH", f"{MARKET}/offers/{offer['id']}", {"price": {"amount": "11", "currency": "USDT"}})
    await other.ask("PATCH", f"{MARKET}/offers/{offer['id']}", {"title": "Mine now"}, status=REFUSED)
    await haggling(m, offer["id"])
    await buyer.ask("POST", f"{path}/select-offer", {"offerId": NOWHERE}, status=REFUSED)
    await buyer.ask("POST", f"{path}/select-offer", {"offerId": "x"}, status=REFUSED)
    await other.ask("POST", f"{MARKET}/offers/{second['id']}/withdraw")
    again = (await other.ask("POST", f"{path}/offers", offer_body("9"), status=201))["data"]["offer"]
    await buyer.ask("POST", f"{path}/select-offer", {"offerId": offer["id"]})
    await buyer.ask("POST", f"{path}/select-offer", {"offerId": offer["id"]})
    await buyer.ask("POST", f"{path}/select-offer", {"offerId": again["id"]}, status=REFUSED)
    await other.ask("GET", path)
    for method, where in (("GET", f"{requests}/{NOWHERE}"), ("PATCH", f"{MARKET}/offers/{NOWHERE}")):
        await seller.ask(method, where, {} if method == "PATCH" else None, status=REFUSED)


async def haggling(m: Market, offer_id: str) -> None:
    buyer, seller = m.people["buyer"], m.people["seller"]
    path = f"{MARKET}/offers/{offer_id}"
    price = {"price": {"amount": "8", "currency": "USDT"}}
    await seller.ask("POST", f"{path}/counter", price, status=REFUSED)
    await buyer.ask("POST", f"{path}/counter", {**price, "note": "That is all I have."}, status=201)
    await seller.ask("POST", f"{path}/counter/answer", {"answer": "declined"})
    await buyer.ask("POST", f"{path}/counter", price, status=201)
    await seller.ask("POST", f"{path}/counter", {"price": {"amount": "10", "currency": "USDT"}}, status=201)
    await seller.ask("POST", f"{path}/counter/answer", {"answer": "accepted"}, status=REFUSED)
    await buyer.ask("POST", f"{path}/counter/answer", {"answer": "perhaps"}, status=REFUSED)
    await buyer.ask("POST", f"{path}/counter/answer", {"answer": "accepted"})
    await buyer.ask("GET", f"{path}/rounds")


# -- money ---------------------------------------------------------------------------------------------


async def paying_through_the_proxy(m: Market) -> None:
    """From the accepted offer to the seller's money."""
    purchase = await make_purchase(m)
    await m.people["buyer"].ask("GET", f"/api/payment/options?requestId={purchase.request_id}")
    await m.admin.ask("GET", "/api/admin/networks")
    await purchase.open("direct", status=503, chainId=1100)
    m.scanner.down = True
    await purchase.open(status=202)
    m.scanner.down = False
    await m.wait(0.2)
    await m.settle_down()
    await purchase.open(status=200)
    await purchase.open("direct", status=REFUSED)
    for wrong in (
        {"chainId": 999},
        {"chainId": "97"},
        {"token": "DOGE"},
        {"rail": "pigeon"},
        {"rail": "direct_balance", "mode": "guess"},
    ):
        await purchase.open(status=REFUSED, **wrong)
    await purchase.show()
    await m.hook(news(m.scanner.intents[purchase.payment_id], "payment.detected"))
    await m.admin.ask("GET", "/api/admin/payments/awaiting-confirmation")
    body = m.scanner.pay(purchase.payment_id, TEN + 3)
    for refused in ({"secret": "another"}, {"age_s": 301}):
        await m.hook(body, status=401, **refused)
    await m.hook({"eventId": "evt_x"}, status=REFUSED)
    await m.hook({**body, "intentId": NOWHERE}, status=REFUSED)
    await m.hook(body)
    await m.hook(body)
    await purchase.show()
    await m.people["other"].ask("GET", f"/api/payment/{purchase.payment_id}", status=REFUSED)
    await purchase.release(status=REFUSED)
    await purchase.seller.ask("PATCH", f"{purchase.path}/delivery", {"trackingNumber": "T-1", "notes": "by post"})
    await purchase.buyer.ask("GET", f"{purchase.path}/delivery-code/status")
    code = (await purchase.buyer.ask("POST", f"{purchase.path}/delivery-code/generate"))["data"]["code"]
    wrong_code = f"{(int(code) + 1) % 10**6:06d}"
    await purchase.seller.ask("POST", f"{purchase.path}/delivery-code/verify", {"code": wrong_code}, status=REFUSED)
    await purchase.seller.ask("POST", f"{purchase.path}/delivery-code/verify", {"code": "x"}, status=REFUSED)
    await purchase.buyer.ask("GET", f"{purchase.path}/delivery-code/status")
    await purchase.seller.ask("POST", f"{purchase.path}/delivery-code/verify", {"code": code})
    hold = f"/api/admin/payments/{purchase.payment_id}/hold"
    await m.admin.ask("POST", hold, {"until": "2026-12-01T00:00:00Z"})
    await purchase.release(status=REFUSED)
    await m.admin.ask("POST", hold, {})
    await purchase.release(status=422, to="0x12")
    given = await purchase.release()
    await purchase.refund(status=REFUSED)
    settle = f"/api/admin/instructions/{given['instruction']['id']}/settle"
    await m.admin.ask("POST", settle, {"txHash": "0x12"}, status=REFUSED)
    await m.admin.ask("POST", settle, {"txHash": DONE_IN}, status=202)
    m.scanner.carries_out(given["instruction"], tx=DONE_IN, success=False)
    await m.admin.ask("POST", settle, {"txHash": DONE_IN}, status=REFUSED)
    m.scanner.carries_out(given["instruction"], tx=DONE_IN)
    await m.admin.ask("POST", settle, {"txHash": DONE_IN})
    await m.admin.ask("POST", settle, {"txHash": "0x" + "cd" * 32}, status=REFUSED)
    await purchase.show()


async def proving(m: Market) -> None:
    """A seller proves where they are paid; nobody is paid there in these stories."""
    owner = keys.PrivateKey(b"\x07" * 32)
    seller, wanted = m.people["other"], {"chainId": 56, "address": owner.public_key.to_checksum_address()}
    for nobody in ({"chainId": 5, "address": "0x12"}, {"chainId": 56, "address": "0x12"}, {}):
        await seller.ask("POST", "/api/payout-addresses/challenge", nobody, status=REFUSED)
    given = (await seller.ask("POST", "/api/payout-addresses/challenge", wanted, status=201))["data"]["challenge"]
    signed = Account.sign_message(encode_defunct(text=given["message"]), owner.to_bytes()).signature.to_0x_hex()
    for proof in ({"signature": "0x12"}, {}, {"signature": signed}, {"signature": signed}):
        status = 200 if proof == {"signature": signed} and not await _proved(seller) else REFUSED
        await seller.ask("POST", "/api/payout-addresses", {"challengeId": given["id"], **proof}, status=status)
    await m.admin.ask("GET", "/api/admin/payout-addresses?limit=1")


async def _proved(seller: Caller) -> bool:
    return bool((await seller.ask("GET", "/api/payout-addresses"))["data"]["payoutAddresses"])


async def paying_plainly(m: Market) -> None:
    """A plain transfer, too little of it at first; then a dispute about it and a refund."""
    purchase = await make_purchase(m, "12.5")
    await purchase.open("direct")
    part = news(purchase.intent, "payment.partial", amountReceived="5", missing=str(125 * 10**17 - 5))
    await m.hook(part)
    await purchase.show()
    wrong = m.scanner.pay(purchase.payment_id)
    unapplied_event = {
        "eventType": "payment.anomaly",
        "reason": "wrong_token",
        "status": "pending",
        "eventId": "evt_wrong",
    }
    await m.hook({**wrong, **unapplied_event})
    await m.hook(m.scanner.pay(purchase.payment_id))
    await m.people["seller"].ask("POST", f"{purchase.path}/delivery-code/generate", status=REFUSED)
    dispute = await purchase.argue()
    await purchase.argue(status=REFUSED)
    path = f"/api/disputes/{dispute}"
    await purchase.seller.ask(
        "POST", f"{path}/evidence", {"text": "I sent it.", "link": "https://x.test/1"}, status=201
    )
    for who in ("buyer", "resolver"):
        await m.people[who].ask("GET", path)
    await m.people["resolver"].ask("POST", f"{path}/messages", {"text": "When did it come?"}, status=201)
    await m.people["other"].ask("POST", f"{path}/messages", {"text": "Me too."}, status=REFUSED)
    await m.people["resolver"].ask("POST", f"{path}/deadline", {"dueAt": "2027-01-31T12:00:00Z"})
    for never in ("2020-01-31T12:00:00Z", "2099-01-31T12:00:00Z"):
        await m.people["resolver"].ask("POST", f"{path}/deadline", {"dueAt": never}, status=REFUSED)
    await m.people["other"].ask("GET", path, status=REFUSED)
    await purchase.release(status=REFUSED)
    resolver = (await m.people["resolver"].ask("GET", "/api/auth/me"))["data"]["user"]["id"]
    await m.admin.ask("POST", f"{path}/assign", {"userId": resolver})
    for nobody in ({"userId": NOWHERE}, {"userId": "x"}, {}):
        await m.admin.ask("POST", f"{path}/assign", nobody, status=REFUSED)
    await m.people["resolver"].ask("GET", f"/api/disputes?status=open&assignedTo={resolver}")
    resolution = {"outcome": "refund", "note": "It was never sent."}
    await purchase.buyer.ask("POST", f"{path}/resolve", resolution, status=REFUSED)
    await m.people["resolver"].ask("POST", f"{path}/resolve", {**resolution, "outcome": "coin"}, status=REFUSED)
    await m.people["resolver"].ask("POST", f"{path}/resolve", resolution)
    await m.people["resolver"].ask("POST", f"{path}/resolve", {**resolution, "outcome": "release"}, status=REFUSED)
    given = await purchase.refund()
    await m.admin.ask("GET", "/api/admin/instructions?status=pending")
    sent = m.scanner.carries_out(given["instruction"], tx="0x" + "ef" * 32)
    await m.admin.ask("POST", f"/api/admin/instructions/{given['instruction']['id']}/settle", {"txHash": sent})
    await purchase.show()


async def paying_by_balance(m: Market) -> None:
    """I paid, and a balance that is watched."""
    purchase = await make_purchase(m)
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    check = f"/api/payment/amn-scanner/direct-balance/check/{purchase.payment_id}"
    await purchase.buyer.ask("POST", check)
    m.scanner.newest[address] = TEN
    await purchase.buyer.ask("POST", check)
    m.scanner.down = True
    await purchase.buyer.ask("POST", check, status=503)
    m.scanner.down = False
    m.scanner.balances[address] = TEN
    await purchase.buyer.ask("POST", check)
    watched = await make_purchase(m)
    payment = (await watched.open("direct_balance", mode="watch"))["payment"]
    await m.hook(balance_changed(payment, TEN - 1), status=202)
    await watched.show()
    await m.hook(balance_changed(payment, TEN))
    await m.settle_down()
    await watched.show()
    stopped = await make_purchase(m)
    await stopped.open("direct_balance", mode="watch")
    await m.admin.ask("POST", f"/api/admin/payments/{stopped.payment_id}/stop-watch")
    await m.admin.ask("POST", f"/api/admin/payments/{stopped.payment_id}/stop-watch")


async def going_wrong(m: Market) -> None:
    """What is held, what comes too late, what leaves the chain, what fails and what runs out."""
    held = await make_purchase(m)
    await held.open()
    await m.hook({**m.scanner.pay(held.payment_id), "amount": str(TEN - 1)})
    await held.show()
    await m.admin.ask("GET", "/api/admin/payments/awaiting-confirmation")
    await held.buyer.ask("POST", f"/api/payment/{held.payment_id}/cancel", status=REFUSED)
    await m.admin.ask("POST", f"/api/payment/{held.payment_id}/cancel")
    late = await make_purchase(m)
    await late.open()
    await late.buyer.ask("POST", f"/api/payment/{late.payment_id}/cancel")
    await m.hook(m.scanner.pay(late.payment_id))
    gone = await make_purchase(m)
    await gone.fund()
    await m.hook(news(gone.intent, "payment.reorged", status="reorged"))
    await gone.buyer.ask("PATCH", f"{gone.path}/confirm-delivery", {"proof": "It is here."})
    await gone.release(status=REFUSED)
    clear = f"/api/admin/payments/{gone.payment_id}/clear-reorg"
    await m.admin.ask("POST", clear, {"note": " "}, status=REFUSED)
    await m.admin.ask("POST", clear, {"note": "It is there again."})
    await gone.show()
    twice = {"eventType": "payment.anomaly", "reason": "duplicate", "status": "confirmed", "eventId": "evt_twice"}
    await m.hook({**confirmed(gone.intent), **twice})
    failing = await make_purchase(m)
    m.scanner.refuses = {"error": "unsupported chain", "code": "unsupported_chain"}
    await failing.open(status=503)
    m.scanner.refuses = None
    broken = await make_purchase(m)
    await broken.open()
    await m.hook({**m.scanner.pay(broken.payment_id), "amountReceived": "-1"})
    await proving(m)
    await m.admin.ask("GET", "/api/admin/addresses?chainId=56")
    for chain_id, token, status in ((97, "USDT", 200), (97, "DOGE", REFUSED), (1, "USDT", 503)):
        sweep = {"chainId": chain_id, "token": token, "purpose": "instructions"}
        await m.admin.ask("POST", "/api/admin/sweeps/build", sweep, status=status)
    await m.admin.ask("GET", "/api/admin/recoveries")
    await m.admin.ask("GET", "/api/admin/reconciliation")
    waiting = await make_purchase(m)
    await waiting.open()
    await m.wait(25)
    await m.chores()
    await m.people["buyer"].ask("GET", f"/api/payment/{waiting.payment_id}")
    for role in ("buyer", "seller", "all"):
        await m.people["buyer"].ask("GET", f"/api/payment/history?role={role}&limit=2")
    await m.people["buyer"].ask("GET", "/api/payment/history?role=king", status=REFUSED)


async def delivering(m: Market) -> None:
    """Goods nobody confirmed count as accepted after a while; a code is tried five times."""
    purchase = await make_purchase(m)
    await purchase.fund()
    await purchase.seller.ask("PATCH", f"{purchase.path}/delivery", {"proof": "handed over"})
    code = (await purchase.buyer.ask("POST", f"{purchase.path}/delivery-code/generate"))["data"]["code"]
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    for attempt in range(6):
        path = f"{purchase.path}/delivery-code/verify"
        await purchase.seller.ask("POST", path, {"code": wrong}, status=422 if attempt < 5 else 429)
    argued = await make_purchase(m)
    await argued.fund()
    late = await argued.argue()
    await m.people["resolver"].ask(
        "POST", f"/api/disputes/{late}/deadline", {"dueAt": rfc3339(m.clock.now_ms() + 1000)}
    )
    await m.wait(49)
    await m.chores()
    await m.people["buyer"].ask("GET", f"/api/disputes/{late}/messages")
    await m.people["resolver"].ask("GET", "/api/disputes?overdue=true")
    await m.people["buyer"].ask("GET", f"/api/payment/{purchase.payment_id}")
    await purchase.release(to=SENDER)


async def deciding(m: Market) -> None:
    path = "/api/admin/settings/confirmation-thresholds"
    await m.admin.ask("GET", path)
    await m.admin.ask("PUT", path, {"thresholds": [{"chainId": 97, "confirmations": 12}]})
    for wrong in (
        {"thresholds": []},
        {"thresholds": [{"chainId": 97, "confirmations": 1}]},
        {"thresholds": [{"chainId": 5, "confirmations": 9}]},
    ):
        await m.admin.ask("PUT", path, wrong, status=REFUSED)
    await m.people["buyer"].ask("GET", path, status=REFUSED)


async def charging(m: Market) -> None:
    """A seller has a rate of their own, and a release takes it."""
    seller = (await m.people["seller"].ask("GET", "/api/auth/me"))["data"]["user"]["id"]
    own = {"sellerId": seller, "bps": 125, "note": "Agreed by mail."}
    await m.admin.ask("PUT", "/api/admin/fees", own)
    for wrong in ({"bps": 10_000}, {"sellerId": NOWHERE}, {"note": " "}):
        await m.admin.ask("PUT", "/api/admin/fees", {**own, **wrong}, status=REFUSED)
    purchase = await make_purchase(m)
    await purchase.fund()
    await purchase.buyer.ask("PATCH", f"{purchase.path}/confirm-delivery", {})
    await purchase.release()
    await purchase.show()
    await m.admin.ask("PUT", "/api/admin/fees", {**own, "bps": None})
    await m.admin.ask("GET", f"/api/admin/fees?sellerId={seller}&inForce=false&limit=1")
    await m.people["seller"].ask("GET", "/api/admin/fees", status=REFUSED)
    await splitting(m)


async def splitting(m: Market) -> None:
    """Half of it was broken: both sides get a part."""
    purchase = await make_purchase(m)
    await purchase.fund()
    path = f"/api/disputes/{await purchase.argue()}/resolve"
    ruling = {"outcome": "split", "buyerBps": 3333, "note": "A third of it was broken."}
    for wrong in ({"buyerBps": None}, {"buyerBps": 10_001}, {"outcome": "refund"}):
        await m.people["resolver"].ask("POST", path, {**ruling, **wrong}, status=REFUSED)
    await m.people["resolver"].ask("POST", path, ruling)
    await m.people["resolver"].ask("POST", path, {**ruling, "buyerBps": 3334}, status=REFUSED)
    await purchase.refund()
    await purchase.release()
    await purchase.show()


async def selling_digital_goods(m: Market) -> None:
    await goods_story.tell(m, lambda stock_id: make_purchase(m, product="digital_product", poolId=stock_id))


async def keeping_a_shop(m: Market) -> None:
    await shop_story.tell(m)


async def hearing(m: Market) -> None:
    """Everybody's notifications, and one of them as a stream."""
    for name in m.people:
        found = await m.people[name].ask("GET", "/api/notifications?limit=100")
        await m.people[name].ask("GET", "/api/notifications/unread-count")
    first = found["data"]["notifications"][0]["id"]
    reader = list(m.people)[-1]
    await m.people[reader].ask("PATCH", f"/api/notifications/{first}/read")
    await m.people["buyer"].ask("PATCH", f"/api/notifications/{first}/read", status=REFUSED)
    await m.people["buyer"].listen("/api/events", lines=14)
    await m.people["seller"].ask("POST", "/api/notifications/read")
    await m.people["seller"].ask("GET", "/api/notifications/unread-count")


async def knocking(m: Market) -> None:
    """What every call answers to whoever has no token, and to what is no request."""
    for route in ROUTES:
        path = re.sub(r"{\w+}", NOWHERE, route.path)
        if (route.method, route.path) not in OPEN:
            await m.nobody.ask(route.method, path, status=401)
    await m.nobody.as_(Authorization="Bearer x").ask("GET", "/api/auth/me", status=401)
    await m.nobody.ask("POST", "/api/auth/login", b"nonsense", status=REFUSED)
    await m.nobody.ask("POST", "/api/auth/login", b"[]", status=REFUSED)
    await m.nobody.ask("POST", "/api/auth/login", TOO_LARGE, status=413)
    await m.nobody.ask("PUT", "/api/auth/login", {}, status=405)
    await m.nobody.ask("GET", "/api/nowhere", status=REFUSED)
    await m.people["buyer"].ask("GET", "/api/payment/x", status=REFUSED)
    await m.nobody.drip("POST", "/api/auth/login")
    chosen = await m.nobody.ask("GET", "/health", **{"X-Request-Id": "chosen-by-the-caller"})
    assert chosen["success"]


OPEN = {
    ("GET", "/health"),
    ("GET", "/api/version"),
    ("GET", "/api/health"),
    ("GET", "/openapi.json"),
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/refresh-token"),
    ("POST", "/api/auth/join"),
    ("POST", "/api/auth/reset-password"),
    ("POST", "/api/auth/register"),
    ("GET", "/api/marketplace/purchase-requests"),
    ("GET", "/api/shops/{id}"),
    ("GET", "/api/templates/{id}"),
    ("POST", "/api/payment/amn-scanner/webhook"),
    ("POST", "/api/payment/shkeeper/webhook"),
    ("POST", "/api/payment/request-network/webhook"),
}


async def keeping_accounts(m: Market) -> None:
    """A password, a suspension, and every session of somebody ended."""
    await m.join("seller", "gone")
    gone = m.people.pop("gone")
    about = f"/api/admin/users/{(await gone.ask('GET', '/api/auth/me'))['data']['user']['id']}"
    wrong = {"currentPassword": "wrong", "newPassword": PASSWORD}
    await gone.ask("POST", "/api/auth/password", wrong, status=REFUSED)
    await gone.ask("POST", "/api/auth/password", {"currentPassword": PASSWORD, "newPassword": PASSWORD})
    await gone.ask("GET", "/api/auth/me", status=401)
    await m.admin.ask("POST", f"{about}/end-sessions")
    await m.admin.ask("POST", f"{about}/suspend", {"reason": ""}, status=REFUSED)
    for status in (200, 409):
        await m.admin.ask("POST", f"{about}/suspend", {"reason": "They never answer."}, status=status)
    await m.nobody.ask("POST", "/api/auth/login", {"email": "gone@example.test", "password": PASSWORD}, status=403)
    for status in (200, 409):
        await m.admin.ask("POST", f"{about}/unsuspend", status=status)
    await m.nobody.ask("POST", "/api/auth/register", {}, status=REFUSED)
    new = {"email": "new@example.test", "password": PASSWORD, "role": "buyer", "name": "New"}
    await m.nobody.ask("POST", "/api/auth/register", new, status=403)
    guest = {"email": "guest@example.test", "role": "seller"}
    for _ in range(2):
        made = await m.admin.ask("POST", "/api/admin/invitations", guest, status=201)
    joining = {"token": made["data"]["token"], "name": "Guest", "password": PASSWORD}
    for status in (201, 404):
        await m.nobody.ask("POST", "/api/auth/join", joining, status=status)
    await m.admin.ask("POST", "/api/admin/invitations", guest, status=REFUSED)
    made = await m.admin.ask("POST", "/api/admin/invitations", {**guest, "email": "other@guest.test"}, status=201)
    revoking = f"/api/admin/invitations/{made['data']['invitation']['id']}/revoke"
    for status in (200, 404):
        await m.admin.ask("POST", revoking, status=status)
    await m.admin.ask("GET", "/api/admin/invitations")
    made = await m.admin.ask("POST", f"{about}/reset", status=201)
    renewing = {"token": made["data"]["token"], "password": PASSWORD}
    for status in (200, 404):
        await m.nobody.ask("POST", "/api/auth/reset-password", renewing, status=status)
    gone = await m.log_in("gone", "gone@example.test")
    await gone.ask("GET", "/api/notifications")
    await m.admin.ask("GET", about)
    await m.admin.ask("GET", f"{about}/history")
    await m.admin.ask("GET", f"/api/admin/users/{NOWHERE}", status=REFUSED)


async def without_a_store(m: Market) -> None:
    with sqlite3.connect(m.shop.db_path) as store:
        for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if not name.startswith("sqlite_"):
                store.execute(f"ALTER TABLE {name} RENAME TO gone_{name}")
    store.close()
    await m.nobody.ask("GET", "/api/health", status=503)
    await m.nobody.ask("GET", f"{MARKET}/purchase-requests", status=503)


STORIES = (
    arriving,
    asking_and_offering,
    paying_through_the_proxy,
    paying_plainly,
    paying_by_balance,
    going_wrong,
    delivering,
    deciding,
    charging,
    selling_digital_goods,
    keeping_a_shop,
    hearing,
    knocking,
    keeping_accounts,
    without_a_store,
)


# -- other markets -------------------------------------------------------------------------------------


async def too_often(m: Market) -> None:
    for attempt in range(3):
        wrong = {"email": "x@example.test", "password": "x"}
        await m.nobody.ask("POST", "/api/auth/login", wrong, status=401 if attempt < 2 else 429)


async def registering(m: Market) -> None:
    new = {"email": "new@example.test", "password": PASSWORD, "role": "buyer", "name": "New"}
    for _ in range(2):
        await m.nobody.ask("POST", "/api/auth/register", new, status=202)


async def quoting(m: Market) -> None:
    """Prices in other currencies: at par they are in every story's market, and here no source answers."""
    await m.log_in("admin", *ADMIN)
    for role in ("buyer", "seller"):
        await m.join(role, role)
    purchase = await make_purchase(m, price={"amount": "10", "currency": "EUR"})
    await purchase.open(status=503)
    await m.people["buyer"].ask("GET", f"/api/payment/options?requestId={purchase.request_id}", status=503)


async def second_factor(m: Market) -> None:
    """An admin who has to have one; the clock stands still, and so do codes."""
    admin = await m.log_in("admin", *ADMIN)
    place = "/api/auth/second-factor"
    await admin.ask("GET", "/api/admin/users", status=403)
    await admin.ask("POST", place, {"password": "wrong"}, status=REFUSED)
    secret = (await admin.ask("POST", place, {"password": ADMIN[1]}, status=201))["data"]["secret"]
    await admin.ask("POST", f"{place}/confirm", {"code": "no code"}, status=REFUSED)
    codes = pyotp.TOTP(secret)
    step = m.clock.now_ms() // 30_000
    confirmed = await admin.ask("POST", f"{place}/confirm", {"code": codes.generate_otp(step - 1)})
    given = {"email": ADMIN[0], "password": ADMIN[1]}
    await m.nobody.ask("POST", "/api/auth/login", given, status=401)
    for status in (200, 401):
        await m.nobody.ask("POST", "/api/auth/login", {**given, "code": codes.generate_otp(step)}, status=status)
    recovery = confirmed["data"]["recoveryCodes"][0]
    await admin.ask("POST", f"{place}/remove", {"password": ADMIN[1], "code": recovery}, status=409)
    await m.join("resolver", "ruth")
    ruth = m.people["ruth"]
    secret = (await ruth.ask("POST", place, {"password": PASSWORD}, status=201))["data"]["secret"]
    about = f"/api/admin/users/{(await ruth.ask('GET', '/api/auth/me'))['data']['user']['id']}"
    await ruth.ask("POST", f"{place}/confirm", {"code": pyotp.TOTP(secret).generate_otp(step)})
    removal = {"password": PASSWORD, "code": pyotp.TOTP(secret).generate_otp(step + 1)}
    await ruth.ask("POST", f"{place}/remove", removal)
    await m.admin.ask("POST", f"{about}/remove-second-factor", status=409)
    secret = (await ruth.ask("POST", place, {"password": PASSWORD}, status=201))["data"]["secret"]
    await ruth.ask("POST", f"{place}/confirm", {"code": pyotp.TOTP(secret).generate_otp(step)})
    given = {"email": "ruth@example.test", "password": PASSWORD}
    recovered = await m.nobody.ask("POST", "/api/auth/login", given, status=401)
    await m.admin.ask("POST", f"{about}/remove-second-factor")
    await m.log_in("ruth", "ruth@example.test")
    await m.people["ruth"].ask("GET", "/api/notifications")
    given = {"email": ADMIN[0], "password": ADMIN[1], "code": recovery}
    await m.nobody.ask("POST", "/api/auth/login", given)
    await admin.ask("GET", "/api/notifications")
    assert recovered["error"]["code"] == "code_required"


async def told_elsewhere(m: Market) -> None:
    """Channels: no bot answers here, and nobody is told."""
    admin = await m.log_in("admin", *ADMIN)
    place = "/api/notifications/channels"
    await admin.ask("GET", place)
    await admin.ask("PUT", place, {"choices": [{"channel": "pigeon", "category": "payment"}]}, status=REFUSED)
    await admin.ask("PUT", place, {"choices": [{"channel": "telegram", "category": "payment"}]})
    made = await admin.ask("POST", "/api/notifications/telegram/link", status=201)
    async with m.shop.marketplace.services.units.begin(None) as work:  # what the bot does with a code
        user_id = await messages.link(work.tx, digest(made["data"]["code"]), "4711", work.now)
        title = "Payments and the ledger contradict each other: 2 findings"
        work.notify([str(user_id)], "alert", "reconciliation_finding", title, about="reconciliation")
        work.notify(
            [str(user_id)], "account", "telegram_linked", "A Telegram chat was linked to your account", about="x"
        )
    await admin.ask("GET", place)
    await admin.ask("GET", "/api/notifications")
    await admin.ask("POST", "/api/notifications/telegram/unlink")


async def without_a_secret(m: Market) -> None:
    await m.nobody.ask("POST", HOOK, {"eventId": "evt"}, status=503)
    await m.nobody.ask("GET", "/api/health")
