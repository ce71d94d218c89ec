"""Health, status, metrics, unmatched transfers, and what an operator can set going."""

from __future__ import annotations

from aiohttp import web

from api.bodies import decode_cursor, encode_cursor, parse, parse_query
from api.errors import json_response
from api.keys import SERVICES
from api.schemas import ListUnmatched, RotateSecret, status_json, unmatched_json
from kernel.clock import rfc3339


async def health(_request: web.Request) -> web.Response:
    """GET /health: touches nothing"""
    return json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """GET /ready"""
    reasons = list(await request.app[SERVICES].not_ready())
    if reasons:
        return json_response({"status": "not ready", "reasons": reasons}, status=503)
    return json_response({"status": "ready", "reasons": []})


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics"""
    body = await request.app[SERVICES].metrics()
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def status(request: web.Request) -> web.Response:
    """GET /scanner/status"""
    services = request.app[SERVICES]
    now = services.now_ms()
    return json_response({"chains": [status_json(chain, now) for chain in await services.status()]})


async def unmatched(request: web.Request) -> web.Response:
    """GET /unmatched"""
    query = parse_query(request, ListUnmatched)
    after = decode_cursor(query.cursor, int)[0] if query.cursor else 0
    services = request.app[SERVICES]
    found = await services.unmatched(chain_id=query.chain_id, reason=query.reason, after=after, limit=query.limit + 1)
    shown = found[: query.limit]
    cursor = encode_cursor(shown[-1].id) if len(found) > query.limit else None
    return json_response({"unmatched": [unmatched_json(stored) for stored in shown], "nextCursor": cursor})


async def rotate_secret(request: web.Request) -> web.Response:
    """POST /admin/callback-secrets/rotate"""
    wanted = await parse(request, RotateSecret)
    done = await request.app[SERVICES].secrets.rotate(
        wanted.callback_url, wanted.callback_secret, overlap_hours=wanted.overlap_hours
    )
    return json_response({"since": rfc3339(done.since), "overlapUntil": rfc3339(done.overlap_until)})


async def retry_webhooks(request: web.Request) -> web.Response:
    """POST /admin/webhooks/retry"""
    return json_response({"retried": await request.app[SERVICES].retry_webhooks()})
