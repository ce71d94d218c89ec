"""Webhooks over HTTP: what was told, sending again, and test events."""

from __future__ import annotations

from aiohttp import web

from api import answers as render
from api.bodies import decode_cursor, encode_cursor, parse, parse_query, path_id
from api.errors import json_response
from api.keys import SERVICES
from api.schemas import ListWebhooks, TestWebhook
from protocol import answers
from protocol.codec import of


def event_id(request: web.Request) -> str:
    """Return the id in the path."""
    return path_id(request, "eventId")


async def listing(request: web.Request) -> web.Response:
    """GET /webhooks"""
    query = parse_query(request, ListWebhooks)
    after = decode_cursor(query.cursor, int)[0] if query.cursor else 0
    found = await request.app[SERVICES].deliveries.page(
        status=query.status, receiver=query.receiver, after=after, limit=query.limit
    )
    cursor = None if found.after is None else encode_cursor(found.after)
    return json_response(answers.WebhookPage(webhooks=tuple(map(render.webhook, found.events)), next_cursor=cursor))


async def show(request: web.Request) -> web.Response:
    """GET /webhooks/{eventId}"""
    view = await request.app[SERVICES].deliveries.get(event_id(request))
    return json_response(answers.OneWebhook(webhook=render.full_webhook(view)))


async def redeliver(request: web.Request) -> web.Response:
    """POST /webhooks/{eventId}/redeliver"""
    view = await request.app[SERVICES].deliveries.redeliver(event_id(request))
    return json_response(answers.OneWebhook(webhook=render.full_webhook(view)))


async def test(request: web.Request) -> web.Response:
    """POST /webhooks/test"""
    asked = await parse(request, TestWebhook)
    found = await request.app[SERVICES].deliveries.test(asked.callback_url, asked.callback_secret, asked.event_type)
    return json_response(of(answers.TestedWebhook, found))
