"""
Whatever is sent, nothing of ours fails, every answer is described and of one shape, and a refused request stores nothing.

The same requests each time; `FUZZ_ROUNDS=20` makes so many times as many, from other seeds.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

import marketplace.app
import scanner.app
from kernel.web import connections, middlewares
from kernel.web.connections import ConnectionLimits, default_limits
from scanner import ingest
from tests.harness import SECRET, FakeClock, intent_body
from tests.marketplace.accepted_purchase import (
    BUYERS_WALLET,
    DONE_IN,
    SELLERS_WALLET,
    AcceptedPurchase,
    accept_purchase,
)
from tests.marketplace.fake_scanner import run_fake_scanner
from tests.marketplace.harness import ADMIN, HOOK_SECRET, MARKET, offer_body, request_body
from tests.scanner.facts import a_transfer
from tests.service_contract.fuzzing import Changed, FuzzSample, bodies, each_field, requests
from tests.service_contract.raw import Answer, asked
from tests.service_contract.services import BOTH, MARKETPLACE, SCANNER, ServiceUnderTest
from webhooks.signing import headers_for

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "1"))
BODIES = 20  # of each route, a round
RAW = 400  # a round
AT_ONCE = 25
KEY = "a-key-for-tests"
NUMBERS = itertools.count(1)
NOBODY = b"X-Nobody: a"
UNKNOWN = str(uuid.UUID(int=0))
PROBED = {"heartbeats"}  # written to find out whether the store can be
# Answers that are no refusal and no failure of ours: the chain behind the tested scanner, or a sweep, cannot be read.
UNREADABLE = {("scanner", 502, "chain_unavailable"), ("marketplace", 503, "not_configured")}
# What a refused call stores all the same, because it has to.
STORED_ALL_THE_SAME = {
    "POST /api/marketplace/purchase-requests/{}/delivery-code/verify": {"delivery_codes"},  # wrong codes are counted
}
OPTIONAL = re.compile(r"/(hold|delivery|confirm-delivery)$|/(offers|stocks|templates)/[0-9a-f-]+$")
REQUEST_LINE = re.compile(rb"([A-Z-]+) (/[!-~]*) HTTP/1\.[01]\r\n")

pytestmark = [pytest.mark.timeout(60 + 60 * ROUNDS)]


@dataclass
class FuzzedService:
    """A service that runs, who may ask it what, and what it has stored."""

    service: ServiceUnderTest
    url: str
    store: sqlite3.Connection
    tokens: Mapping[str, str]  # by who
    accepted: Sequence[FuzzSample]
    refused: Sequence[FuzzSample]  # each for two reasons, so that one change more does not make it accepted
    now_s: Callable[[], int]

    def version(self) -> int:
        """Return a number that changes when anybody else commits."""
        return int(self.store.execute("PRAGMA data_version").fetchone()[0])

    def stored(self) -> dict[str, str]:
        """Return a digest of every table, but for when something was done or is due: a watch is checked meanwhile."""
        found = self.store.execute(
            "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c "
            "WHERE t.type = 'table' AND c.name NOT LIKE '%\\_at' ESCAPE '\\'"
        ).fetchall()
        columns = {
            table: [name for of, name in found if of == table] for table in {table for table, _ in found} - PROBED
        }
        return {table: self._digest(table, names) for table, names in columns.items()}

    def _digest(self, table: str, columns: Sequence[str]) -> str:
        rows = self.store.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()  # noqa: S608
        return hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()

    async def quiet(self) -> dict[str, str]:
        """Wait until what an accepted call set going is done; return what is stored."""
        async with asyncio.timeout(10):
            while True:
                before = self.version()
                await asyncio.sleep(0.03)  # nothing tells that nothing is written any more
                if self.version() == before:
                    return self.stored()

    def header(self, who: str) -> bytes:
        return b"Authorization: Bearer " + self.tokens[who].encode() if who else NOBODY


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not arrive is waited for a moment only."""

    def limits(*, trusted_hops: int) -> ConnectionLimits:
        return replace(default_limits(trusted_hops=trusted_hops), header_s=0.3, idle_s=0.3, unproven=1_000)

    monkeypatch.setattr(scanner.app, "default_limits", limits)
    monkeypatch.setattr(marketplace.app, "default_limits", limits)
    monkeypatch.setattr(middlewares, "BODY_S", 0.3)
    monkeypatch.setattr(connections, "LINGERING_S", 0.1)


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FuzzedService]:
    make = scanner_world if request.getfixturevalue("service") is SCANNER else marketplace_world
    async with make(tmp_path) as found:
        yield found


