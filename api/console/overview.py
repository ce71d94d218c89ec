"""The overview: what needs somebody first, then every chain; live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from api import answers as render
from api.console.sign_in import GUARD
from api.console.view import HEADERS, html, show
from api.keys import SERVICES
from kernel.pages.live import LivePages
from protocol import answers
from scanner.services import Services

LIVE = web.AppKey("live pages of the console", LivePages)


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

    async def part() -> str:
        return html(request, "console_live.html", **await facts(request.app[SERVICES]))

    async def still_allowed() -> bool:
        return await request.app[GUARD].still_signed_in(request)

    return await request.app[LIVE].stream(request, HEADERS, part, still_allowed)
