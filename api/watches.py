"""Balance watches over HTTP."""

from __future__ import annotations

import re

from aiohttp import web

from api.bodies import parse
from api.errors import ApiError, json_response
from api.keys import SERVICES
from api.schemas import ID_PATTERN, CreateWatch, watch_json

_ID = re.compile(ID_PATTERN)


def watch_id(request: web.Request) -> str:
    """Return the id in the path."""
    value = request.match_info["watchId"]
    if _ID.fullmatch(value) is None:
        raise ApiError("not_found", "there is no such balance watch")
    return value


async def create(request: web.Request) -> web.Response:
    """POST /balance-watches"""
    body = await parse(request, CreateWatch)
    return json_response({"watch": watch_json(await request.app[SERVICES].watches.create(body.request()))})


async def show(request: web.Request) -> web.Response:
    """GET /balance-watches/{watchId}"""
    return json_response({"watch": watch_json(await request.app[SERVICES].watches.get(watch_id(request)))})


async def stop(request: web.Request) -> web.Response:
    """DELETE /balance-watches/{watchId} and POST /balance-watches/{watchId}/stop"""
    return json_response({"watch": watch_json(await request.app[SERVICES].watches.stop(watch_id(request)))})
