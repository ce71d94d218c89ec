"""What was told, sending it again, and test events: over the API, to a receiver that is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from devnet.receiver import Receiver, receiver
from scanner import deliveries, events
from scanner.model import EventType
from scanner.store import intents, outbox, webhook_log
from tests.harness import SECRET, Running, environment, running

KEY = "a-key-for-tests"


@pytest.fixture
async def hooks() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


async def queue(daemon: Running, hooks: Receiver, intent_id: str, path: str = "/hook", kind: str = "expired") -> str:
    """Register an intent and queue an event about it; return the event's id."""
    if not await _known(daemon, intent_id):
        await daemon.api.create(intentId=intent_id, callbackUrl=hooks.url(path))
    async with daemon.database.write() as tx:
        intent = await intents.get(tx, intent_id)
        assert intent is not None
        now = daemon.daemon.redelivery._clock.now_ms()
        row = events.expired(intent, now) if kind == "expired" else events.partial(intent, 1, None, now)
        await outbox.add(tx, [row])
    daemon.daemon.dispatcher.wakeup.wake()
    return str(row["event_id"])


async def _known(daemon: Running, intent_id: str) -> bool:
    return (await daemon.api.call("GET", f"/intents/{intent_id}"))[0] == 200


async def stands(daemon: Running, event_id: str, status: str) -> dict[str, Any]:
    """Wait, as a browser would, until an event has a status."""
    async with asyncio.timeout(10):
        while True:
            found = (await daemon.api.get(f"/webhooks/{event_id}"))["webhook"]
            if found["status"] == status:
                return dict(found)
            await asyncio.sleep(0.02)


async def test_a_webhook_shows_its_body_and_what_came_of_each_try(daemon: Running, hooks: Receiver) -> None:
    hooks.behave(statuses=(500, 204))
    event_id = await queue(daemon, hooks, "shown")

    found = await stands(daemon, event_id, "delivered")

    assert orjson.loads(found["body"])["eventId"] == event_id
    assert [(each["ok"], each["status"], each["error"]) for each in found["tries"]] == [
        (False, 500, "HTTP 500"),
        (True, 204, None),
    ]
    assert (found["attempts"], found["subjectKind"], found["subjectId"]) == (2, "intent", "shown")
    assert found["receiver"] == hooks.url("").removeprefix("http://")


async def test_webhooks_are_listed_by_status_and_by_receiver(daemon: Running, hooks: Receiver) -> None:
    hooks.behave("/bad", statuses=(410,))
    good, bad = await queue(daemon, hooks, "good"), await queue(daemon, hooks, "bad", "/bad")
    await stands(daemon, good, "delivered")
    await stands(daemon, bad, "failed")
    address = hooks.url("").removeprefix("http://")

    async def listed(query: str) -> list[str]:
        return [each["eventId"] for each in (await daemon.api.get(f"/webhooks?{query}"))["webhooks"]]

    assert await listed("") == [good, bad]
    assert await listed("status=failed") == [bad]
    assert await listed("status=delivered") == [good]
    assert await listed("status=pending") == []
    assert await listed(f"receiver={address}") == [good, bad]
    assert await listed(f"receiver={address}&status=failed") == [bad]
    assert await listed("receiver=elsewhere:443") == []


async def test_pages_of_webhooks_show_each_once(daemon: Running, hooks: Receiver) -> None:
    made = [await queue(daemon, hooks, f"order-page-{n}") for n in range(5)]

    page = await daemon.api.get("/webhooks?limit=2")
    seen = [each["eventId"] for each in page["webhooks"]]
    while page["nextCursor"] is not None:
        page = await daemon.api.get(f"/webhooks?limit=2&cursor={page['nextCursor']}")
        seen += [each["eventId"] for each in page["webhooks"]]

    assert seen == made


