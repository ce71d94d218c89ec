"""Parts of pages that are sent anew whenever they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from aiohttp import hdrs, web

from kernel.web.http_errors import HttpError
from kernel.web.streams import send

EVERY_S: Final = 2.0
LONGEST_S: Final = 3600.0  # then the browser asks again, with a session that is still good
MAX_STREAMS: Final = 32


class LivePages:
    """The live pages that are open in this process."""

    def __init__(self) -> None:
        self.open = 0
        self._stopping = asyncio.Event()

    async def close(self, _app: web.Application) -> None:
        """Let every stream end."""
        self._stopping.set()

    async def stream(
        self,
        request: web.Request,
        headers: Mapping[str, str],
        part: Callable[[], Awaitable[str]],
        still_allowed: Callable[[], Awaitable[bool]],
    ) -> web.StreamResponse:
        """
        Send a part of a page whenever it is not what was sent before, as long as its reader may see it.

        Raises:
            HttpError: too many are open.
        """
        if self.open >= MAX_STREAMS:
            raise HttpError("rate_limited", "too many live pages are open", headers={"Retry-After": "10"})
        self.open += 1
        try:
            sent = {**headers, hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"}
            return await send(request, sent, self._parts(part, still_allowed))
        finally:
            self.open -= 1

    async def _parts(
        self, part: Callable[[], Awaitable[str]], still_allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        until, sent = loop.time() + LONGEST_S, ""
        while loop.time() < until and await still_allowed():
            now = await part()
            lines = "".join(f"data: {line}\n" for line in now.splitlines())
            # A line that says nothing shows whether anybody still reads.
            yield (f"event: part\n{lines}\n" if now != sent else ":\n\n").encode()
            sent = now
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._stopping.wait()
                return
            except TimeoutError:
                continue
