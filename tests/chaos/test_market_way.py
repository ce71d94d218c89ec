"""The way between two daemons does what its troubles say, and nothing without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from tests.chaos.market_way import Way


@dataclass
class Town:
    way: Way
    session: aiohttp.ClientSession
    heard: list[str] = field(default_factory=list)
    up: bool = True

    async def tell(self, body: str) -> int:
        """Return the status of an answer; 0 for none."""
        try:
            async with self.session.post(f"{self.way.url}/hook?a=1", data=body, headers={"X-Told": "yes"}) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async def hear(request: web.Request) -> web.Response:
        found.heard.append(f"{request.method} {request.path_qs} {request.headers['X-Told']} {await request.text()}")
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Way(lambda: url if found.up else None) as way, aiohttp.ClientSession() as session:
        found = Town(way, session)
        yield found
    await runner.cleanup()


async def test_without_a_trouble_everything_arrives_as_it_was_sent(town: Town) -> None:
    assert await town.tell("news") == 202
    assert town.heard == ["POST /hook?a=1 yes news"]


@pytest.mark.parametrize(
    ("trouble", "status", "times"),
    [("cut", 0, 0), ("500", 500, 0), ("429", 429, 0), ("deaf", 0, 1), ("twice", 202, 2), ("slow", 202, 1)],
)
async def test_a_trouble_changes_what_arrives_and_what_is_answered(
    town: Town, trouble: str, status: int, times: int
) -> None:
    town.way.troubles.append(trouble)

    assert await town.tell("news") == status
    assert len(town.heard) == times


async def test_every_other_one_is_refused_so_that_it_comes_later(town: Town) -> None:
    town.way.troubles.append("every_other")

    assert [await town.tell(body) for body in ("first", "second")] == [503, 202]
    assert [heard[-6:] for heard in town.heard] == ["second"]


async def test_a_replay_comes_after_what_was_sent_later(town: Town) -> None:
    town.way.troubles.append("replay")
    await town.tell("first")
    town.way.troubles.remove("replay")
    await town.tell("second")
    async with asyncio.timeout(30):
        await town.way.quiet()

    assert [heard.split()[-1] for heard in town.heard] == ["first", "second", "first"]


async def test_nobody_at_the_other_end_is_no_answer(town: Town) -> None:
    town.up = False
    assert await town.tell("news") == 0
