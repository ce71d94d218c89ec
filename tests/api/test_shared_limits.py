"""Two scanners on one PostgreSQL: what a stranger or an operator may do is counted over both."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.keys import SERVICES
from api.pay.doors import LIMITS as PAGES
from scanner.checkout.payments import counted_by
from scanner.console_sessions import TRIES
from scanner.deliveries import TESTS
from tests import postgres
from tests.api.conftest import KEY
from tests.harness import SECRET, Running, empty_database, environment, running
from tests.plain_browser import browser


@dataclass
class Pair:
    """Two scanners on one store, and a visitor without a key."""

    one: Running
    other: Running
    visitor: aiohttp.ClientSession

    async def exchange(self) -> None:
        for each in (self.one, self.other):
            assert each.daemon.rates is not None
            await each.daemon.rates.exchange()

    async def asked(self, at: Running, method: str, path: str, **more: Any) -> int:
        async with self.visitor.request(method, at.api.url + path, **more) as response:
            return response.status


@pytest.fixture
async def pair(tmp_path: Path, postgresql: postgres.Server) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(empty_database(postgresql))
        env = environment(
            tmp_path,
            "http://127.0.0.1:9",
            DB_PATH="",
            DATABASE_URL=database.settings.url,
            SCANNER_SECRET_KEY=base64.b64encode(bytes(32)).decode(),
            SCANNER_API_KEY=KEY,
            SCANNER_PUBLIC_URL="http://pay.example",  # over TLS a browser would keep its cookies to itself
            POLL_INTERVAL_SEC="3600",
        )
        one, other = [
            await stack.enter_async_context(running({**env, "SCANNER_NODE_ID": name})) for name in ("one", "other")
        ]
        yield Pair(one, other, await stack.enter_async_context(aiohttp.ClientSession()))


async def test_tokens_that_are_for_nothing_are_counted_over_both(pair: Pair) -> None:
    half = PAGES["unknown"].count // 2
    for n in range(half):
        for each in (pair.one, pair.other):
            assert await pair.asked(each, "GET", f"/pay/unknown-{n}") == 404
    await pair.exchange()

    assert await pair.asked(pair.other, "GET", "/pay/unknown") == 429


async def test_looking_at_the_chain_again_is_counted_over_both(pair: Pair) -> None:
    created = await pair.one.api.create()
    path = f"/pay/{str(created['paymentUrl']).rsplit('/', 1)[1]}/recheck"

    # No endpoint answers, which is a look all the same; the other one has not heard of the first yet.
    assert [await pair.asked(each, "POST", path, json={}) for each in (pair.one, pair.other)] == [502, 502]
    await pair.exchange()
    limiters = [each.daemon.app[SERVICES].payments.limiter for each in (pair.one, pair.other)]
    assert all(limiter.take("hour", counted_by(created["intentId"])) == 0 for limiter in limiters for _ in range(9))
    await pair.exchange()
    assert limiters[1].take("hour", counted_by(created["intentId"])) > 0


async def test_tries_to_sign_in_are_counted_over_both(pair: Pair) -> None:
    async with browser(pair.one.api.url) as near, browser(pair.other.api.url) as far:
        for _ in range(TRIES.count // 2):
            for each in (near, far):
                assert (await each.sign_in("/console/login", key="wrong")).status == 401
        await pair.exchange()

        assert (await far.sign_in("/console/login", key=KEY)).status == 429


async def test_test_events_are_counted_over_both(pair: Pair) -> None:
    body = {"callbackUrl": "http://127.0.0.1:9/", "callbackSecret": SECRET}
    for _ in range(TESTS.count // 2):
        for each in (pair.one, pair.other):
            assert (await each.api.call("POST", "/webhooks/test", body))[0] == 200
    await pair.exchange()

    status, answer = await pair.other.api.call("POST", "/webhooks/test", body)
    assert (status, answer["code"]) == (429, "rate_limited")


async def test_on_a_file_nothing_is_shared(daemon: Running) -> None:
    assert daemon.daemon.rates is None
