"""Receivers that are down, slow, redirecting or gone: everything is reported in the end, once, and nobody waits for another."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import Anvil, ProxyPayment
from devnet.receiver import Receiver
from tests.harness import MERCHANT, SECRET, USDT, FakeClock, Running, environment, running

pytestmark = pytest.mark.anvil


async def pay(chain: Anvil, scanner: Running, url: str, **fields: Any) -> str:
    created = await scanner.api.create(callbackUrl=url, amount="1000", **fields)
    await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
    await chain.mine(5)
    return str(created["intentId"])


async def delivered(scanner: Running, intent_id: str) -> dict[str, Any]:
    return await scanner.api.until(intent_id, lambda intent: intent["webhookDeliveredAt"] is not None)


def attempts(intent: dict[str, Any]) -> list[dict[str, Any]]:
    (delivery,) = intent["deliveries"]
    return list(delivery["attempts"])


def rows(folder: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "scanner.db") as store:
        return store.execute(sql, parameters).fetchall()


async def test_many_deliveries_at_once_take_one_attempt_each(
    chain: Anvil, hooks: Receiver, scanner: Running, tmp_path: Path
) -> None:
    created = [await scanner.api.create(callbackUrl=hooks.url(), amount="1000") for _ in range(40)]
    await chain.pay_together([ProxyPayment(USDT, MERCHANT, 1000, c["paymentReference"]) for c in created[:20]])
    await chain.pay_together([ProxyPayment(USDT, MERCHANT, 1000, c["paymentReference"]) for c in created[20:]])
    await chain.mine(5)
    for each in created:
        await delivered(scanner, each["intentId"])

    assert len(hooks.deliveries) == 40
    assert rows(tmp_path, "SELECT count(*), min(ok) FROM attempts") == [(40, 1)]


async def test_a_receiver_that_is_down_for_the_whole_schedule_is_notified_when_an_operator_asks(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    hooks.behave(statuses=[503])
    intent_id = await pay(chain, scanner, hooks.url())
    failed = await scanner.api.status_is(intent_id, "webhook_failed")
    tried = attempts(failed)
    assert [a["status"] for a in tried] == [503] * 4
    assert all(a["response"] == "status 503" and a["latencyMs"] >= 0 and a["at"] for a in tried)
    assert (await scanner.api.chain())["undeliveredWebhooks"] == 1

    hooks.behave(statuses=[200])
    status, answer = await scanner.api.call("POST", "/admin/webhooks/retry")
    assert (status, answer) == (200, {"retried": 1})
    done = await delivered(scanner, intent_id)

    assert done["status"] == "confirmed"
    assert len(hooks.distinct) == 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def slow_clock(chain: Anvil, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    env = environment(tmp_path, chain.url)
    del env["WEBHOOK_RETRY_DELAYS_SEC"]
    async with running(env, clock=clock) as found:
        yield found


async def test_attempts_follow_the_schedule_and_then_the_sweep(
    chain: Anvil, hooks: Receiver, slow_clock: Running, clock: FakeClock, tmp_path: Path
) -> None:
    hooks.behave(statuses=[500])
    intent_id = await pay(chain, slow_clock, hooks.url())
    for made, pause in enumerate([5, 30, 120, 600, 3600], start=1):
        await hooks.wait_for(made)
        await recorded(tmp_path, made)
        due = rows(tmp_path, "SELECT next_attempt_at FROM events")[0][0] - clock.now_ms()
        assert pause * 900 <= due <= pause * 1100
        clock.advance(due / 1000 - 1)
        slow_clock.daemon.dispatcher.wakeup.wake()
        clock.advance(1.001)
        slow_clock.daemon.dispatcher.wakeup.wake()
    await hooks.wait_for(6)
    await slow_clock.api.status_is(intent_id, "webhook_failed")

    hooks.behave(statuses=[200])
    clock.advance(5.9 * 3600)
    assert await slow_clock.daemon.redelivery.sweep() == 0
    clock.advance(0.2 * 3600)
    assert await slow_clock.daemon.redelivery.sweep() == 1
    await delivered(slow_clock, intent_id)
    assert len(hooks.deliveries) == 7
    assert len(hooks.distinct) == 1


async def recorded(folder: Path, made: int) -> None:
    async with asyncio.timeout(10):
        while rows(folder, "SELECT count(*) FROM attempts") != [(made,)]:  # noqa: ASYNC110 - seen in the store
            await asyncio.sleep(0.01)


async def test_retry_after_is_honoured(
    chain: Anvil, hooks: Receiver, slow_clock: Running, clock: FakeClock, tmp_path: Path
) -> None:
    hooks.behave(statuses=[429], headers={"Retry-After": "77"})
    await pay(chain, slow_clock, hooks.url())
    await recorded(tmp_path, 1)

    assert rows(tmp_path, "SELECT next_attempt_at FROM events")[0][0] - clock.now_ms() == 77_000


async def test_the_schedule_survives_a_restart(chain: Anvil, hooks: Receiver, tmp_path: Path, clock: FakeClock) -> None:
    env = environment(tmp_path, chain.url)
    del env["WEBHOOK_RETRY_DELAYS_SEC"]
    hooks.behave(statuses=[500])
    async with running(env, clock=clock) as scanner:
        intent_id = await pay(chain, scanner, hooks.url())
        await recorded(tmp_path, 1)
    due = rows(tmp_path, "SELECT next_attempt_at FROM events")

    hooks.behave(statuses=[200])
    async with running(env, clock=clock) as scanner:
        assert rows(tmp_path, "SELECT next_attempt_at FROM events") == due
        assert (await scanner.api.intent(intent_id))["webhookDeliveredAt"] is None
        clock.advance(6)
        scanner.daemon.dispatcher.wakeup.wake()
        await delivered(scanner, intent_id)


async def test_gone_ends_the_round_at_once(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    hooks.behave(statuses=[410])
    intent_id = await pay(chain, scanner, hooks.url())

    failed = await scanner.api.status_is(intent_id, "webhook_failed")

    assert [a["status"] for a in attempts(failed)] == [410]


async def test_a_redirect_is_not_followed_and_is_a_failure(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    hooks.behave("/hook", statuses=[302], headers={"Location": hooks.url("/elsewhere")})
    intent_id = await pay(chain, scanner, hooks.url())

    failed = await scanner.api.status_is(intent_id, "webhook_failed")

    assert {a["status"] for a in attempts(failed)} == {302}
    assert hooks.of("/elsewhere") == []


@pytest.mark.long
async def test_a_receiver_that_hangs_is_given_up_and_delays_no_other(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    hooks.behave("/dead", hang=True)
    env = environment(tmp_path, chain.url, WEBHOOK_TIMEOUT_SEC="2")
    dead = hooks.url("/dead").replace("127.0.0.1", "localhost")  # another receiver, by name
    async with running(env) as scanner:
        for _ in range(40):  # more than the dead one's queue is wide
            await scanner.api.create(callbackUrl=dead, amount="1")
        waiting = [i["intentId"] for i in (await scanner.api.get("/intents?limit=100"))["intents"]]
        references = [(await scanner.api.intent(i))["paymentReference"] for i in waiting]
        await chain.pay_together([ProxyPayment(USDT, MERCHANT, 1, reference) for reference in references])
        await chain.mine(5)
        await hooks.wait_until(lambda: len(hooks.of("/dead")) >= 4)
        intent_id = await pay(chain, scanner, hooks.url("/alive"))

        done = await delivered(scanner, intent_id)

        assert len(attempts(done)) == 1
        first = await scanner.api.until(waiting[0], lambda intent: attempts(intent) != [])
        assert attempts(first)[0]["error"] == "timeout"


async def test_a_confirmed_intent_without_its_event_is_reported_at_the_next_start_with_the_same_id(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    env = environment(tmp_path, chain.url)
    hooks.behave(statuses=[500])
    async with running(env) as scanner:
        intent_id = await pay(chain, scanner, hooks.url())
        await hooks.wait_for(1)
    event_id = hooks.deliveries[0].event_id
    with sqlite3.connect(tmp_path / "scanner.db") as store:
        store.execute("DELETE FROM attempts")
        store.execute("DELETE FROM events")
        store.execute("UPDATE intents SET status = 'confirmed', created_at = created_at - 30 * 86400000")

    hooks.behave(statuses=[200])
    async with running(env) as scanner:
        await delivered(scanner, intent_id)

    assert {d.event_id for d in hooks.deliveries} == {event_id}


async def test_the_headers_are_those_of_the_contract(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    intent_id = await pay(chain, scanner, hooks.url(), callbackSecret="whsec_c2VjcmV0IGJ5dGVz")
    (delivery,) = await hooks.wait_for(1)

    assert delivery.verified("whsec_c2VjcmV0IGJ5dGVz")
    assert not delivery.verified(SECRET)
    headers = delivery.headers
    assert headers["content-type"] == "application/json"
    assert headers["x-amn-event-type"] == "payment.confirmed"
    assert headers["x-amn-delivery-id"] == intent_id
    assert headers["webhook-id"] == delivery.json["eventId"]
    assert headers["webhook-signature"].startswith("v1,")
    assert headers["webhook-timestamp"].isdigit()


async def test_at_most_twenty_transfers_travel_and_all_are_counted(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="25")
    await chain.pay_together([ProxyPayment(USDT, MERCHANT, 1, created["paymentReference"])] * 25)
    await chain.mine(5)
    (delivery,) = await hooks.wait_for(1)

    assert (len(delivery.json["transfers"]), delivery.json["transferCount"]) == (20, 25)


async def test_in_production_a_private_receiver_is_refused_at_the_door(chain: Anvil, tmp_path: Path) -> None:
    env = environment(tmp_path, chain.url, APP_ENV="production", SCANNER_API_KEY="key")
    async with running(env) as scanner:
        body = {
            "intentId": "a",
            "chainId": 97,
            "token": "USDT",
            "destination": MERCHANT,
            "amount": "1",
            "callbackUrl": "http://169.254.169.254/latest",
            "callbackSecret": "s",
        }
        status, answer = await scanner.api.call("POST", "/intents", body)

    assert (status, answer["code"], answer["details"]) == (400, "forbidden_callback", {"field": "callbackUrl"})
