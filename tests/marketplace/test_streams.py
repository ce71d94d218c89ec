"""Streams of notifications whose listeners go away."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
import pytest

from tests.marketplace.harness import environment, running


async def test_a_listener_who_went_away_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("marketplace.web.notifications.HEARTBEAT_S", 0.05)
    caplog.set_level(logging.DEBUG)
    async with running(environment(tmp_path)) as market:
        headers = {"Authorization": f"Bearer {market.admin.token}"}
        async with aiohttp.ClientSession() as session:
            response = await session.get(f"{market.nobody.url}/api/events", headers=headers)
            assert await response.content.readline() == b": hello\n"
            response.close()  # cuts the connection
        async with asyncio.timeout(30):
            while market.marketplace.services.units.subscribers._buffers:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "[api] a listener is gone" in [record.message for record in caplog.records]


async def test_one_user_keeps_so_many_streams_open_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.unit_of_work.MAX_STREAMS", 2)
    async with running(environment(tmp_path)) as market:
        headers = {"Authorization": f"Bearer {market.admin.token}"}
        async with aiohttp.ClientSession() as session:
            opened = [await session.get(f"{market.nobody.url}/api/events", headers=headers) for _ in range(3)]

            assert [response.status for response in opened] == [200, 200, 429]
            assert opened[2].headers["Retry-After"] == "5"
            for response in opened:
                response.close()
