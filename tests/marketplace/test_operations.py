"""Notifications live and stored, limits, health, and who may do what everywhere."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from multidict import CIMultiDict

from marketplace.model import Role
from marketplace.web.routes import ROUTES
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import PASSWORD, Api, Running, environment, new_request, running

NOWHERE = "00000000-0000-4000-8000-000000000000"


# -- notifications -------------------------------------------------------------------------------------


async def next_event(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the next notification of a stream."""
    event: dict[str, Any] = {}
    async with asyncio.timeout(10):
        while True:
            line = (await stream.content.readline()).decode().rstrip("\n")
            if line.startswith("id: "):
                event["id"] = line[4:]
            elif line.startswith("data: "):
                event |= {"note": orjson.loads(line[6:])}
            elif not line and event:
                return event


def listen(api: Api, **headers: str) -> Any:
    return api.session.get(f"{api.url}/api/events", headers={"Authorization": f"Bearer {api.token}", **headers})


async def test_a_stream_tells_what_is_committed_and_only_to_whom_it_concerns(shop: Running) -> None:
    buyer, seller, other = await shop.user("buyer"), await shop.user("seller"), await shop.user("seller")
    async with listen(seller) as one, listen(other) as two, listen(buyer) as three:
        assert one.headers["Content-Type"] == "text/event-stream"
        for stream in (one, two, three):
            assert await stream.content.readline() == b": hello\n"

        request_id = await new_request(buyer)

        for stream in (one, two):
            event = await next_event(stream)
            assert (event["note"]["type"], event["note"]["relatedId"]) == ("request_created", request_id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await next_event(three)


async def test_a_broken_stream_is_resumed_without_loss_or_repetition(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    async with listen(seller) as stream:
        await stream.content.readline()
        first = await new_request(buyer)
        event = await next_event(stream)
    second, third = await new_request(buyer), await new_request(buyer)

    async with listen(seller, **{"Last-Event-ID": event["id"]}) as stream:
        resumed = [await next_event(stream), await next_event(stream)]

    assert event["note"]["relatedId"] == first
    assert [one["note"]["relatedId"] for one in resumed] == [second, third]


async def test_a_long_absence_is_made_up_for_at_once(shop: Running) -> None:
    buyer, seller = await shop.user("buyer"), await shop.user("seller")
    request_id = await new_request(buyer)
    async with shop.marketplace.services.units.begin(None) as work:
        for number in range(250):
            work.notify([seller.user_id], "test", f"kind_{number}", "missed", about=request_id)

    async with listen(seller, **{"Last-Event-ID": "0"}) as stream:
        observed = [(await next_event(stream))["note"]["type"] for _ in range(251)]

    assert observed == ["request_created", *(f"kind_{number}" for number in range(250))]


async def test_notifications_are_counted_read_and_ones_own(shop: Running) -> None:
    buyer, seller, other = await shop.user("buyer"), await shop.user("seller"), await shop.user("seller")
    await new_request(buyer)
    (note,) = (await seller.ok("GET", "/api/notifications"))["notifications"]
    path = f"/api/notifications/{note['id']}/read"

    stranger = await other.refused("PATCH", path)
    read = (await seller.ok("PATCH", path))["notification"]
    again = (await seller.ok("PATCH", path))["notification"]

    assert stranger == (404, "not_found")
    assert (note["read"], read["read"], again["read"]) == (False, True, True)
    assert await seller.ok("GET", "/api/notifications/unread-count") == {"count": 0}
    assert await other.ok("GET", "/api/notifications/unread-count") == {"count": 1}
    assert set(note) == {"id", "category", "type", "title", "relatedId", "actionUrl", "read", "createdAt"}


# -- limits --------------------------------------------------------------------------------------------


async def test_logins_are_limited_a_client_and_the_webhook_is_not(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner
) -> None:
    env = environment(tmp_path, fake_scanner.url, MARKETPLACE_RATE_LIMITS="login=3/900,payment=2/900,all=50/900")
    async with running(env, clock=clock) as shop:
        body = {"email": "x@example.test", "password": "x"}
        logins = [(await shop.nobody.call("POST", "/api/auth/login", body))[0] for _ in range(3)]
        status, answer = await shop.nobody.call("POST", "/api/auth/login", body)
        history = [(await shop.admin.call("GET", "/api/payment/history"))[0] for _ in range(3)]
        shown = [(await shop.admin.call("GET", f"/api/payment/{NOWHERE}"))[0] for _ in range(9)]
        hooks = [(await shop.nobody.call("POST", "/api/payment/amn-scanner/webhook", {}))[0] for _ in range(60)]
        clock.advance(901)

        assert logins == [401, 401, 429]  # the harness logged in once
        assert (status, answer["error"]["code"]) == (429, "rate_limited")
        assert 0 < answer["error"]["details"]["retryAfter"] <= 900
        assert history == [200, 200, 429]
        assert (set(shown), set(hooks)) == ({404}, {401})
        assert (await shop.nobody.call("POST", "/api/auth/login", body))[0] == 401


async def test_what_a_client_says_of_itself_does_not_count(tmp_path: Path, clock: FakeClock) -> None:
    env = environment(tmp_path, MARKETPLACE_RATE_LIMITS="all=5/900", MARKETPLACE_TRUSTED_HOPS="1")
    async with running(env, clock=clock) as shop:

        async def ask(forwarded: str) -> int:
            return (await shop.nobody.call("GET", "/api/version", headers={"X-Forwarded-For": forwarded}))[0]

        spoofed = [await ask(f"10.0.0.{i}, 192.0.2.1") for i in range(6)]

        assert spoofed == [200] * 5 + [429]
        assert await ask("10.0.0.1, 192.0.2.2") == 200


async def test_a_proxy_that_adds_a_line_of_its_own_is_believed_and_not_the_clients_line(
    tmp_path: Path, clock: FakeClock
) -> None:
    env = environment(tmp_path, MARKETPLACE_RATE_LIMITS="all=5/900", MARKETPLACE_TRUSTED_HOPS="1")
    async with running(env, clock=clock) as shop:

        async def ask(claimed: str) -> int:
            lines = CIMultiDict([("X-Forwarded-For", claimed), ("X-Forwarded-For", "192.0.2.1")])
            async with shop.nobody.session.get(f"{shop.nobody.url}/api/version", headers=lines) as response:
                return response.status

        assert [await ask(f"10.0.0.{i}") for i in range(6)] == [200] * 5 + [429]


# -- health --------------------------------------------------------------------------------------------


async def test_health_is_ok_with_a_scanner_and_degraded_without(market: Running, fake_scanner: FakeScanner) -> None:
    status, well = await market.nobody.call("GET", "/api/health")
    fake_scanner.down = True
    without, ill = await market.nobody.call("GET", "/api/health")

    assert (status, well["data"]["status"]) == (200, "ok")
    assert set(well["data"]["checks"]) == {"db", "scanner", "webhooks", "ledger", "registry", "screening"}
    assert (without, ill["data"]["status"]) == (200, "degraded")
    assert ill["data"]["checks"]["scanner"]["status"] == "degraded"


async def test_a_token_the_scanner_knows_otherwise_degrades_health_and_is_named(
    market: Running, fake_scanner: FakeScanner
) -> None:
    first, *rest = fake_scanner.tokens
    fake_scanner.tokens = [{**first, "decimals": 7}, *rest]

    _, answer = await market.nobody.call("GET", "/api/health")

    registry = answer["data"]["checks"]["registry"]
    assert (registry["status"], answer["data"]["status"]) == ("degraded", "degraded")
    assert (
        f"{first['symbol']} ({first['address'].lower()}, 7 decimals) of BSC Testnet is only there" in registry["detail"]
    )
    assert "is only here" in registry["detail"]


async def test_a_part_that_does_not_answer_costs_no_more_than_its_time(
    market: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.health.BOX_S", 0.05)
    asked = asyncio.Event()

    async def never() -> Any:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(market.marketplace.services.health._scanner, "ready", never)

    status, answer = await market.nobody.call("GET", "/api/health")

    assert asked.is_set()
    assert (status, answer["data"]["status"]) == (200, "degraded")
    assert answer["data"]["checks"]["scanner"]["detail"] == "no answer within 0.05 s"


async def test_health_is_down_without_a_store(market: Running) -> None:
    async with market.marketplace.services.units.db.write() as tx:
        await tx.exec_driver_sql("ALTER TABLE scanner_outbox RENAME TO gone")

    status, answer = await market.nobody.call("GET", "/api/health")

    assert (status, answer["data"]["status"], answer["data"]["checks"]["db"]["status"]) == (503, "down", "down")


# -- who may what --------------------------------------------------------------------------------------

OPEN = {
    ("GET", "/health"),
    ("GET", "/api/version"),
    ("GET", "/api/health"),
    ("GET", "/openapi.json"),
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/refresh-token"),
    ("GET", "/api/marketplace/purchase-requests"),
    ("POST", "/api/payment/amn-scanner/webhook"),
    ("POST", "/api/payment/shkeeper/webhook"),
    ("POST", "/api/payment/request-network/webhook"),
}
GUARDED = [(route.method, route.path) for route in ROUTES if (route.method, route.path) not in OPEN]


@pytest.fixture
async def everybody(shop: Running) -> dict[str, Api]:
    return {role: shop.admin if role == "admin" else await shop.user(role) for role in Role}


async def test_what_names_nothing_is_404_for_whoever_might(everybody: dict[str, Api]) -> None:
    bodies = {
        "select-offer": {"offerId": NOWHERE},
        "assign": {"userId": None},
        "items": b"content\nZ-1\n",
        "suspend": {"reason": "because"},
        "deadline": {"dueAt": "2099-01-01T00:00:00Z"},
        "messages": {"text": "hello"},
        "resolve": {"outcome": "refund", "note": "because"},
        "evidence": {"text": "look"},
        "verify": {"code": "123456"},
        "release": {"toAddress": "0x1000000000000000000000000000000000000001"},
        "refund": {"toAddress": "0x1000000000000000000000000000000000000001", "reason": "because"},
        "settle": {"txHash": "0x12"},
        "clear-reorg": {"note": "I looked at it."},
        "counter": {"price": {"amount": "1", "currency": "USDT"}},
        "answer": {"answer": "accepted"},
        "offers": {
            "title": "abc",
            "description": "abc",
            "price": {"amount": "1", "currency": "USDT"},
            "deliveryTime": {"amount": 1, "unit": "days"},
        },
    }
    wrong = {}
    for method, path in GUARDED:
        if "{" not in path:
            continue
        where = path.replace("{id}", NOWHERE).replace("{paymentId}", NOWHERE)
        body = bodies.get(path.rsplit("/", 1)[1], {"title": "abc"} if method == "PATCH" else {})
        statuses = {(await api.call(method, where, None if method == "GET" else body))[0] for api in everybody.values()}
        if 404 not in statuses or not statuses <= {403, 404}:
            wrong[method, path] = statuses
    assert wrong == {}


# -- secrets -------------------------------------------------------------------------------------------


async def test_no_answer_and_no_log_line_holds_a_secret(
    purchase: AcceptedPurchase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await purchase.fund()
    code = (await purchase.buyer.ok("POST", purchase.path("delivery-code/generate")))["code"]
    await purchase.seller.call("POST", purchase.path("delivery-code/verify"), {"code": code})
    paths = ["/api/notifications", "/api/payment/history", f"/api/payment/{purchase.payment_id}"]
    answers = [orjson.dumps((await purchase.buyer.call("GET", path))[1]).decode() for path in paths]
    answers += [orjson.dumps((await purchase.market.admin.call("GET", "/api/health"))[1]).decode()]

    everything = "\n".join(answers) + caplog.text

    assert purchase.buyer.token is not None
    settings = environment(Path())
    for secret in (
        code,
        purchase.buyer.token,
        PASSWORD,
        settings["AMN_SCANNER_WEBHOOK_SECRET"],
        settings["AMN_SCANNER_API_KEY"],
        settings["MARKETPLACE_JWT_SECRET"],
        settings["MARKETPLACE_XPUB"],
    ):
        assert re.search(rf"(?<![0-9a-fx]){re.escape(secret)}(?![0-9a-f])", everything) is None
    assert "$argon2" not in everything
