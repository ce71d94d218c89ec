"""Answers that are sent piece by piece: whoever asked may go at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kernel.web.streams import send


async def parts() -> AsyncIterator[bytes]:
    while True:
        yield b"data: 1\n\n"
        await asyncio.sleep(0)


@pytest.mark.parametrize("before", [True, False], ids=["before its beginning", "in the middle"])
async def test_a_listener_who_is_gone_is_no_failure(before: bool) -> None:
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if before:
            request.transport.abort()
        else:
            asyncio.get_running_loop().call_later(0.01, request.transport.abort)
        try:
            response = await send(request, {"Content-Type": "text/event-stream"}, parts())
        except BaseException as exc:
            ended.set_result(exc)
            raise
        ended.set_result(None)
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.get(server.make_url("/")) as answer:
                await answer.read()
        assert await asyncio.wait_for(ended, 10) is None
