"""Balances over HTTP."""

from __future__ import annotations

from aiohttp import web

from api.bodies import parse
from api.errors import json_response
from api.keys import SERVICES
from protocol.answers import Balance
from protocol.codec import of
from scanner.registration.requests import CheckBalance


async def check(request: web.Request) -> web.Response:
    """POST /balances/check"""
    found = await request.app[SERVICES].balances.check(await parse(request, CheckBalance))
    return json_response(of(Balance, found))
