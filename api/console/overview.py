"""The overview: what needs somebody first, then every chain; live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import hdrs, web

from api import answers as render
from api.console.sign_in import GUARD
from api.console.streams import send
from api.console.view import HEADERS, html, show
from api.errors import ApiError
from api.keys import SERVICES
from protocol import answers
from scanner.services import Services

EVERY_S: Final = 2.0
LONGEST_S: Final = 3600.0  # then the browser asks again, with a session that is still good
MAX_STREAMS: Final = 32


@dataclass(slots=True)
class Streams:
    """The live pages that are open."""

    stopping: asyncio.Event
    open: int = 0

    async def close(self, _app: web.Application) -> None:
        """Let every stream end."""
        self.stopping.set()


STREAMS = web.AppKey("console streams", Streams)


async def page(request: web.Request) -> web.Response:
    """GET /console"""
    return show(request, "console_overview.html", **await facts(request.app[SERVICES]))


async def facts(services: Services) -> dict[str, Any]:
    """Return what the overview shows."""
    now = services.now_ms()
    status = await services.status()
    chains = [render.chain_status(chain, now) for chain in status.chains]
    backlogs = [chain.backlog for chain in status.chains if chain.backlog is not None]
    return {
        "chains": chains,
        "counts": {chain.chain.chain_id: chain.counts for chain in status.chains},
        "nodes": [render.node(node) for node in status.nodes],
        "pending": sum(each.pending for each in backlogs),
        "failed": sum(each.failed for each in backlogs),
        "oldest": min((each.oldest_created_at for each in backlogs), default=None),
        "troubled": _troubled(chains),
    }


def _troubled(chains: Sequence[answers.ChainStatus]) -> list[answers.ChainStatus]:
    return [chain for chain in chains if chain.problems or chain.stuck or chain.state in {"failing", "stale"}]


async def events(request: web.Request) -> web.StreamResponse:
    """GET /console/events: the overview anew whenever it changes"""
    streams = request.app[STREAMS]
    if streams.open >= MAX_STREAMS:
        raise ApiError("rate_limited", "too many live pages are open", headers={"Retry-After": "10"})
    streams.open += 1
    try:
        headers = {**HEADERS, hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"}
        return await send(request, headers, _parts(request, streams))
    finally:
        streams.open -= 1


async def _parts(request: web.Request, streams: Streams) -> AsyncIterator[bytes]:
    services, loop = request.app[SERVICES], asyncio.get_running_loop()
    until, sent = loop.time() + LONGEST_S, ""
    while loop.time() < until and await request.app[GUARD].still_signed_in(request):
        part = html(request, "console_live.html", **await facts(services))
        lines = "".join(f"data: {line}\n" for line in part.splitlines())
        # A line that says nothing shows whether anybody still reads.
        yield (f"event: overview\n{lines}\n" if part != sent else ":\n\n").encode()
        sent = part
        try:
            async with asyncio.timeout(EVERY_S):
                await streams.stopping.wait()
            return
        except TimeoutError:
            continue
