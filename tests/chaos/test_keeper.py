"""The faults of process and store bite, and a scanner lives through them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.keeper import Keeper, kept
from tests.chaos.street import persist
from tests.harness import environment, intent_body

pytestmark = pytest.mark.process

NOWHERE = "http://127.0.0.1:9"
MOST = 200  # registrations until a file has to grow


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    async with aiohttp.ClientSession() as session, kept(tmp_path, environment(tmp_path, NOWHERE), session) as running:
        await persist(running, lambda api: api.call("GET", "/health"))
        yield running
        await running.stop()
        assert running.oddities == []


async def register(keeper: Keeper) -> int:
    assert keeper.api is not None
    status, _ = await keeper.api.call("POST", "/intents", intent_body())
    return status


async def test_on_a_full_disk_registrations_are_refused_and_afterwards_accepted(keeper: Keeper) -> None:
    async with keeper.full_disk():
        answers = [await register(keeper) for _ in range(MOST)]
        assert max(answers) >= 500

    assert await register(keeper) == 200
    assert keeper.deaths == []
    await keeper.check()


async def test_while_the_store_is_locked_a_registration_waits(keeper: Keeper) -> None:
    async with keeper.locked():
        waiting = asyncio.create_task(register(keeper))
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done

    assert await waiting == 200


async def test_what_is_killed_is_started_again_on_the_same_store(keeper: Keeper) -> None:
    assert await register(keeper) == 200
    first = keeper.api
    keeper.kill()
    async with asyncio.timeout(60):
        while keeper.api in {None, first}:  # noqa: ASYNC110 - a supervisor polls, too
            await asyncio.sleep(0.05)

    _, answer = await persist(keeper, lambda api: api.call("GET", "/intents"))
    assert len(answer["intents"]) == 1
    assert keeper.deaths == []


async def test_a_second_scanner_is_seen_to_refuse(keeper: Keeper) -> None:
    await keeper.second()
    assert keeper.oddities == []


async def test_a_clock_that_is_set_is_followed_by_the_scanner(keeper: Keeper) -> None:
    before = await expiry(keeper, "before")
    keeper.skew(150)
    async with asyncio.timeout(30):
        while (later := await expiry(keeper, f"at-{time.monotonic_ns()}") - before) < 140:  # noqa: ASYNC110 - it looks once a second
            await asyncio.sleep(0.2)
    assert later <= 200


async def test_time_that_passes_has_passed_at_once(keeper: Keeper) -> None:
    before = await expiry(keeper, "before")
    keeper.let_pass(3600)
    assert 3600 <= await expiry(keeper, "after") - before <= 3660
    keeper.let_pass(3600)
    assert 7200 <= await expiry(keeper, "much-later") - before <= 7260


async def expiry(keeper: Keeper, intent_id: str) -> float:
    """Return what the scanner makes of its clock for a new intent."""
    assert keeper.api is not None
    _, answer = await keeper.api.call("POST", "/intents", intent_body(intentId=intent_id))
    return datetime.fromisoformat(answer["expiresAt"]).timestamp()