async def test_a_page_looks_at_no_more_events_than_a_bound(
    daemon: Running, hooks: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver with few events among millions does not cost a walk of all; the cursor leads on."""
    monkeypatch.setattr(webhook_log, "WALKED", 2)
    webhook_log._walk.cache_clear()
    for n in range(5):
        await queue(daemon, hooks, f"order-walk-{n}")
    try:
        page = await daemon.api.get("/webhooks?receiver=elsewhere:443")
        pages = 1
        while page["nextCursor"] is not None:
            assert page["webhooks"] == []
            page = await daemon.api.get(f"/webhooks?receiver=elsewhere:443&cursor={page['nextCursor']}")
            pages += 1
    finally:
        webhook_log._walk.cache_clear()

    assert pages == 3


async def test_a_delivered_event_is_sent_again_under_the_same_id(daemon: Running, hooks: Receiver) -> None:
    event_id = await queue(daemon, hooks, "again")
    await stands(daemon, event_id, "delivered")

    status, answer = await daemon.api.call("POST", f"/webhooks/{event_id}/redeliver")
    assert (status, answer["webhook"]["status"]) == (200, "pending")
    await hooks.wait_for(2)
    found = await stands(daemon, event_id, "delivered")

    assert [delivery.event_id for delivery in hooks.deliveries] == [event_id, event_id]
    assert hooks.deliveries[0].body == hooks.deliveries[1].body
    assert len(found["tries"]) == found["attempts"] == 2


async def test_a_superseded_event_is_not_sent_again(daemon: Running, hooks: Receiver) -> None:
    event_id = await queue(daemon, hooks, "over")
    await stands(daemon, event_id, "delivered")
    async with daemon.database.write() as tx:
        await webhook_log.send_again(tx, event_id, 2**53)
        await outbox.supersede(tx, outbox.INTENT, ["over"])

    status, answer = await daemon.api.call("POST", f"/webhooks/{event_id}/redeliver")

    assert (status, answer["code"], answer["details"]) == (409, "conflict", {"field": "status"})


async def test_only_the_newest_tries_are_shown(
    daemon: Running, hooks: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_log, "_NEWEST_TRIES", webhook_log._NEWEST_TRIES.limit(2))
    hooks.behave(statuses=(500, 501, 502, 204))
    event_id = await queue(daemon, hooks, "many")

    found = await stands(daemon, event_id, "delivered")

    assert [each["status"] for each in found["tries"]] == [502, 204]
    assert found["attempts"] == 4


@pytest.mark.parametrize("event_type", list(EventType))
async def test_a_test_event_is_signed_marked_and_leaves_no_trace(
    daemon: Running, hooks: Receiver, event_type: EventType
) -> None:
    body = {"callbackUrl": hooks.url(), "callbackSecret": SECRET, "eventType": event_type}

    status, answer = await daemon.api.call("POST", "/webhooks/test", body)

    (delivery,) = hooks.deliveries
    assert (status, answer["status"], answer["error"]) == (200, 200, None)
    assert answer["eventId"] == delivery.event_id == delivery.json["eventId"]
    assert (delivery.json["test"], delivery.json["eventType"]) == (True, event_type)
    assert delivery.verified(SECRET)
    assert (await daemon.api.get("/webhooks"))["webhooks"] == []


async def test_a_test_event_says_what_went_wrong(daemon: Running) -> None:
    body = {"callbackUrl": "http://127.0.0.1:9/", "callbackSecret": SECRET}

    _, answer = await daemon.api.call("POST", "/webhooks/test", body)

    assert (answer["status"], answer["response"], answer["error"]) == (None, "", "connection refused")


async def test_test_events_are_few_a_minute(daemon: Running) -> None:
    """Whoever has a key must not make of us a means to flood somebody."""
    body = {"callbackUrl": "http://127.0.0.1:9/", "callbackSecret": SECRET}
    for _ in range(deliveries.TESTS.count):
        assert (await daemon.api.call("POST", "/webhooks/test", body))[0] == 200

    status, answer = await daemon.api.call("POST", "/webhooks/test", body)

    assert (status, answer["code"]) == (429, "rate_limited")


async def test_a_test_event_goes_where_real_ones_may_go(tmp_path: Path) -> None:
    env = environment(
        tmp_path,
        "http://127.0.0.1:9",
        SCANNER_API_KEY=KEY,
        SCANNER_CALLBACK_ALLOWED_HOSTS="shop.example",
        POLL_INTERVAL_SEC="3600",
    )
    async with running(env) as daemon:
        for url in ("http://127.0.0.1:9/", "http://169.254.169.254/", "ftp://shop.example/"):
            status, answer = await daemon.api.call(
                "POST", "/webhooks/test", {"callbackUrl": url, "callbackSecret": SECRET}
            )
            assert (status, answer["code"]) == (400, "forbidden_callback")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/webhooks?status=odd", None, 400),
        ("GET", "/webhooks?receiver=", None, 400),
        ("GET", f"/webhooks?receiver={'x' * 301}", None, 400),
        ("GET", "/webhooks?limit=501", None, 400),
        ("GET", "/webhooks?cursor=!", None, 400),
        ("GET", "/webhooks/nobody", None, 404),
        ("GET", "/webhooks/a%20b", None, 400),
        ("POST", "/webhooks/nobody/redeliver", None, 404),
        ("POST", "/webhooks/test", {"callbackUrl": "http://127.0.0.1:9/"}, 400),
        ("POST", "/webhooks/test", {"callbackUrl": "http://127.0.0.1:9/", "callbackSecret": ""}, 400),
        (
            "POST",
            "/webhooks/test",
            {"callbackUrl": "http://127.0.0.1:9/", "callbackSecret": "a", "eventType": "payment.dreamt"},
            400,
        ),
    ],
)
async def test_what_cannot_be_asked(daemon: Running, method: str, path: str, body: Any, status: int) -> None:
    assert (await daemon.api.call(method, path, body))[0] == status
