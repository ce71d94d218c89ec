"""The way between two daemons: cut, slow, refusing, deaf to answers, delivering twice, late or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import aiohttp
from aiohttp import hdrs, web

SLOW_S = 0.7
REPLAY_S = 2.0
FORWARD_S = 20
OWN_ANSWER = {"500": 500, "429": 429, "every_other": 503}
PER_HOP = {hdrs.HOST, hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.CONNECTION}


class FaultyLink:
    """Forwards to wherever `target` is now. Open with `async with`; the newest of `active_faults` counts."""

    def __init__(self, target: Callable[[], str | None]) -> None:
        self.active_faults: list[str] = []
        self.url = ""
        self._target = target
        self._count = 0
        self._replays: set[asyncio.Task[None]] = set()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._session: aiohttp.ClientSession  # while open

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.wait_for_replays()
        await self._runner.cleanup()
        await self._session.close()

    async def wait_for_replays(self) -> None:
        """Wait until nothing is to be delivered again."""
        while self._replays:
            await asyncio.wait(self._replays)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        kind = self.active_faults[-1] if self.active_faults else "none"
        self._count += 1
        if kind == "cut":
            return _cut(request)
        if kind in OWN_ANSWER and (kind != "every_other" or self._count % 2):
            return web.Response(status=OWN_ANSWER[kind], headers={"Retry-After": "1"} if kind == "429" else {})
        if kind == "slow":
            await asyncio.sleep(SLOW_S)
        if kind == "replay":  # a copy comes when newer ones have come
            task = asyncio.create_task(self._again(request, body))
            self._replays.add(task)
            task.add_done_callback(self._replays.discard)
        answer = await self._forward(request, body)
        if kind == "twice":
            answer = await self._forward(request, body)
        return _cut(request) if answer is None or kind == "deaf" else answer

    async def _again(self, request: web.Request, body: bytes) -> None:
        await asyncio.sleep(REPLAY_S)
        await self._forward(request, body)

    async def _forward(self, request: web.Request, body: bytes) -> web.Response | None:
        """Return the answer; None when there is none."""
        target = self._target()
        if target is None:
            return None
        headers = {name: value for name, value in request.headers.items() if name not in PER_HOP}
        try:
            async with (
                asyncio.timeout(FORWARD_S),
                self._session.request(
                    request.method, f"{target}{request.path_qs}", data=body, headers=headers
                ) as response,
            ):
                kept = {name: response.headers[name] for name in (hdrs.RETRY_AFTER,) if name in response.headers}
                raw = await response.read()
                return web.Response(status=response.status, body=raw, content_type=response.content_type, headers=kept)
        except (aiohttp.ClientError, TimeoutError):
            return None


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
