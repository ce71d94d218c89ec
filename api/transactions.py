"""Transactions over HTTP."""

from __future__ import annotations

from aiohttp import web

from api import answers as render
from api.bodies import parse
from api.errors import json_response
from api.keys import SERVICES
from api.schemas import InspectTransaction


async def inspect(request: web.Request) -> web.Response:
    """POST /transactions/inspect"""
    body = await parse(request, InspectTransaction)
    return json_response(
        render.inspection(await request.app[SERVICES].inspections.inspect(body.chain_id, body.tx_hash))
    )
