"""The receiver takes down what comes in and misbehaves as told."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from devnet.receiver import Receiver, receiver
from webhooks.signing import headers_for

BODY = b'{"intentId":"order-1","amount":"5"}'
SECRET = "a shared secret"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def signed(event_id: str = "evt_1", body: bytes = BODY) -> dict[str, str]:
    return headers_for(
        event_id=event_id,
        event_type="payment.confirmed",
        delivery_id="order-1",
        body=body,
        secret=SECRET,
        timestamp=int(time.time()),
    )


async def post(session: aiohttp.ClientSession, url: str, **more: object) -> int:
    headers = more.pop("headers", None) or signed()
    async with session.post(url, data=BODY, headers=headers, allow_redirects=False, **more) as response:  # type: ignore[arg-type]
        return response.status


async def test_a_delivery_is_kept_as_it_came_and_both_signatures_are_checked(
    hooks: Receiver, session: aiohttp.ClientSession
) -> None:
    assert await post(session, hooks.url("/shop")) == 200
    (delivery,) = await hooks.wait_for(1)
    assert (delivery.path, delivery.body, delivery.event_id) == ("/shop", BODY, "evt_1")
    assert delivery.json == {"intentId": "order-1", "amount": "5"}
    assert delivery.verified(SECRET)
    assert not delivery.verified("another secret")


@pytest.mark.parametrize("broken", ["X-AMN-Signature", "webhook-signature"])
async def test_one_wrong_signature_is_enough_to_refuse(
    hooks: Receiver, session: aiohttp.ClientSession, broken: str
) -> None:
    await post(session, hooks.url(), headers={**signed(), broken: signed(body=b"{}")[broken]})
    assert not hooks.deliveries[0].verified(SECRET)


async def test_statuses_come_in_turn_and_the_last_one_stays(hooks: Receiver, session: aiohttp.ClientSession) -> None:
    hooks.behave(statuses=[500, 410, 204])
    assert [await post(session, hooks.url()) for _ in range(4)] == [500, 410, 204, 204]
    assert await post(session, hooks.url("/other")) == 200


async def test_all_paths_can_be_set_at_once(hooks: Receiver, session: aiohttp.ClientSession) -> None:
    hooks.behave("/good", statuses=[201])
    hooks.behave_everywhere(statuses=[503], headers={"Retry-After": "7"})
    async with session.post(hooks.url("/bad"), data=BODY) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "7")
    assert await post(session, hooks.url("/good")) == 201


async def test_it_redirects(hooks: Receiver, session: aiohttp.ClientSession) -> None:
    hooks.behave(statuses=[307], headers={"Location": hooks.url("/elsewhere")})
    assert await post(session, hooks.url()) == 307
    assert hooks.of("/elsewhere") == []


async def test_a_path_that_hangs_or_is_slow_takes_the_delivery_and_holds_up_nobody(
    hooks: Receiver, session: aiohttp.ClientSession
) -> None:
    hooks.behave("/hangs", hang=True)
    hooks.behave("/slow", pause_s=30)
    waiting = [asyncio.create_task(post(session, hooks.url(path))) for path in ("/hangs", "/slow")]
    await hooks.wait_until(lambda: len(hooks.of("/hangs")) == len(hooks.of("/slow")) == 1)
    assert await post(session, hooks.url("/quick")) == 200
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_dropped_connection_gives_no_answer(hooks: Receiver, session: aiohttp.ClientSession) -> None:
    hooks.behave(drop=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(session, hooks.url())
    assert len(hooks.deliveries) == 1


async def test_repeated_deliveries_of_one_event_count_once(hooks: Receiver, session: aiohttp.ClientSession) -> None:
    for event_id in ("evt_1", "evt_2", "evt_1"):
        await post(session, hooks.url(), headers=signed(event_id))
    assert len(hooks.deliveries) == 3
    assert set(hooks.distinct) == {"evt_1", "evt_2"}


async def test_waiting_for_what_never_comes_ends(hooks: Receiver) -> None:
    with pytest.raises(TimeoutError):
        await hooks.wait_for(1, timeout_s=0.01)


async def test_nothing_listens_once_it_is_closed(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(5):
        async with receiver() as hooks:
            hooks.behave(hang=True)
            hanging = asyncio.create_task(post(session, hooks.url()))
            await hooks.wait_for(1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(session, hooks.url())


async def test_as_a_process_it_has_written_down_whatever_it_answered(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    record = tmp_path / "record.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devnet.receiver", "--record", str(record), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        for event_id in ("evt_1", "evt_2"):
            assert await post(session, f"{url}/hook", headers=signed(event_id)) == 200
    finally:
        process.send_signal(signal.SIGKILL)  # without a chance to flush
        await process.wait()
    rows = [orjson.loads(line) for line in record.read_bytes().splitlines()]
    assert [(row["id"], row["path"], row["body"].encode()) for row in rows] == [
        ("evt_1", "/hook", BODY),
        ("evt_2", "/hook", BODY),
    ]
    assert rows[0]["headers"]["x-amn-event-type"] == "payment.confirmed"