@asynccontextmanager
async def scanner_world(folder: Path) -> AsyncIterator[FuzzedService]:
    watch = {"chainId": 97, "address": intent_body()["destination"], "token": "USDT"}
    hook = {"callbackUrl": "http://127.0.0.1:9/hook", "callbackSecret": SECRET}
    asked_for = intent_body(intentId="i{n}")
    direct = asked_for | {"rail": "direct", "destination": "0x1000000000000000000000000000000000{n}"}
    accepted = [
        FuzzSample(
            "POST", "/intents", asked_for | {"expiresAt": "2099-01-01T00:00:00Z", "events": ["payment.late"]}, "key"
        ),
        FuzzSample("POST", "/intents", direct | {"confirmations": 7, "callbackUrl": "http://127.0.0.1:9/{n}"}, "key"),
        FuzzSample("POST", "/intents/known/recheck", {"txHash": DONE_IN}, "key"),
        FuzzSample("POST", "/transactions/inspect", {"chainId": 97, "txHash": DONE_IN}, "key"),
        FuzzSample("POST", "/balances/check", watch | {"confirmed": True}, "key"),
        FuzzSample("POST", "/balance-watches", watch | hook | {"watchId": "w{n}", "baselineBalance": "1"}, "key"),
        FuzzSample("POST", "/admin/callback-secrets/rotate", hook | {"overlapHours": 1}, "key"),
        FuzzSample("POST", "/webhooks/test", hook | {"eventType": "payment.late"}, "key"),
    ]
    refused = [
        *(FuzzSample("GET", path, {}, "key") for path in ("/health", "/ready", "/metrics", "/scanner/status", "/docs")),
        *(
            FuzzSample("GET", path, {}, "key")
            for path in ("/intents?limit=1", "/intents/unknown", "/unmatched?reason=late")
        ),
        *(
            FuzzSample("GET", path, {}, "key")
            for path in ("/intents/a/transfers", "/balance-watches/w", "/openapi.json")
        ),
        FuzzSample("DELETE", "/intents/unknown", {}, "key"),
        FuzzSample("POST", "/balance-watches/unknown/stop", {}, "key"),
        *(replace(each, body=each.body | {"chainId": -1, "amount": "", "txHash": "", "a": 0}) for each in accepted),
    ]
    env = SCANNER.environment(folder) | {
        "SCANNER_API_KEY": KEY,
        "POLL_INTERVAL_SEC": "3600",
        "SCANNER_PUBLIC_URL": "https://pay.example",
    }
    clock = FakeClock()
    async with SCANNER.running(env, clock=clock) as running:
        known = await running.api.create(intentId="known")
        accepted.append(FuzzSample("POST", f"{urlsplit(known['paymentUrl']).path}/recheck", {"txHash": DONE_IN}, "key"))
        async with running.database.write() as tx:
            await ingest.record_page(tx, 97, [a_transfer()], now=1, late_ms=1, moment=1)
        row = (await running.api.unmatched())[0]["id"]
        accepted.append(FuzzSample("POST", f"/unmatched/{row}/handled", {"note": "sent back {n}"}, "key"))
        with closing(sqlite3.connect(folder / "scanner.db")) as store:
            tokens = {"key": KEY}
            yield FuzzedService(
                SCANNER, running.api.url, store, tokens, accepted, refused, lambda: clock.now_ms() // 1000
            )


async def on_sale(purchase: AcceptedPurchase) -> list[FuzzSample]:
    """Return the calls about what a seller has on sale, and what is earned by it."""
    stock = (await purchase.seller.ok("POST", f"{MARKET}/stocks", {"name": "Keys"}, 201))["stock"]["id"]
    template = {
        "title": "A key",
        "description": "Opens it.",
        "productType": "digital_product",
        "price": offer_body()["price"],
        "deliveryTime": {"amount": 1, "unit": "days"},
    }
    mine = (await purchase.seller.ok("POST", f"{MARKET}/templates", template, 201))["template"]
    cart = {
        "checkoutId": UNKNOWN,
        "lines": [{"shareId": mine["shareId"], "quantity": 1}],
        "email": "buyer@example.test",
        "rail": "direct",
        "chainId": 97,
        "token": purchase.intent()["token"],
    }
    fee = {"sellerId": purchase.seller.user_id, "bps": 100, "note": "agreed"}
    return [
        FuzzSample("POST", f"{MARKET}/stocks", {"name": "More keys", "lowAt": 3}, "seller"),
        FuzzSample("PATCH", f"{MARKET}/stocks/{stock}", {"name": "Other keys", "lowAt": 2}, "seller"),
        FuzzSample("PUT", f"{MARKET}/shop", {"name": "Keys and more", "text": "Day and night."}, "seller"),
        FuzzSample("POST", f"{MARKET}/templates", template, "seller"),
        FuzzSample("PATCH", f"{MARKET}/templates/{mine['id']}", {"title": "A better key", "listed": True}, "seller"),
        FuzzSample("POST", "/api/payment/checkout", cart, "buyer"),
        FuzzSample("PUT", "/api/admin/fees", fee, "admin"),
    ]


