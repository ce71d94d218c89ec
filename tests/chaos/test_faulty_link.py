"""The link between two daemons does what its faults say, and nothing without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from devnet.fault_server import serving
from tests.chaos.faulty_link import FaultyLink


@dataclass
class LinkedService:
    link: FaultyLink
    session: aiohttp.ClientSession
    received: list[str] = field(default_factory=list)
    up: bool = True

    async def send(self, body: str) -> int:
        """Return the status of an answer; 0 for none."""
        try:
            async with self.session.post(f"{self.link.url}/hook?a=1", data=body, headers={"X-Kept": "yes"}) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0


@pytest.fixture
async def service() -> AsyncIterator[LinkedService]:
    async def receive(request: web.Request) -> web.Response:
        found.received.append(f"{request.method} {request.path_qs} {request.headers['X-Kept']} {await request.text()}")
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with (
        serving(app) as url,
        FaultyLink(lambda: url if found.up else None) as link,
        aiohttp.ClientSession() as session,
    ):
        found = LinkedService(link, session)
        yield found


async def test_without_a_fault_everything_arrives_as_it_was_sent(service: LinkedService) -> None:
    assert await service.send("news") == 202
    assert service.received == ["POST /hook?a=1 yes news"]


@pytest.mark.parametrize(
    ("fault", "status", "times"),
    [("cut", 0, 0), ("500", 500, 0), ("429", 429, 0), ("deaf", 0, 1), ("twice", 202, 2), ("slow", 202, 1)],
)
async def test_a_fault_changes_what_arrives_and_what_is_answered(
    service: LinkedService, fault: str, status: int, times: int
) -> None:
    service.link.active_faults.append(fault)

    assert await service.send("news") == status
    assert len(service.received) == times


async def test_every_other_one_is_refused_so_that_it_comes_later(service: LinkedService) -> None:
    service.link.active_faults.append("every_other")

    assert [await service.send(body) for body in ("first", "second")] == [503, 202]
    assert [received[-6:] for received in service.received] == ["second"]


async def test_a_replay_comes_after_what_was_sent_later(service: LinkedService) -> None:
    service.link.active_faults.append("replay")
    await service.send("first")
    service.link.active_faults.remove("replay")
    await service.send("second")
    async with asyncio.timeout(30):
        await service.link.wait_for_replays()

    assert [received.split()[-1] for received in service.received] == ["first", "second", "first"]


async def test_nobody_at_the_other_end_is_no_answer(service: LinkedService) -> None:
    service.up = False
    assert await service.send("news") == 0
