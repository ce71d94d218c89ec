"""A process that starts before its database does: it waits, says so, and can be stopped meanwhile."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest

from tests import harness, postgres
from tests.marketplace import harness as marketplace
from tests.processes import AnyProcess, start

pytestmark = [pytest.mark.process, pytest.mark.postgresql, postgres.needed]

SECRET_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
WAITS = "waiting until it can be used"


@pytest.fixture
def stopped() -> Iterator[postgres.Server]:
    """A server that is not there at the moment."""
    server = postgres.Server.start()
    server.halt()
    yield server
    server.stop()


@pytest.fixture(params=["scanner", "marketplace"])
def service(request: pytest.FixtureRequest, tmp_path: Path, stopped: postgres.Server) -> tuple[str, Mapping[str, str]]:
    url = stopped.url("postgres")
    if request.param == "marketplace":
        return "marketplace", marketplace.environment(tmp_path, **marketplace.on_postgresql(url))
    more = {"DB_PATH": "", "DATABASE_URL": url, "SCANNER_SECRET_KEY": SECRET_KEY}
    return "scanner", harness.environment(tmp_path, "http://127.0.0.1:9", **more)


@pytest.fixture
async def waiting(service: tuple[str, Mapping[str, str]]) -> AsyncIterator[AnyProcess]:
    """A process that has said that it waits."""
    name, env = service
    found = await start(name, env=env)
    try:
        await says(found, WAITS)
        yield found
    finally:
        if found.returncode is None:
            found.kill()
        await found.wait()


async def says(process: AnyProcess, words: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        async for raw in process.stdout:
            if words in (line := raw.decode()):
                return line
    raise AssertionError(f"it ended without a word of {words!r}")


async def test_it_waits_for_its_database_and_serves_when_it_is_there(
    waiting: AnyProcess, stopped: postgres.Server
) -> None:
    again = postgres.Server.again(stopped.folder, {})
    try:
        url = (await says(waiting, "listening on")).split()[-1]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
            assert response.status == 200
        waiting.send_signal(signal.SIGTERM)
        assert await waiting.wait() == 0
    finally:
        again.stop()


async def test_it_can_be_stopped_while_it_waits(waiting: AnyProcess) -> None:
    waiting.send_signal(signal.SIGTERM)

    async with asyncio.timeout(10):
        assert await waiting.wait() == 0


async def test_what_waiting_does_not_mend_ends_it(
    service: tuple[str, Mapping[str, str]], stopped: postgres.Server
) -> None:
    name, env = service
    setting = "DATABASE_URL" if name == "scanner" else "MARKETPLACE_DATABASE_URL"
    again = postgres.Server.again(stopped.folder, {})
    try:
        again.wait()
        ended = await start(name, env={**env, setting: again.url("nothing")})
        out, _ = await ended.communicate()
    finally:
        again.stop()
    assert (ended.returncode, b"nothing" in out, WAITS.encode() in out) == (1, True, False)
