"""Balance watches over HTTP."""

from __future__ import annotations

from aiohttp import web

from api.bodies import parse, path_id
from api.errors import json_response
from api.keys import SERVICES
from api.schemas import CreateWatch, watch_json


def watch_id(request: web.Request) -> str:
    """Return the id in the path."""
    return path_id(request, "watchId")


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
