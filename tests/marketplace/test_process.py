"""The backend as a process: it starts, says where, stops when asked, and survives being killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness import ROOT, FakeClock
from tests.marketplace.deals import TEN, Deal, make_deal
from tests.marketplace.harness import ADMIN, Api, Running, environment, login, running
from tests.marketplace.stand_in import StandIn

pytestmark = pytest.mark.process


@asynccontextmanager
async def process(env: Mapping[str, str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start `python -m marketplace` and wait until it listens; it is gone when the block ends."""
    started = await _start(env)
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


async def _start(env: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "marketplace",
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_it_starts_and_stops_when_asked(tmp_path: Path) -> None:
    async with process(environment(tmp_path)) as (started, url), aiohttp.ClientSession() as session:
        await login(Api(url, session), *ADMIN)
        started.send_signal(signal.SIGTERM)

        assert await started.wait() == 0


@pytest.mark.parametrize(
    ("name", "value"), [("MARKETPLACE_PORT", "x"), ("MARKETPLACE_DB_PATH", "/nowhere/at/all.db"), ("APP_ENV", "prod")]
)
async def test_a_bad_setting_ends_the_start_with_one_line(tmp_path: Path, name: str, value: str) -> None:
    started = await _start({**environment(tmp_path), name: value})
    said, _ = await started.communicate()

    assert started.returncode == 1
    assert said.decode().startswith(name)
    assert said.count(b"\n") == 1


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1])
async def test_what_was_killed_while_webhooks_came_ends_with_one_credit(
    tmp_path: Path, chain_side: StandIn, after_s: float
) -> None:
    env = environment(tmp_path, chain_side.url)
    clock = FakeClock()
    async with running(env, clock=clock) as market:
        deals = [await make_deal(market, chain_side, clock) for _ in range(4)]
        for deal in deals:
            await deal.open()
    hooks = [chain_side.pay(deal.payment_id) for deal in deals]

    async with process(env) as (started, url), aiohttp.ClientSession() as session:
        for deal in deals:
            deal.buyer = Api(url, session, deal.buyer.token, deal.buyer.user_id)
        sending = [asyncio.create_task(deal.hook(hook)) for deal, hook in zip(deals, hooks, strict=True)]
        await asyncio.sleep(after_s)  # a kill has no event to wait for
        started.kill()
        await asyncio.gather(*sending, return_exceptions=True)

    async with running(env) as market:
        await retold(market, deals, hooks)
        assert [deal.entries() for deal in deals] == [[("payment_detected", TEN), ("hold", TEN)]] * 4
        assert (await market.admin.ok("GET", "/api/admin/reconciliation"))["ok"] is True


async def retold(market: Running, deals: list[Deal], hooks: list[dict[str, Any]]) -> None:
    """Deliver every webhook again, as the scanner does until it hears a 2xx."""
    for deal, hook in zip(deals, hooks, strict=True):
        deal.buyer = market.nobody
        status, _ = await deal.hook(hook)
        assert status == 200
