"""One chain: how it is doing, its endpoints with what was learnt of them, and graphs over a day."""

from __future__ import annotations

import re

from aiohttp import web

from api import answers as render
from api.console.overview import facts
from api.console.view import HEADERS, show
from api.errors import ApiError, json_response
from api.keys import SERVICES
from protocol import answers

HOURS = 24
_NUMBER = re.compile(r"[0-9]{1,16}")


def chain_id(request: web.Request) -> int:
    """Return the chain in the path."""
    text = request.match_info["chainId"]
    if not _NUMBER.fullmatch(text):
        raise ApiError("not_found", "there is no such chain")
    return int(text)


async def listing(request: web.Request) -> web.Response:
    """GET /console/chains"""
    return show(request, "console_chains.html", **await facts(request.app[SERVICES]))


async def one(request: web.Request) -> web.Response:
    """GET /console/chains/{chainId}"""
    services, wanted = request.app[SERVICES], chain_id(request)
    found = next((each for each in (await services.status()).chains if each.chain.chain_id == wanted), None)
    if found is None:
        raise ApiError("not_found", "there is no such chain, or it is not enabled")
    samples = await services.stats(wanted, HOURS)
    return show(
        request,
        "console_chain.html",
        chain=render.chain_status(found, services.now_ms()),
        newest=samples[-1] if samples else None,
        worst_lag=max((each.lag_seconds for each in samples if each.lag_seconds is not None), default=None),
        worst_detection=max((each.detection_ms for each in samples if each.detection_ms is not None), default=None),
        hours=HOURS,
    )


async def stats(request: web.Request) -> web.Response:
    """GET /console/chains/{chainId}/stats: what the graphs show"""
    wanted = chain_id(request)
    points = tuple(map(render.stats_point, await request.app[SERVICES].stats(wanted, HOURS)))
    response = json_response(answers.Stats(chain_id=wanted, points=points))
    response.headers.update({name: value for name, value in HEADERS.items() if name.lower() != "content-type"})
    return response
