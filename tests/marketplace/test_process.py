"""The backend as a process: it starts, says where, stops when asked, and survives being killed."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import DONE_IN, TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import ADMIN, PASSWORD, Api, Running, environment, login, running
from tests.processes import AnyProcess, start

pytestmark = pytest.mark.process


@asynccontextmanager
async def process(env: Mapping[str, str]) -> AsyncIterator[tuple[AnyProcess, str]]:
    """Start `python -m marketplace` and wait until it listens; it is gone when the block ends."""
    started = await start("marketplace", env=env)
    try:
        assert started.stdout is not None
        async with asyncio.timeout(60):
            while "listening on" not in (line := (await started.stdout.readline()).decode()):
                assert line, "it ended"
        yield started, line.split("listening on ")[1].split()[0]
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.communicate()


async def test_it_starts_and_stops_when_asked(tmp_path: Path) -> None:
    async with process(environment(tmp_path)) as (started, url), aiohttp.ClientSession() as session:
        await login(Api(url, session), *ADMIN)
        started.send_signal(signal.SIGTERM)

        assert await started.wait() == 0


@pytest.mark.parametrize(
    ("name", "value"), [("MARKETPLACE_PORT", "x"), ("MARKETPLACE_DB_PATH", "/nowhere/at/all.db"), ("APP_ENV", "prod")]
)
async def test_a_bad_setting_ends_the_start_with_one_line(tmp_path: Path, name: str, value: str) -> None:
    started = await start("marketplace", env={**environment(tmp_path), name: value})
    said, _ = await started.communicate()

    assert started.returncode == 1
    assert said.decode().startswith(name)
    assert said.count(b"\n") == 1


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1])
async def test_what_was_killed_while_webhooks_came_ends_with_one_credit(
    tmp_path: Path, fake_scanner: FakeScanner, after_s: float
) -> None:
    env = environment(tmp_path, fake_scanner.url)
    clock = FakeClock()
    async with running(env, clock=clock) as market:
        purchases = [await accept_purchase(market, fake_scanner, clock) for _ in range(4)]
        for purchase in purchases:
            await purchase.open()
    hooks = [fake_scanner.pay(purchase.payment_id) for purchase in purchases]

    async with process(env) as (started, url), aiohttp.ClientSession() as session:
        for purchase in purchases:
            purchase.buyer = Api(url, session, purchase.buyer.token, purchase.buyer.user_id)
        sending = [asyncio.create_task(purchase.hook(hook)) for purchase, hook in zip(purchases, hooks, strict=True)]
        await asyncio.sleep(after_s)  # a kill has no event to wait for
        started.kill()
        await asyncio.gather(*sending, return_exceptions=True)

    async with running(env) as market:
        await retold(market, purchases, hooks)
        assert [purchase.entries() for purchase in purchases] == [[("payment_detected", TEN), ("hold", TEN)]] * 4
        assert (await market.admin.ok("GET", "/api/admin/reconciliation"))["ok"] is True


async def retold(market: Running, purchases: list[AcceptedPurchase], hooks: list[dict[str, Any]]) -> None:
    """Deliver every webhook again, as the scanner does until it hears a 2xx."""
    for purchase, hook in zip(purchases, hooks, strict=True):
        purchase.buyer = market.nobody
        status, _ = await purchase.hook(hook)
        assert status == 200


async def test_a_whole_run_tells_no_secret_in_its_log_or_its_answers(tmp_path: Path, fake_scanner: FakeScanner) -> None:
    env = environment(tmp_path, fake_scanner.url, LOG_LEVEL="debug")
    answers: list[tuple[str, str]] = []

    async def keep(_session: object, _context: object, given: aiohttp.TraceResponseChunkReceivedParams) -> None:
        answers.append((given.url.path, given.chunk.decode()))

    trace = aiohttp.TraceConfig()
    trace.on_response_chunk_received.append(keep)
    async with process(env) as (started, url), aiohttp.ClientSession(trace_configs=[trace]) as session:
        secrets = await whole_story(tmp_path, fake_scanner, Api(url, session))
        started.send_signal(signal.SIGTERM)
        assert started.stdout is not None
        said = (await started.stdout.read()).decode()
    secrets |= {env[name] for name in env if name.endswith(("SECRET", "KEY", "XPUB", "PASSWORD"))} | {
        PASSWORD,
        "$argon2",
    }
    reported = [(path, body) for path, body in answers if "/api/auth/" not in path and "/generate" not in path]

    assert "funded" in said
    assert len(reported) > 20
    assert len(secrets) > 10
    for secret in secrets:
        assert re.search(rf"(?<![0-9a-zA-Z]){re.escape(secret)}(?![0-9a-zA-Z])", said) is None
        assert [path for path, body in reported if f'"{secret}"' in body or "argon2" in body] == []


async def whole_story(folder: Path, scanner: FakeScanner, nobody: Api) -> set[str]:
    """Sell something, with a few mistakes on the way; return every code and token there was."""
    admin = await login(nobody, *ADMIN)
    shop = Running(cast("Any", None), nobody, admin, folder / "marketplace.db")
    purchase = await accept_purchase(shop, scanner, FakeClock())
    pair = (await nobody.ok("POST", "/api/auth/login", {"email": ADMIN[0], "password": ADMIN[1]}))["tokens"]
    renewed = (await nobody.ok("POST", "/api/auth/refresh-token", {"refreshToken": pair["refreshToken"]}))["tokens"]
    await nobody.refused("POST", "/api/auth/refresh-token", {"refreshToken": pair["refreshToken"]})
    await nobody.refused("POST", "/api/auth/login", {"email": ADMIN[0], "password": "a wrong password"})
    await purchase.open()
    await purchase.hook(scanner.pay(purchase.payment_id), secret="another secret")
    await purchase.hook(scanner.pay(purchase.payment_id))
    await purchase.seller.ok("PATCH", purchase.path("delivery"), {"proof": "handed over"})
    code = (await purchase.buyer.ok("POST", purchase.path("delivery-code/generate")))["code"]
    other = f"{(int(code) + 1) % 10**6:06d}"
    await purchase.seller.refused("POST", purchase.path("delivery-code/verify"), {"code": other})
    await purchase.seller.ok("POST", purchase.path("delivery-code/verify"), {"code": code})
    await purchase.seller.ok("GET", purchase.path("delivery-code/status"))
    _, released = await purchase.release()
    settle = f"/api/admin/instructions/{released['data']['instruction']['id']}/settle"
    scanner.carries_out(released["data"]["instruction"], tx=DONE_IN)
    await admin.ok("POST", settle, {"txHash": DONE_IN})
    for who in (purchase.buyer, purchase.seller, admin):
        for path in ("/api/notifications", "/api/payment/history", "/api/health", "/api/marketplace/offers"):
            await who.ok("GET", path)
    people = {str(who.token) for who in (purchase.buyer, purchase.seller, admin)}
    return {str(code), "a wrong password", *pair.values(), *renewed.values()} | people
