"""Intents over HTTP."""

from __future__ import annotations

from aiohttp import web

from api import answers as render
from api.bodies import decode_cursor, encode_cursor, parse, parse_query, path_id
from api.errors import json_response
from api.keys import SERVICES
from api.schemas import ListIntents, ListTransfers, Recheck
from protocol import answers
from scanner.registration.requests import CreateIntent


def intent_id(request: web.Request) -> str:
    """Return the id in the path."""
    return path_id(request, "intentId")


async def create(request: web.Request) -> web.Response:
    """POST /intents"""
    services = request.app[SERVICES]
    intent = await services.register(await parse(request, CreateIntent))
    return json_response(render.created_intent(services, intent))


async def show(request: web.Request) -> web.Response:
    """GET /intents/{intentId}"""
    return json_response(
        answers.OneIntent(intent=render.full_intent(await request.app[SERVICES].intent(intent_id(request))))
    )


async def transfers(request: web.Request) -> web.Response:
    """GET /intents/{intentId}/transfers"""
    query = parse_query(request, ListTransfers)
    after = decode_cursor(query.cursor, int)[0] if query.cursor else 0
    found = await request.app[SERVICES].transfers(intent_id(request), after=after, limit=query.limit + 1)
    shown = found[: query.limit]
    cursor = encode_cursor(shown[-1].id) if len(found) > query.limit else None
    return json_response(answers.TransferPage(transfers=tuple(map(render.transfer, shown)), next_cursor=cursor))


async def proof(request: web.Request) -> web.Response:
    """GET /intents/{intentId}/proof"""
    return json_response(answers.OneProof(proof=await request.app[SERVICES].proof(intent_id(request))))


async def listing(request: web.Request) -> web.Response:
    """GET /intents"""
    query = parse_query(request, ListIntents)
    after = decode_cursor(query.cursor, str)[0] if query.cursor else None
    found = await request.app[SERVICES].list_intents(query.wanted(), named=query.q, after=after, limit=query.limit)
    cursor = None if found.after is None else encode_cursor(found.after)
    return json_response(answers.IntentPage(intents=tuple(map(render.intent, found.intents)), next_cursor=cursor))


async def cancel(request: web.Request) -> web.Response:
    """DELETE /intents/{intentId}"""
    cancelled = await request.app[SERVICES].cancel(intent_id(request))
    return json_response(answers.ChangedIntent(intent=render.intent(cancelled)))


async def recheck(request: web.Request) -> web.Response:
    """POST /intents/{intentId}/recheck"""
    body = await parse(request, Recheck, optional=True)
    view, seen = await request.app[SERVICES].recheck(intent_id(request), body.tx_hash)
    return json_response(render.rechecked(view, seen))
