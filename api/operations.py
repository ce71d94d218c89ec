"""Health, status, metrics, unmatched transfers, and what an operator can set going."""

from __future__ import annotations

from aiohttp import web

from api import answers as render
from api.bodies import decode_cursor, encode_cursor, parse, parse_query, path_id
from api.errors import json_response
from api.keys import SERVICES
from api.middlewares import ASKED_BY
from api.schemas import HandleUnmatched, ListUnmatched, RotateSecret, ShowStats
from protocol import answers
from protocol.codec import of


async def health(_request: web.Request) -> web.Response:
    """GET /health: touches nothing"""
    return json_response(answers.Health(status="ok"))


async def ready(request: web.Request) -> web.Response:
    """GET /ready"""
    reasons = tuple(await request.app[SERVICES].not_ready())
    said = answers.Readiness(status="not ready" if reasons else answers.READY, reasons=reasons)
    return json_response(said, status=503 if reasons else 200)


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics"""
    body = await request.app[SERVICES].metrics()
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def status(request: web.Request) -> web.Response:
    """GET /scanner/status"""
    services = request.app[SERVICES]
    now = services.now_ms()
    status = await services.status()
    chains = tuple(render.chain_status(chain, now) for chain in status.chains)
    return json_response(answers.Status(chains=chains, nodes=tuple(map(render.node, status.nodes))))


async def unmatched(request: web.Request) -> web.Response:
    """GET /unmatched"""
    query = parse_query(request, ListUnmatched)
    after = decode_cursor(query.cursor, int)[0] if query.cursor else 0
    services = request.app[SERVICES]
    found = await services.unmatched(chain_id=query.chain_id, reason=query.reason, after=after, limit=query.limit + 1)
    shown = found[: query.limit]
    cursor = encode_cursor(shown[-1].stored.id) if len(found) > query.limit else None
    return json_response(answers.UnmatchedPage(unmatched=tuple(map(render.unmatched, shown)), next_cursor=cursor))


async def stats(request: web.Request) -> web.Response:
    """GET /stats"""
    query = parse_query(request, ShowStats)
    found = await request.app[SERVICES].stats(query.chain_id, query.hours)
    return json_response(answers.Stats(chain_id=query.chain_id, points=tuple(map(render.stats_point, found))))


async def handle_unmatched(request: web.Request) -> web.Response:
    """POST /unmatched/{id}/handled"""
    given = path_id(request, "id")
    asked = await parse(request, HandleUnmatched)
    view = await request.app[SERVICES].handle_unmatched(given, asked.note, by=request[ASKED_BY])
    return json_response(answers.OneUnmatched(unmatched=render.unmatched(view)))


async def rotate_secret(request: web.Request) -> web.Response:
    """POST /admin/callback-secrets/rotate"""
    wanted = await parse(request, RotateSecret)
    done = await request.app[SERVICES].secrets.rotate(
        wanted.callback_url, wanted.callback_secret, overlap_hours=wanted.overlap_hours
    )
    return json_response(of(answers.RotatedSecret, done))


async def retry_webhooks(request: web.Request) -> web.Response:
    """POST /admin/webhooks/retry"""
    return json_response(answers.Retried(retried=await request.app[SERVICES].retry_webhooks()))