@asynccontextmanager
async def marketplace_world(folder: Path) -> AsyncIterator[FuzzedService]:
    clock = FakeClock()
    async with (
        run_fake_scanner() as fake_scanner,
        MARKETPLACE.running(
            MARKETPLACE.environment(folder) | {"AMN_SCANNER_URL": fake_scanner.url}, clock=clock
        ) as market,
    ):
        purchase = await accept_purchase(market, fake_scanner, clock)
        other = await accept_purchase(market, fake_scanner, clock)
        await purchase.fund()
        await other.fund()
        opened = {"purchaseRequestId": other.request_id, "reason": "never came", "category": "other"}
        dispute = (await other.buyer.ok("POST", "/api/disputes", opened))["dispute"]["id"]
        event = fake_scanner.pay(purchase.payment_id)
        person = {"email": "new{n}@example.test", "password": "a long password", "role": "buyer", "name": "New"}
        wanted, offered, payment = f"{MARKET}/purchase-requests", f"{MARKET}/offers", "/api/admin/payments"
        accepted = [
            FuzzSample("POST", "/api/auth/login", {"email": ADMIN[0], "password": ADMIN[1]}),
            FuzzSample("POST", "/api/auth/refresh-token", {"refreshToken": "a" * 43}),
            FuzzSample("POST", "/api/admin/users", person, "admin"),
            FuzzSample(
                "POST",
                "/api/auth/password",
                {"currentPassword": "a long password", "newPassword": "another one"},
                "buyer",
            ),
            FuzzSample("POST", "/api/auth/join", {"token": "a" * 43, "name": "New", "password": "a long password"}),
            FuzzSample("POST", "/api/auth/reset-password", {"token": "a" * 43, "password": "a long password"}),
            FuzzSample("POST", "/api/auth/register", person),
            FuzzSample(
                "PUT",
                "/api/notifications/channels",
                {"choices": [{"channel": "email", "category": "payment"}]},
                "buyer",
            ),
            FuzzSample("POST", "/api/auth/second-factor", {"password": "not the password"}, "admin"),
            FuzzSample("POST", "/api/auth/second-factor/confirm", {"code": "000000"}, "admin"),
            FuzzSample(
                "POST", "/api/auth/second-factor/remove", {"password": "not the password", "code": "000000"}, "admin"
            ),
            FuzzSample("POST", "/api/admin/invitations", {"email": "guest{n}@example.test", "role": "buyer"}, "admin"),
            FuzzSample("POST", f"/api/admin/users/{UNKNOWN}/suspend", {"reason": "because"}, "admin"),
            FuzzSample("POST", wanted, request_body(), "buyer"),
            FuzzSample("POST", f"{wanted}/{purchase.request_id}/offers", offer_body(notes="soon"), "seller"),
            FuzzSample("POST", f"{wanted}/{purchase.request_id}/select-offer", {"offerId": purchase.offer_id}, "buyer"),
            FuzzSample(
                "PATCH", f"{offered}/{purchase.offer_id}", offer_body(validUntil="2099-01-01T00:00:00Z"), "seller"
            ),
            FuzzSample(
                "POST", f"{offered}/{purchase.offer_id}/counter", {"price": offer_body()["price"], "note": "a"}, "buyer"
            ),
            FuzzSample("POST", f"{offered}/{purchase.offer_id}/counter/answer", {"answer": "accept"}, "seller"),
            FuzzSample(
                "PATCH", f"{wanted}/{purchase.request_id}/delivery", {"proof": "a link", "notes": "a"}, "seller"
            ),
            FuzzSample("PATCH", f"{wanted}/{purchase.request_id}/confirm-delivery", {"proof": "here"}, "buyer"),
            FuzzSample("POST", f"{wanted}/{purchase.request_id}/delivery-code/verify", {"code": "123456"}, "seller"),
            FuzzSample("POST", "/api/payment/intents", purchase.intent(), "buyer"),
            FuzzSample("POST", "/api/payment/amn-scanner/webhook", event),
            FuzzSample("POST", f"{payment}/{purchase.payment_id}/release", {"toAddress": SELLERS_WALLET}, "admin"),
            FuzzSample(
                "POST", f"{payment}/{purchase.payment_id}/refund", {"toAddress": BUYERS_WALLET, "reason": "no"}, "admin"
            ),
            FuzzSample("POST", f"{payment}/{purchase.payment_id}/hold", {"until": "2099-01-01T00:00:00Z"}, "admin"),
            FuzzSample("POST", f"{payment}/{purchase.payment_id}/clear-reorg", {"note": "looked"}, "admin"),
            FuzzSample("POST", f"/api/admin/instructions/{UNKNOWN}/settle", {"txHash": DONE_IN}, "admin"),
            FuzzSample(
                "POST",
                "/api/admin/sweeps/build",
                {"chainId": 97, "token": "USDT", "purpose": "instructions", "cursor": f"1.{UNKNOWN}"},
                "admin",
            ),
            FuzzSample("POST", "/api/payout-addresses/challenge", {"chainId": 97, "address": SELLERS_WALLET}, "seller"),
            FuzzSample(
                "POST", "/api/payout-addresses", {"challengeId": UNKNOWN, "signature": "0x" + "12" * 65}, "seller"
            ),
            FuzzSample(
                "POST",
                "/api/payout-addresses",
                {
                    "challengeId": UNKNOWN,
                    "tonProof": {
                        "timestamp": 1_790_000_000,
                        "domain": "localhost",
                        "payload": "ab",
                        "signature": "AAAA",
                        "stateInit": "AAAA",
                    },
                },
                "seller",
            ),
            FuzzSample(
                "PUT",
                "/api/admin/settings/confirmation-thresholds",
                {"thresholds": [{"chainId": 97, "confirmations": 20}]},
                "admin",
            ),
            FuzzSample("POST", "/api/disputes", opened | {"purchaseRequestId": purchase.request_id}, "buyer"),
            FuzzSample(
                "POST", f"/api/disputes/{dispute}/evidence", {"text": "a photo", "link": "https://a.test/"}, "seller"
            ),
            FuzzSample("POST", f"/api/disputes/{dispute}/messages", {"text": "where is it?"}, "buyer"),
            FuzzSample("POST", f"/api/disputes/{dispute}/deadline", {"dueAt": "2099-01-01T00:00:00Z"}, "admin"),
            FuzzSample("POST", f"/api/disputes/{dispute}/assign", {"userId": market.admin.user_id}, "admin"),
            FuzzSample("POST", f"/api/disputes/{dispute}/resolve", {"outcome": "refund", "note": "so be it"}, "admin"),
        ]
        accepted += await on_sale(purchase)
        refused = [
            *(
                FuzzSample("GET", path, {}, "buyer")
                for path in ("/health", "/api/version", "/api/health", wanted, offered)
            ),
            *(
                FuzzSample("GET", path, {}, "admin")
                for path in ("/api/auth/me", "/api/admin/recoveries", "/openapi.json")
            ),
            FuzzSample("GET", f"/api/payment/{purchase.payment_id}", {}, "buyer"),
            FuzzSample("GET", f"/api/disputes/{dispute}", {}, "seller"),
            FuzzSample("PATCH", f"/api/notifications/{UNKNOWN}/read", {}, "buyer"),
            FuzzSample("POST", f"/api/payment/{UNKNOWN}/cancel", {}, "buyer"),
            # Where every field may be missing, a name that is spelt wrong would be accepted.
            *(replace(each, body=dict.fromkeys(each.body, 0)) for each in accepted if not OPTIONAL.search(each.path)),
        ]
        people = {"buyer": purchase.buyer, "seller": purchase.seller, "admin": market.admin}
        with closing(sqlite3.connect(market.db_path)) as store:
            tokens = {name: str(api.token) for name, api in people.items()}
            url = market.nobody.url
            yield FuzzedService(MARKETPLACE, url, store, tokens, accepted, refused, lambda: clock.now_ms() // 1000)


@pytest.mark.long
@BOTH
async def test_a_changed_body_is_taken_or_refused_and_stores_nothing_when_refused(
    service: ServiceUnderTest, world: FuzzedService, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiohttp.ClientSession() as session:
        before = await world.quiet()
        for round_, sample in [(round_, sample) for round_ in range(ROUNDS) for sample in world.accepted]:
            drawn = bodies(sample, Random(f"{round_} {sample.named}"), BODIES)
            for changed in drawn if round_ else (*each_field(sample), *drawn):
                version = world.version()
                status = await reported(world, session, sample, changed)
                if status < 400:
                    before = await world.quiet()
                elif world.version() != version:
                    after = await world.quiet()
                    named = {name for name in after if after[name] != before.get(name)}
                    allowed = STORED_ALL_THE_SAME.get(re.sub(r"[0-9a-f-]{36}", "{}", sample.named), set())
                    assert named <= allowed, (sample.named, status, changed)
                    before = after
        await assert_still_serving(world)
    assert loud(caplog) == []


async def reported(world: FuzzedService, session: aiohttp.ClientSession, sample: FuzzSample, changed: Changed) -> int:
    """Send a changed body as who may; return the status of an answer that is as it has to be."""
    headers = {"Content-Type": "application/json", **changed.headers}
    if sample.who:
        headers["Authorization"] = f"Bearer {world.tokens[sample.who]}"
    body = changed.sent(next(NUMBERS))
    if sample.path.endswith("/webhook"):
        headers |= signed(world, body)
    async with session.request(sample.method, world.url + sample.path, data=body, headers=headers) as response:
        raw = await response.read()
        found = {name.lower(): value for name, value in response.headers.items()}
        check(world.service, sample.method, sample.path, Answer("", response.status, found, raw))
        return response.status


def signed(world: FuzzedService, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook whose body is what it is: the scanner's secret made them."""
    return headers_for(
        event_id="evt",
        event_type="payment.confirmed",
        delivery_id="x",
        body=body,
        secret=HOOK_SECRET,
        timestamp=world.now_s(),
    )


@BOTH
async def test_changed_requests_are_answered_or_cut_off_and_store_nothing(
    service: ServiceUnderTest, world: FuzzedService, caplog: pytest.LogCaptureFixture
) -> None:
    who = {name: world.header(name) for name in ("", *world.tokens)}
    answered = 0
    before = await world.quiet()
    for round_ in range(ROUNDS):
        drawn = list(requests(world.refused, who, Random(f"raw {round_}"), RAW))
        for first in range(0, RAW, AT_ONCE):
            answered += sum(await asyncio.gather(*(sent(world, parts) for parts in drawn[first : first + AT_ONCE])))
        await assert_still_serving(world)
    assert await world.quiet() == before
    assert answered > RAW * ROUNDS // 2  # or nothing was tried
    assert loud(caplog) == []


async def sent(world: FuzzedService, parts: list[bytes]) -> int:
    """Send a changed request; return how many answers came, each as it has to be."""
    raw = b"".join(parts)
    found = await asked(world.url, *parts, head=raw.startswith(b"HEAD "))
    line = REQUEST_LINE.match(raw)
    for answer in found:
        if len(found) == 1 and line is not None:
            check(world.service, line[1].decode(), line[2].decode().partition("#")[0], answer)
        elif answer.status >= 400:
            assert answer.status < 500, (raw, answer)
            world.service.code(answer.json)
    return len(found)


def check(service: ServiceUnderTest, method: str, path: str, answer: Answer) -> None:
    """Fail when an answer is a failure of ours, has another shape than it must, or is not described."""
    if answer.status >= 400 and path != "/ready":
        code = service.code(answer.json)
        assert answer.status < 500 or (service.name, answer.status, code) in UNREADABLE, (method, path, answer)
        assert len(answer.body) < 4_000, (method, path, answer)  # whatever a caller wrote is not told back at length
    if answer.headers["content-type"].startswith("application/json"):
        service.check_described(method, path, answer.status, answer.body)


async def assert_still_serving(world: FuzzedService) -> None:
    raw = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    (answer,) = await asked(world.url, raw)
    assert answer.status == 200


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("service", [SCANNER, MARKETPLACE], ids=lambda service: service.name)
async def test_every_route_with_a_body_is_tried(service: ServiceUnderTest, world: FuzzedService) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{world.url}/openapi.json", headers={"Authorization": f"Bearer {KEY}"}) as response,
    ):
        paths = orjson.loads(await response.read())["paths"]
    described = {
        (method.upper(), path)
        for path in paths
        for method in paths[path]
        if "application/json" in paths[path][method].get("requestBody", {}).get("content", {})  # others are files
    }
    untried = [
        (method, path)
        for method, path in described
        if not any(s.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), s.path) for s in world.accepted)
    ]
    assert described
    assert untried == []
