"""Balance watches over HTTP."""

from __future__ import annotations

from aiohttp import web

from api import answers
from api.bodies import parse, path_id
from api.errors import json_response
from api.keys import SERVICES
from protocol.answers import OneWatch
from scanner.model import Watch
from scanner.registration.requests import CreateWatch


def watch_id(request: web.Request) -> str:
    """Return the id in the path."""
    return path_id(request, "watchId")


async def create(request: web.Request) -> web.Response:
    """POST /balance-watches"""
    return _answer(await request.app[SERVICES].watches.create(await parse(request, CreateWatch)))


async def show(request: web.Request) -> web.Response:
    """GET /balance-watches/{watchId}"""
    return _answer(await request.app[SERVICES].watches.get(watch_id(request)))


async def stop(request: web.Request) -> web.Response:
    """DELETE /balance-watches/{watchId} and POST /balance-watches/{watchId}/stop"""
    return _answer(await request.app[SERVICES].watches.stop(watch_id(request)))


def _answer(watch: Watch) -> web.Response:
    return json_response(OneWatch(watch=answers.watch(watch)))
