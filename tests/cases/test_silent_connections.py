"""
Hundreds of connections that say nothing, half of it, or do not listen, against few descriptors: everybody else is
served, the log stays short.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from kernel.web.connections import GRACE_S
from tests.harness import MERCHANT, USDT, environment, process
from tests.marketplace import harness as market

pytestmark = pytest.mark.process

FIRST_BYTES = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"GET /health HTTP/1.1\r\nHost: a\r\n", id="half a header"),
    pytest.param(b"POST /intents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\n{", id="half a body"),
]


@asynccontextmanager
async def silent(url: str, count: int, first: bytes, sources: int = 1) -> AsyncIterator[None]:
    """Hold many connections open, from so many addresses, that send no more than their first bytes and read nothing."""
    parts = urlsplit(url)
    held = await asyncio.gather(
        *(
            asyncio.open_connection(parts.hostname, parts.port, local_addr=(f"127.0.0.{1 + i % sources}", 0), limit=1)
            for i in range(count)
        )
    )
    try:
        for _, writer in held:
            writer.write(first)
        yield
    finally:
        for _, writer in held:
            writer.close()


async def health(url: str) -> float:
    """Ask on a connection of its own, as a probe does; return how long that took."""
    started = asyncio.get_running_loop().time()
    async with aiohttp.ClientSession() as session, asyncio.timeout(5), session.get(f"{url}/health") as answer:
        assert answer.status == 200
    return asyncio.get_running_loop().time() - started


@pytest.mark.anvil
@pytest.mark.parametrize("first", FIRST_BYTES)
async def test_the_scanner_answers_and_tells_while_300_say_nothing(
    chain: Anvil, hooks: Receiver, tmp_path: Path, first: bytes
) -> None:
    env = environment(tmp_path, chain.url, SCANNER_API_KEY="k" * 20)
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer " + "k" * 20}) as session,
        process(env, session, descriptors=256) as daemon,
        silent(daemon.api.url, 300, first),
    ):
        assert max([await health(daemon.api.url) for _ in range(5)]) < 1
        intent = await daemon.api.create(callbackUrl=hooks.url(), amount="5000")
        await chain.pay(USDT, MERCHANT, 5000, intent["paymentReference"])
        await chain.mine(20)
        await daemon.api.status_is(intent["intentId"], "confirmed")
        reported = await hooks.wait_for(1)
        assert reported[0].json["intentId"] == intent["intentId"]
        assert await health(daemon.api.url) < 1
        assert len("".join(daemon.output)) < 20_000


@pytest.mark.parametrize("first", FIRST_BYTES)
async def test_the_marketplace_answers_while_300_say_nothing(tmp_path: Path, first: bytes) -> None:
    env = market.environment(tmp_path)
    async with (
        aiohttp.ClientSession() as session,
        process(env, session, "marketplace", descriptors=256) as daemon,
        silent(daemon.api.url, 300, first),
    ):
        assert max([await health(daemon.api.url) for _ in range(5)]) < 1
        await market.login(market.Api(daemon.api.url, session), *market.ADMIN)
        assert len("".join(daemon.output)) < 20_000


WEBHOOK = b"POST /api/payment/amn-scanner/webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"
DESCRIPTION = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
GREEDY = [
    pytest.param(WEBHOOK, id="half a body that is waited for"),
    pytest.param(DESCRIPTION * 100, id="large answers that are not read"),
]


@pytest.mark.parametrize("sources", [1, 5])
@pytest.mark.parametrize("first", GREEDY)
async def test_the_marketplace_answers_while_300_keep_it_waiting(tmp_path: Path, first: bytes, sources: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        process(market.environment(tmp_path), session, "marketplace", descriptors=256) as daemon,
    ):
        async with silent(daemon.api.url, 300, first, sources):
            await asyncio.sleep(GRACE_S + 3)  # what they asked for and the kernel takes is answered: that is work
            assert max([await health(daemon.api.url) for _ in range(5)]) < 1
            await market.login(market.Api(daemon.api.url, session), *market.ADMIN)
        assert len("".join(daemon.output)) < 20_000


async def test_half_of_the_descriptors_are_connections(tmp_path: Path) -> None:
    env = market.environment(tmp_path)
    async with aiohttp.ClientSession() as session, process(env, session, "marketplace", descriptors=80) as daemon:
        async with silent(daemon.api.url, 200, b""):
            await health(daemon.api.url)
            assert len(os.listdir(f"/proc/{daemon.process.pid}/fd")) < 80  # noqa: PTH208
        said = "".join(daemon.output)
        assert re.search(r"there are 40 connections: closed the oldest", said)
