"""The faults of process and store bite, and a scanner lives through them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.shoppers import call_until_answered
from tests.chaos.supervisor import Supervisor, supervised
from tests.harness import environment, intent_body

pytestmark = [pytest.mark.process, pytest.mark.long]

NOWHERE = "http://127.0.0.1:9"
MOST = 200  # registrations until a file has to grow


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with (
        aiohttp.ClientSession() as session,
        supervised(tmp_path, environment(tmp_path, NOWHERE), session) as running,
    ):
        await call_until_answered(running, lambda api: api.call("GET", "/health"))
        yield running
        await running.stop()
        assert running.anomalies == []


async def register(supervisor: Supervisor) -> int:
    assert supervisor.api is not None
    status, _ = await supervisor.api.call("POST", "/intents", intent_body())
    return status


async def test_on_a_full_disk_registrations_are_refused_and_afterwards_accepted(supervisor: Supervisor) -> None:
    async with supervisor.full_disk():
        answers = [await register(supervisor) for _ in range(MOST)]
        assert max(answers) >= 500

    assert await register(supervisor) == 200
    assert supervisor.unexpected_exits == []
    await supervisor.check()


async def test_while_the_store_is_locked_a_registration_waits(supervisor: Supervisor) -> None:
    async with supervisor.locked():
        waiting = asyncio.create_task(register(supervisor))
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done

    assert await waiting == 200


async def test_what_is_killed_is_started_again_on_the_same_store(supervisor: Supervisor) -> None:
    assert await register(supervisor) == 200
    first = supervisor.api
    supervisor.kill()
    async with asyncio.timeout(60):
        while supervisor.api in {None, first}:  # noqa: ASYNC110 - a supervisor polls, too
            await asyncio.sleep(0.05)

    _, answer = await call_until_answered(supervisor, lambda api: api.call("GET", "/intents"))
    assert len(answer["intents"]) == 1
    assert supervisor.unexpected_exits == []


async def test_a_second_scanner_is_seen_to_refuse(supervisor: Supervisor) -> None:
    await supervisor.start_second()
    assert supervisor.anomalies == []


async def test_a_clock_that_is_set_is_followed_by_the_scanner(supervisor: Supervisor) -> None:
    before = await expiry(supervisor, "before")
    supervisor.skew(150)
    async with asyncio.timeout(30):
        while (later := await expiry(supervisor, f"at-{time.monotonic_ns()}") - before) < 140:  # noqa: ASYNC110 - it looks once a second
            await asyncio.sleep(0.2)
    assert later <= 200


async def test_time_that_passes_has_passed_at_once(supervisor: Supervisor) -> None:
    before = await expiry(supervisor, "before")
    await supervisor.advance_clocks(3600)
    assert 3600 <= await expiry(supervisor, "after") - before <= 3660
    await supervisor.advance_clocks(3600)
    assert 7200 <= await expiry(supervisor, "much-later") - before <= 7260


async def expiry(supervisor: Supervisor, intent_id: str) -> float:
    """Return what the scanner makes of its clock for a new intent."""
    assert supervisor.api is not None
    _, answer = await supervisor.api.call("POST", "/intents", intent_body(intentId=intent_id))
    return datetime.fromisoformat(answer["expiresAt"]).timestamp()
