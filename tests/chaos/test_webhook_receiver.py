"""A receiver takes no honest webhook for a forged one."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from tests.chaos import webhook_receiver
from tests.chaos.webhook_receiver import WebhookReceiver
from tests.harness import SECRET
from webhooks.signing import headers_for

FAR_S = 1200


def a_request(signed_at: int) -> Any:
    body = orjson.dumps({"intentId": "order-1", "eventType": "payment.confirmed"})
    headers = headers_for(
        event_id="evt_1",
        event_type="payment.confirmed",
        delivery_id="order-1",
        body=body,
        secret=SECRET,
        timestamp=signed_at,
    )

    async def read() -> bytes:
        return body

    return SimpleNamespace(headers=headers, read=read, transport=None)


async def test_a_clock_that_is_set_twice_while_the_receiver_takes_its_time_forges_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_receiver, "SLOW_S", 0.001)
    receiver = WebhookReceiver()
    receiver.active_faults.append("slow")
    taking = asyncio.create_task(receiver._take(a_request(int(time.time()))))
    await asyncio.sleep(0)
    receiver.skewed(FAR_S)
    receiver.skewed(-FAR_S)
    await taking

    assert [webhook.genuine for webhook in receiver.webhooks] == [True]


async def test_nor_does_one_that_is_set_twice_while_a_webhook_is_under_way() -> None:
    receiver = WebhookReceiver()
    receiver.skewed(FAR_S)
    receiver.skewed(-FAR_S)
    await receiver._take(a_request(int(time.time())))

    assert [webhook.genuine for webhook in receiver.webhooks] == [True]


async def test_a_host_may_have_the_clock_of_before_a_jump_for_as_long_as_it_likes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_receiver, "UNDER_WAY_S", 0.0)
    receiver = WebhookReceiver()
    receiver.skewed(FAR_S)
    await asyncio.sleep(0.001)
    await receiver._take(a_request(int(time.time())))

    assert [webhook.genuine for webhook in receiver.webhooks] == [True]


async def test_what_a_clock_said_long_ago_is_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_receiver, "UNDER_WAY_S", 0.0)
    receiver = WebhookReceiver()
    receiver.skewed(FAR_S)
    receiver.skewed(-FAR_S)
    await asyncio.sleep(0.001)
    await receiver._take(a_request(int(time.time())))

    assert [webhook.genuine for webhook in receiver.webhooks] == [False]


@pytest.mark.parametrize("skew_s", [0, -FAR_S])
async def test_but_what_no_clock_said_is_forged(skew_s: int) -> None:
    receiver = WebhookReceiver()
    receiver.skewed(skew_s)
    await receiver._take(a_request(int(time.time()) + FAR_S))

    assert [webhook.genuine for webhook in receiver.webhooks] == [False]
