"""The faults of process and store bite, and a scanner lives through them."""

from __future__ import annotations

import asyncio
import itertools
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


async def test_a_clock_that_jumps_is_the_clock_the_scanner_tells(keeper: Keeper) -> None:
    assert keeper.api is not None
    _, before = await keeper.api.call("POST", "/intents", intent_body(intentId="before"))
    keeper.skew(150)
    async with asyncio.timeout(20):  # it looks at its clock once a second
        for number in itertools.count():
            _, after = await keeper.api.call("POST", "/intents", intent_body(intentId=f"after-{number}"))
            ahead = seconds(after["expiresAt"]) - seconds(before["expiresAt"])
            if ahead >= 140:
                break
            await asyncio.sleep(0.2)
    assert ahead <= 200


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
